"""The runner's side of an attempt, with a real child: uploads beside training, resuming from folder and S3, a gang."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from contracts.recipes import SHIPPED_MODEL, Recipe
from libs.storage import Storage
from libs.storage.store import Stored
from libs.testing.models import tiny_model
from services.trainer.line import DeviceFound, Done, Halted, Launch, Quarantined, Reached, SavedBefore, Uploaded, What
from services.trainer.runner.attempt import Attempt
from services.trainer.runner.reporting import Reporter
from services.trainer.training.checkpoints import MANIFEST
from services.trainer.training.protocol import Progressed
from tests.integration.trainer.test_runs import store_dataset

CPU = DeviceFound(
    device_id="bench-cpu",
    kind="cpu",
    precision="bfloat16",
    threads=1,
    memory_bytes=1,
    flops=1.0,
    torch_device="cpu",
)


class Heard:
    """Stands for the control: accepts every report, keeps it, and lets a test react to it."""

    def __init__(self, react: Callable[[Any], None] = lambda what: None) -> None:
        self.told: list[What] = []
        self.steps: list[int] = []
        self.react = react

    async def tell(self, what: What) -> None:
        self.told.append(what)
        self.react(what)

    async def show(self, seen: Progressed) -> None:
        self.steps.append(seen.step)
        self.react(seen)

    def only(self, kind: type) -> list[Any]:
        return [what for what in self.told if isinstance(what, kind)]


@pytest.fixture(scope="module")
def models(shipped_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(shipped_model, tmp_path_factory.mktemp("models") / SHIPPED_MODEL).parent


@pytest.fixture
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if getattr(request, "param", "folder") == "folder":
        return Storage.open(f"file://{tmp_path / 'storage'}")
    return Storage.open(f"{request.getfixturevalue('s3')}/{tmp_path.name}")


class Machine:
    """Carries attempts of one run out, one after another, as a runner would."""

    def __init__(self, storage: Storage, models: Path, folder: Path, dataset: tuple[str, str]) -> None:
        self.storage = storage
        self.models = models
        self.folder = folder
        self.dataset = dataset

    def attempt(
        self, heard: Heard, fence: int, checkpoints: tuple[SavedBefore, ...] = (), *, processes: int = 1, every: int = 5
    ) -> Attempt:
        launch = Launch(
            tenant="acme",
            run_id="run-1",
            job_id="job-1",
            attempt=fence,
            fence=fence,
            device_id=CPU.device_id,
            recipe=Recipe(base_model=SHIPPED_MODEL, rank=4, epochs=50, batch_size=2, max_steps=30, max_length=128),
            dataset_uri=self.dataset[0],
            dataset_digest=self.dataset[1],
            checkpoint_every=every,
            micro_tokens=256,
            checkpoints=checkpoints,
        )
        device = msgspec.structs.replace(CPU, processes=processes)
        return Attempt(
            launch,
            device,
            self.storage,
            cast(Reporter, heard),
            models=self.models,
            folder=self.folder / f"fence-{fence}",
        )


@pytest.fixture
async def machine(storage: Storage, models: Path, tmp_path: Path) -> Machine:
    return Machine(storage, models, tmp_path / "runner", await store_dataset(storage, tmp_path))


def _saved(heard: Heard) -> tuple[SavedBefore, ...]:
    """The committed checkpoints as the control would name them, newest first."""
    rows = [SavedBefore(step=each.step, uri=each.uri, sha256=each.sha256) for each in heard.only(Uploaded)]
    return tuple(reversed(rows))


async def _kill_after(machine: Machine, fence: int, uploads: int) -> Heard:
    """Let an attempt live until it has committed so many checkpoints; what it saved by then is stored too."""

    def react(what: Any) -> None:
        if len(heard.only(Uploaded)) == uploads:
            attempt.kill()

    heard = Heard(react)
    attempt = machine.attempt(heard, fence)
    await attempt.carry_out()
    return heard


class Slow(Storage):
    """Holds the first checkpoint's upload back until a test lets it go."""

    gate: asyncio.Event

    async def put_file(self, key: str, path: Path) -> Stored:
        if "/step-" in key:
            async with asyncio.timeout(240):
                await self.gate.wait()
        return await super().put_file(key, path)


