"""What operators may change about the trainer's two programs."""

from typing import Annotated, ClassVar

from msgspec import Meta

from libs.settings import ServiceSettings


class TrainerSettings(ServiceSettings, frozen=True, kw_only=True):
    """The control: leases, checkpoints, recovery. It has the database and never imports torch."""

    service: ClassVar[str] = "trainer"

    lease_seconds: Annotated[
        float,
        Meta(description="Seconds of silence, while the broker works, after which a device is taken away.", gt=0),
    ] = 15.0
    grace_seconds: Annotated[
        float, Meta(description="Seconds a child may take to save after SIGTERM before it is killed.", ge=0)
    ] = 30.0
    retry_first_seconds: Annotated[
        float,
        Meta(
            description="Least wait after a first infrastructure error (storage, network); it doubles with each.", ge=0
        ),
    ] = 60.0
    retry_last_seconds: Annotated[
        float, Meta(description="Longest wait after an infrastructure error, in seconds.", ge=0)
    ] = 1800.0
    mean_seconds_between_losses: Annotated[
        float,
        Meta(description="How often this hardware is expected to vanish, in seconds; decides how often to save.", gt=0),
    ] = 3600.0
    saving_share: Annotated[
        float,
        Meta(
            description="Share of training time that saving may take; it saves less often where saves are dear, but at "
            "least four times in the mean time between losses.",
            gt=0,
            le=1,
        ),
    ] = 0.01
    device_rate: Annotated[
        float, Meta(description="What one hour of a device costs; shown while a run goes on.", ge=0)
    ] = 0.06
    pools: Annotated[
        str,
        Meta(
            description="TOML file of the machines that may be started or rented (docs/how-to/rent-machines.md); "
            "empty: none, only runners that dial in by themselves."
        ),
    ] = ""
    runpod_key: Annotated[str, Meta(description="API key of RunPod, where a pool rents from it.")] = ""


class RunnerSettings(ServiceSettings, frozen=True, kw_only=True):
    """The runner: one on every machine with devices. It dials out to NATS and storage and has no database."""

    service: ClassVar[str] = "runner"

    runner_name: Annotated[
        str, Meta(description="Name of this machine among the runners; empty: its host name.", max_length=40)
    ] = ""
    beat_seconds: Annotated[float, Meta(description="Seconds between two heart-beats.", gt=0)] = 2.0
    self_stop_seconds: Annotated[
        float,
        Meta(description="Seconds without an answer to heart-beats after which running children are ended.", gt=0),
    ] = 10.0
    threads: Annotated[int, Meta(description="CPU threads for training; 0: all that this process may use.", ge=0)] = 0
    devices: Annotated[
        int,
        Meta(
            description="Where there is no GPU: how many devices the CPU is offered as, each with its share of threads "
            "and memory. GPUs are found by themselves, each one device.",
            ge=1,
            le=64,
        ),
    ] = 1
    share_devices: Annotated[
        bool,
        Meta(
            description="Let several jobs train on one device at once, as long as their estimated memory fits its own. "
            "Each is slower then; many small ones are done sooner."
        ),
    ] = False
    notice_seconds: Annotated[
        float,
        Meta(
            description="Seconds between SIGTERM and the end of this machine, as a spot market gives notice: training "
            "saves, uploads and leaves within them.",
            gt=0,
        ),
    ] = 30.0
    processes: Annotated[
        int,
        Meta(
            description="How many GPUs are one device together: each job then trains on all of them, its weights "
            "spread over them (FSDP). On a machine without GPUs: processes that share its threads.",
            ge=1,
            le=16,
        ),
    ] = 1
    hung_seconds: Annotated[
        float,
        Meta(
            description="Least seconds without a word from training after which it is taken for hung: its stacks are "
            "kept, it is ended and goes on from its newest checkpoint. Thrice as long while it reads, loads and writes "
            "its result; longer, too, where it was slow before.",
            gt=0,
        ),
    ] = 600.0
    loader_workers: Annotated[
        int, Meta(description="Processes that prepare batches ahead; 0: training does it itself.", ge=0, le=64)
    ] = 0
    warm_free_gb: Annotated[
        float,
        Meta(
            description="Gigabytes of free memory from which on an idle runner keeps one training process started and "
            "its libraries imported (some 0.5 GB), so that the next job begins seconds sooner; 0: never.",
            ge=0,
        ),
    ] = 4.0
    prepared_gb: Annotated[
        float,
        Meta(
            description="Gigabytes of prepared data (tokens) at most that are kept on this machine's disk for later "
            "attempts on the same dataset, readable only with the dataset itself; 0: none.",
            ge=0,
        ),
    ] = 2.0
