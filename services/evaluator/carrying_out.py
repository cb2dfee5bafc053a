"""One evaluation carried out outside any transaction: fetch, measure in a process, write the report, store it."""

import os
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import structlog
from msgspec import Struct

from libs.db.database import now
from libs.errors import Rejected, WoodshedError
from libs.lm.models import UnknownModel, resolve
from libs.storage import Storage
from services.evaluator import child, fetching
from services.evaluator.domain.engines import TRANSFORMERS, Remote
from services.evaluator.queries import Held
from services.evaluator.report.build import ReportSpec
from services.evaluator.report.data import ReportData
from services.evaluator.scoring.failures import OUT_OF_MEMORY
from services.evaluator.scoring.knowledge import SUITE
from services.evaluator.scoring.shapes import BATCH_TOKENS, CANNOT, Failure, Line, ScoringSpec
from services.evaluator.settings import Settings

log = structlog.get_logger()

FORMS = ("pdf", "html", "json")
SMALLEST_BATCH = 128
"""Tokens at once below which memory is not what is missing. A measurement whose process was killed, which the kernel
does when memory runs out, begins with half the batch of the try before."""

Tell = Callable[[Line], Awaitable[None]]


class Proof(Struct, frozen=True):
    """A stored report: its figures, and for each form its key and sha256."""

    data: ReportData
    uris: dict[str, str]
    digests: dict[str, str]


class Cannot(Exception):
    """The proof cannot be made, now or later: why, in a word for programs and a sentence for people."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Died(Exception):
    """A process of ours ended without a result: it may do better next time."""


async def carry_out(held: Held, settings: Settings, storage: Storage, tell: Tell) -> Proof:
    """Make and store the proof. ``Cannot`` and ``Died`` say why there is none."""
    work = Path(settings.data_dir) / "evaluator"
    work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{held.id}-{held.fence}-", dir=work) as name:
        folder = Path(name)
        scoring = await _measure(await _prepare(held, settings, storage, work, folder), folder, tell)
        report = ReportSpec(
            evaluation_id=held.id,
            made_at=now(),
            run=held.run,
            scoring=scoring,
            out=str(folder / "report"),
            rate=settings.rate,
            currency=settings.currency,
        )
        await _run("services.evaluator.report", _spec(folder / "report-spec.json", report), tell)
        return await _store(held, storage, folder / "report")


async def _measure(scoring: ScoringSpec, folder: Path, tell: Tell) -> ScoringSpec:
    """Measure; each time memory runs out, once more in batches of half the size. Return what worked."""
    while True:
        try:
            await _run("services.evaluator.scoring", _spec(folder / "scoring.json", scoring), tell)
            return scoring
        except Cannot as error:
            if error.failure.reason != OUT_OF_MEMORY:
                raise
            if scoring.batch_tokens <= SMALLEST_BATCH:
                said = f"{error.failure.message} It was tried down to {scoring.batch_tokens} tokens at a time."
                raise Cannot(Failure(OUT_OF_MEMORY, said)) from error
            scoring = msgspec.structs.replace(scoring, batch_tokens=scoring.batch_tokens // 2)
            log.warning("measuring in smaller batches", batch_tokens=scoring.batch_tokens)


async def _prepare(held: Held, settings: Settings, storage: Storage, work: Path, folder: Path) -> ScoringSpec:
    with _said_why():
        base = resolve(Path(settings.models_dir), held.run.base_model)
        adapter = await fetching.adapter(storage, held.run, work / "adapters")
    split, hindrance = fetching.HeldOut("", Path()), None
    try:
        with _said_why():
            split = await fetching.split(storage, held.run, work / "splits")
    except Cannot as error:
        hindrance = error.failure
    return ScoringSpec(
        base=str(base),
        adapter=str(adapter),
        split=str(split.path),
        split_name=split.name,
        knowledge=str(SUITE),
        result=str(folder / "measured.json"),
        suites=held.suites,
        seed=settings.seed,
        threads=threads(settings),
        precision=settings.precision,
        engine=settings.engine if held.attempts == 1 else TRANSFORMERS,
        cache=str(cache(settings)),
        remote=remote(settings),
        examples=settings.examples,
        max_length=settings.max_length,
        replies=settings.replies,
        reply_tokens=settings.reply_tokens,
        batch_tokens=max(SMALLEST_BATCH, BATCH_TOKENS >> (held.attempts - 1)),
        hindrance=hindrance,
    )


@contextmanager
def _said_why() -> Iterator[None]:
    """Turn what can never be fetched into ``Cannot``."""
    try:
        yield
    except UnknownModel as error:
        raise Cannot(Failure("model_missing", str(error))) from error
    except Rejected as error:
        raise Cannot(Failure(error.code, error.message)) from error
    except WoodshedError as error:
        if error.code != "corrupted":
            raise
        raise Cannot(Failure("corrupted", error.message)) from error


def threads(settings: Settings) -> int:
    """Return how many threads a measurement uses: what is set, else every core this process may use."""
    return settings.threads or len(os.sched_getaffinity(0))


def cache(settings: Settings) -> Path:
    """Return the folder of what is made of base models for llama.cpp."""
    return Path(settings.data_dir) / "evaluator" / "gguf"


def remote(settings: Settings) -> Remote | None:
    """Return the server with graphics cards that is set, if one is."""
    if not settings.vllm_url:
        return None
    return Remote(
        url=settings.vllm_url,
        key=settings.vllm_key,
        adapters=settings.vllm_adapters,
        kept=settings.kept_models,
        conversations=settings.conversations,
        reply_limit=settings.reply_limit,
    )


async def _run(module: str, spec: Path, tell: Tell) -> None:
    async with child.started(module, str(spec)) as process:
        async for line in process.lines():
            await tell(msgspec.json.decode(line, type=Line))
        end = await process.ended()
    if end.code == CANNOT:
        raise Cannot(msgspec.json.decode(end.last[-1], type=Failure))
    if end.code:
        raise Died(f"{module} ended with {end.code}: {' | '.join(end.last[-5:])}")


def _spec(path: Path, spec: Struct) -> Path:
    path.write_bytes(msgspec.json.encode(spec))
    return path


async def _store(held: Held, storage: Storage, folder: Path) -> Proof:
    uris = {form: f"{held.tenant}/reports/{held.id}/report.{form}" for form in FORMS}
    digests = {form: (await storage.put_file(uris[form], folder / f"report.{form}")).sha256 for form in FORMS}
    data = msgspec.json.decode((folder / "report.json").read_bytes(), type=ReportData)
    return Proof(data, uris, digests)