@pytest.mark.parametrize("storage", ["s3"], indirect=True)
async def test_a_run_in_s3_goes_on_from_the_newest_whole_checkpoint(
    machine: Machine, storage: Storage, s3: str, tmp_path: Path
) -> None:
    """The first attempt is left alone, but its uploads wait for its last step; the second is killed."""
    machine.storage = Slow.open(f"{s3}/{tmp_path.name}")
    calm = await _train_to_the_end_before_the_first_upload(machine)
    machine.storage = storage
    broken = await _kill_after(machine, 2, 3)
    newest, middle, whole, *_ = _saved(broken)
    weights = await storage.get_bytes(f"{newest.uri}/adapter_model.safetensors")
    await storage.put_bytes(f"{newest.uri}/adapter_model.safetensors", weights[:-1] + bytes([weights[-1] ^ 1]))
    manifest = await storage.get_bytes(f"{middle.uri}/{MANIFEST}")
    await storage.put_bytes(f"{middle.uri}/{MANIFEST}", _with_another_step(manifest, middle.step))

    resumed = Heard()
    await machine.attempt(resumed, 3, _saved(broken), every=100).carry_out()
    assert [(each.step, each.uri) for each in resumed.only(Quarantined)] == [
        (newest.step, newest.uri),
        (middle.step, middle.uri),
    ]
    assert [each.step for each in resumed.only(Reached) if each.stage == "training"] == [whole.step]
    [done], [undisturbed] = resumed.only(Done), calm.only(Done)
    assert done.sha256 == undisturbed.sha256
    assert await storage.list(f"{done.adapter_uri}") != []


def _with_another_step(manifest: bytes, step: int) -> bytes:
    changed = manifest.replace(b'"step": %d' % step, b'"step": %d' % (step + 1))
    assert changed != manifest
    return changed


async def _train_to_the_end_before_the_first_upload(machine: Machine) -> Heard:
    """Show that no step waits for storage."""
    slow = machine.storage
    assert isinstance(slow, Slow)
    slow.gate = asyncio.Event()
    seen: list[int] = []

    def react(what: Any) -> None:
        last = isinstance(what, Progressed) and what.step == what.total_steps
        if last and not slow.gate.is_set():
            seen.extend(each.step for each in heard.only(Uploaded))
            slow.gate.set()

    heard = Heard(react)
    await machine.attempt(heard, 1).carry_out()
    assert not seen, "the last step was trained before the first checkpoint was stored"
    assert [each.step for each in heard.only(Uploaded)] == [5, 10, 15, 20, 25]
    return heard


@pytest.mark.parametrize(
    "damage",
    ["no manifest", "a file is gone", "cut short", "another run's", "newer format"],
)
async def test_each_damaged_checkpoint_is_told_and_the_one_before_is_used(
    machine: Machine, storage: Storage, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No child here: only what the runner fetches and refuses."""
    whole = await _checkpoint(storage, "whole", 5, "run-1")
    bad = await _checkpoint(storage, "bad", 10, "run-2" if damage == "another run's" else "run-1")
    if damage == "no manifest":
        await storage.delete(f"{bad.uri}/{MANIFEST}")
    elif damage == "a file is gone":
        await storage.delete(f"{bad.uri}/optimizer.pt")
    elif damage == "cut short":
        await storage.put_bytes(f"{bad.uri}/optimizer.pt", b"opt")
    elif damage == "newer format":
        stored = await storage.put_bytes(f"{bad.uri}/{MANIFEST}", b'{"format": 2}')
        bad = msgspec.structs.replace(bad, sha256=stored.sha256)
    heard = Heard()
    attempt = machine.attempt(heard, 1, (bad, whole))
    found = await attempt._fetching.checkpoint()
    assert found
    assert found.path.name == "step-5"
    [told] = heard.only(Quarantined)
    assert (told.step, told.uri) == (10, bad.uri)


async def _checkpoint(storage: Storage, name: str, step: int, run_id: str) -> SavedBefore:
    """Store a committed checkpoint with made-up contents."""
    import tempfile

    from services.trainer.training import checkpoints
    from services.trainer.training.checkpoints import Manifest

    made = Manifest(
        run_id=run_id,
        attempt=1,
        fence=1,
        step=step,
        total_steps=30,
        data="d",
        model_revision="m",
        recipe="r",
        threads=1,
        dtype="float32",
        device="cpu",
        micro_tokens=256,
        versions={},
    )
    with tempfile.TemporaryDirectory() as folder:
        staged = Path(folder) / "staged"
        staged.mkdir()
        for each in made.required:
            (staged / each).write_bytes(each.encode())
        final = Path(folder) / name
        checkpoints.commit(staged, final, made)
        uri = f"acme/runs/run-1/{name}"
        for file in sorted(final.iterdir(), key=lambda each: each.name == MANIFEST):
            stored = await storage.put_file(f"{uri}/{file.name}", file)
    return SavedBefore(step=step, uri=uri, sha256=stored.sha256)


async def test_two_processes_are_one_device_to_the_runner(machine: Machine) -> None:
    """Asked to stop at its first step; what it saved goes on alone."""

    def react(what: Any) -> None:
        if isinstance(what, Progressed):
            attempt.ask_to_stop(60)

    heard = Heard(react)
    attempt = machine.attempt(heard, 1, processes=2)
    await attempt.carry_out()
    [halted] = heard.only(Halted)
    assert halted.step > 0
    alone = Heard()
    await machine.attempt(alone, 2, _saved(heard)).carry_out()
    assert [each.step for each in alone.only(Reached) if each.stage == "training"] == [halted.step]
    assert len(alone.only(Done)) == 1
