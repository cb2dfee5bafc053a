"""The dataset service's knobs."""

from typing import Annotated, ClassVar

from msgspec import Meta

from libs.settings import ServiceSettings


class Settings(ServiceSettings, frozen=True, kw_only=True):
    """What the dataset service is told from outside."""

    service: ClassVar[str] = "dataset"

    bad_share: Annotated[
        float,
        Meta(
            description="Share of a file's records that may be unusable, 0 to 1. Up to it they are left out and "
            "named; beyond it the file is refused, for then its format is more likely wrong than its lines.",
            ge=0,
            le=1,
        ),
    ] = 0.05
    max_record_bytes: Annotated[
        int,
        Meta(
            description="Longest record that is read, in bytes; longer ones are stepped over and named. "
            "A bound on memory: a conversation of 8 MiB is some two million tokens.",
            ge=1024,
        ),
    ] = 8 << 20
    max_lesson_bytes: Annotated[
        int,
        Meta(
            description="Longest single lesson or indented JSON document that is read, in bytes. Word timings make "
            "an hour of speech about 2.5 MB.",
            ge=1024,
        ),
    ] = 64 << 20
    near_duplicate: Annotated[
        float,
        Meta(
            description="From which similarity on two examples are near duplicates: the share of all their three-word "
            "sequences that both have, 0.7 to 1. Lower drops more, and at last what only sounds alike.",
            ge=0.7,
            le=1,
        ),
    ] = 0.85
    import_processes: Annotated[
        int,
        Meta(
            description="Processes that read one big file. 0: one for each processor, at most four, from 32 MiB on. "
            "Each holds some 110 MB of memory, part of it shared.",
            ge=0,
        ),
    ] = 0
    import_lease: Annotated[
        float,
        Meta(
            description="Seconds after which an import whose service fell silent is taken up again, here or by "
            "another replica. Renewed every third of it.",
            gt=0,
        ),
    ] = 30.0
    import_crashes: Annotated[
        int, Meta(description="Import processes that may die on one file before it is refused.", ge=1)
    ] = 3
