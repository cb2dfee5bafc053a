"""The import work loop: take a dataset under a lease, work outside any transaction, settle under the fence.

A killed service stops renewing, and its import is taken up again here or elsewhere; what
the slower of two imports then writes names an old fence and is dropped. The file itself
is read in a process of its own (``importer``).
"""

import asyncio
import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import structlog

from contracts.datasets import DatasetProgressed
from libs.db import DB_AWAY
from libs.db.database import now
from libs.errors import NotFound
from libs.lm.models import UnknownModel, resolve
from libs.service import Platform
from libs.storage import Corrupted, StorageFull
from libs.waking import rest
from services.dataset import queries
from services.dataset.domain import imports
from services.dataset.domain.imports import Taken
from services.dataset.domain.versions import MANIFEST, Imported, Outcome, Refused, folder
from services.dataset.importer.spec import Progress, Said, Spec
from services.dataset.settings import Settings

log = structlog.get_logger()

POLL = 5.0
"""Seconds between looks at the queue when nothing wakes the loop."""

PAUSE = 5.0
"""Seconds before an import is tried again after the database, the storage or the import process failed."""

LINE = 4 << 20
"""Longest line the import process may write: an outcome with a hundred problems has some fifty kilobytes."""


class Crashed(Exception):
    """The import process ended without an outcome."""


class LeaseLost(Exception):
    """Another process imports this dataset now."""


class Importer:
    """Imports one dataset after the other until cancelled."""

    def __init__(self, settings: Settings, platform: Platform, wake: asyncio.Event) -> None:
        self.settings = settings
        self.platform = platform
        self.wake = wake
        self.work = Path(settings.data_dir) / "imports"

    async def run(self) -> None:
        """Take and import; sleep while there is nothing to do."""
        while True:
            self.wake.clear()
            try:
                while await self.import_next():
                    pass
            except DB_AWAY as error:
                log.warning("imports pause", error=repr(error))
                await asyncio.sleep(PAUSE)
            await rest(self.wake, POLL)

    async def import_next(self) -> bool:
        """Import the oldest dataset that waits. ``False``: none does."""
        async with self.platform.db.across_tenants() as tx:
            taken = await queries.take(tx, self.settings.import_lease)
        if taken is None:
            return False
        log.info("import begins", dataset_id=taken.dataset_id, fence=taken.fence)
        try:
            await self._import_while_kept(taken)
        except LeaseLost:
            log.warning("import lost to another process", dataset_id=taken.dataset_id, fence=taken.fence)
        except asyncio.CancelledError:
            await self._give_back(taken, 0.0)
            raise
        except Exception as error:
            log.warning("import comes back", dataset_id=taken.dataset_id, error=repr(error), exc_info=error)
            await self._give_back(taken, PAUSE)
        return True

    async def _import(self, taken: Taken) -> None:
        with self._folder(taken) as work:
            try:
                outcome = await self._outcome(taken, work)
            except Crashed as error:
                outcome = await self._after_crash(taken, error)
        await self._settle(taken, outcome)

    async def _outcome(self, taken: Taken, work: Path) -> Outcome:
        """Fetch, import, store; what a person must mend comes back as ``Refused``."""
        try:
            model = resolve(Path(self.settings.models_dir), taken.base_model)
            outcome = await self._run_process(taken, await self._fetch(taken, work, model))
            if isinstance(outcome, Imported):
                await self._store(taken, outcome, work / "version")
        except UnknownModel as error:
            return Refused(code="unknown_model", message=str(error))
        except NotFound:
            return imports.gone()
        except (StorageFull, Corrupted) as error:
            return Refused(code=error.code, message=error.message)
        return outcome

    async def _fetch(self, taken: Taken, work: Path, model: Path) -> Spec:
        """Bring the uploads here and say what to do with them."""
        storage = self.platform.storage
        source = await storage.fetch(taken.uri, work / "source", taken.sha256)
        validation = ""
        if taken.validation_uri:
            validation = str(await storage.fetch(taken.validation_uri, work / "validation", taken.validation_sha256))
        (work / "version").mkdir()
        return Spec(
            source=str(source),
            source_sha256=taken.sha256,
            folder=str(work / "version"),
            model_dir=str(model),
            split=taken.split,
            format=taken.format,
            max_length=taken.max_length,
            validation=validation,
            validation_sha256=taken.validation_sha256,
            bad_share=self.settings.bad_share,
            max_record_bytes=self.settings.max_record_bytes,
            max_lesson_bytes=self.settings.max_lesson_bytes,
            near_duplicate=self.settings.near_duplicate,
            processes=self.settings.import_processes,
        )

    async def _run_process(self, taken: Taken, spec: Spec) -> Outcome:
        """Run the import process and tell its progress. ``Crashed`` when it dies without an outcome."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "services.dataset.importer",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE,
            env=os.environ | {"TOKENIZERS_PARALLELISM": "false"},
        )
        assert process.stdin is not None
        assert process.stdout is not None
        outcome: Outcome | None = None
        try:
            process.stdin.write(msgspec.json.encode(spec) + b"\n")
            async for line in process.stdout:
                said = msgspec.json.decode(line, type=Said)
                if isinstance(said, Progress):
                    await self._tell_progress(taken, said)
                else:
                    outcome = said
            code = await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if outcome is None or code:
            raise Crashed(f"the import process ended with {code}")
        return outcome

    async def _store(self, taken: Taken, made: Imported, version: Path) -> None:
        """Put a version's files into storage, the manifest last: it says that the others are whole."""
        prefix = folder(taken.tenant, made.digest)
        for name in sorted(made.files, key=lambda name: name == MANIFEST):
            await self.platform.storage.put_file(f"{prefix}/{name}", version / name)

    async def _after_crash(self, taken: Taken, error: Crashed) -> Outcome:
        """Count the crash: refuse the file when there were too many, else let the import come back."""
        async with self.platform.db.transaction(taken.tenant) as tx:
            crashes = await queries.crashed(tx, taken)
        if crashes is not None and crashes >= self.settings.import_crashes:
            return imports.crashed(crashes)
        raise error

    async def _settle(self, taken: Taken, outcome: Outcome) -> None:
        fact = imports.fact(taken, outcome, now())
        async with self.platform.db.transaction(taken.tenant) as tx:
            if await queries.settle(tx, taken, fact):
                await tx.tell(fact)
        log.info("import ends", dataset_id=taken.dataset_id, fence=taken.fence, outcome=type(outcome).__name__)

    async def _tell_progress(self, taken: Taken, said: Progress) -> None:
        await self.platform.bus.publish_telemetry(
            DatasetProgressed(
                tenant=taken.tenant,
                at=now(),
                dataset_id=taken.dataset_id,
                stage=said.stage,
                done_bytes=said.done_bytes,
                total_bytes=said.total_bytes,
                examples=said.examples,
                bad_lines=said.bad_lines,
            )
        )

    async def _import_while_kept(self, taken: Taken) -> None:
        """Import and renew the lease meanwhile; ``LeaseLost`` when somebody else has it."""
        importing = asyncio.create_task(self._import(taken))
        keeping = asyncio.create_task(self._keep(taken))
        try:
            await asyncio.wait((importing, keeping), return_when=asyncio.FIRST_COMPLETED)
            if not importing.done():
                raise LeaseLost
            importing.result()
        finally:
            importing.cancel()
            keeping.cancel()
            await asyncio.gather(importing, keeping, return_exceptions=True)

    async def _keep(self, taken: Taken) -> None:
        """Renew the lease until it is lost; a database that is away for a while loses nothing."""
        kept = True
        while kept:
            await asyncio.sleep(self.settings.import_lease / 3)
            try:
                async with self.platform.db.transaction(taken.tenant) as tx:
                    kept = await queries.renew(tx, taken, self.settings.import_lease)
            except DB_AWAY as error:
                log.warning("lease not renewed", dataset_id=taken.dataset_id, error=repr(error))

    async def _give_back(self, taken: Taken, delay: float) -> None:
        """Let the import be taken again after ``delay`` seconds; if this fails, the lease ends by itself."""
        with contextlib.suppress(*DB_AWAY):
            async with self.platform.db.transaction(taken.tenant) as tx:
                await queries.renew(tx, taken, delay)

    @contextlib.contextmanager
    def _folder(self, taken: Taken) -> Iterator[Path]:
        """Make this import's work folder and remove it, with those of earlier attempts."""
        for left in self.work.glob(f"{taken.dataset_id}~*"):
            shutil.rmtree(left, ignore_errors=True)
        folder = self.work / f"{taken.dataset_id}~{taken.fence}"
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
