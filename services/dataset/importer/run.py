"""The story of an import: read, divide, write, prove, count, name.

``run`` is what the process does; everything it needs stands in its ``Spec``, everything
it makes lies in the spec's folder.
"""

import errno
import sqlite3
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from contracts.datasets import Resemblance
from contracts.recipes import PAIR_FORMATS
from libs.errors import Rejected
from libs.storage import hash_file
from services.dataset.domain import splits, versions
from services.dataset.domain.problems import Tally
from services.dataset.domain.versions import Imported, Manifest, Outcome, Refused, SplitFile
from services.dataset.importer import leaks, workers
from services.dataset.importer.making import Maker
from services.dataset.importer.parquet import COLUMNS, PAIR_COLUMNS, SplitWriter
from services.dataset.importer.reading import recognise
from services.dataset.importer.spec import Progress, Spec
from services.dataset.importer.spool import HELD_OUT, MAIN, Kept, Made, Spool
from services.dataset.importer.tokens import Totals

TOLD_EVERY = 0.5
"""Seconds between two tellings of progress."""

Tell = Callable[[Progress], None]


def run(spec: Spec, tell: Tell) -> Outcome:
    """Import the file; a file that cannot be imported and a full disk come back as ``Refused``."""
    tally = Tally()
    try:
        return _Import(spec, tally, tell).run()
    except Rejected as error:
        return Refused(
            code=error.code, message=error.message, problems=tally.problems, problem_count=tally.problem_count
        )
    except (OSError, sqlite3.OperationalError) as error:
        if not _is_full(error):
            raise
        return Refused(code="disk_full", message=DISK_FULL)


DISK_FULL = "The disk filled up during the import. Nothing was lost: the upload is as it was. Free space and ask again."


class _Import:
    def __init__(self, spec: Spec, tally: Tally, tell: Tell) -> None:
        self.spec = spec
        self.tally = tally
        self.folder = Path(spec.folder)
        self.spool = Spool(self.folder, spec.split.seed)
        self.maker = Maker(spec)
        self.totals = Totals(spec.max_length)
        self.pace = _Pace(spec, tally, tell)
        self.unit = spec.split.by
        self.pairs = False

    def run(self) -> Imported:
        """Do it all, in the order a reader would."""
        splits.check(self.spec.split)
        formats = self._read()
        self._divide()
        files = self._write()
        leaks.check(files, self.spec.split.by, self.spool.alike())
        self.spool.close()
        self.totals.refuse_nothing_trained()
        return self._name(formats, files)

    def _read(self) -> str:
        """Read the validation file first, so that what stands in both files is held out. Return the main format."""
        held_out = ""
        if self.spec.validation:
            held_out = self._read_part(Path(self.spec.validation), HELD_OUT)
            versions.refuse_nothing_left(self.spool.count(HELD_OUT), self.tally.dropped)
        found = self._read_part(Path(self.spec.source), MAIN)
        self.pairs = found in PAIR_FORMATS
        if held_out and (held_out in PAIR_FORMATS) != self.pairs:
            raise versions.not_alike(found, held_out)
        if self.spec.validation and self.spec.split.by == "speaker":
            for line in self.spool.leave_speakers_held_out():
                self.tally.drop("speaker_held_out", line)
        versions.refuse_nothing_left(self.spool.count(MAIN), self.tally.dropped)
        return found

    def _read_part(self, path: Path, part: int) -> str:
        layout = recognise(
            path,
            self.spec.format if part == MAIN else "auto",
            max_record_bytes=self.spec.max_record_bytes,
            max_lesson_bytes=self.spec.max_lesson_bytes,
        )
        bad_before, records = self.tally.bad_lines, 0
        for found in workers.read(self.maker, self.spec, layout, self.tally):
            self.tally.add(found.tally)
            records += found.records
            for made in found.made:
                self._take(made, part)
            self.pace.reading(found.position)
        self.pace.passed += path.stat().st_size
        bad = self.tally.bad_lines - bad_before
        versions.refuse_too_many_bad(self.tally, bad, max(records, bad), self.spec.bad_share)
        return layout.format

    def _take(self, made: Made, part: int) -> None:
        """Keep an example, unless one is kept already that says the same, or nearly so."""
        twin = self.spool.twin(made.digest)
        if twin is not None:
            self.tally.drop("duplicate" if twin == part else "also_in_validation_file", made.line)
            return
        alike = self.spool.resembled(made, self.spec.near_duplicate)
        held_out = [kept for kept in alike if kept.part != part]
        if held_out:
            self._leave(made, held_out[0], "resembles_validation_file")
        elif alike and self.spec.split.near_duplicates == "drop":
            self._leave(made, alike[0], "near_duplicate")
        else:
            self._keep(made, part, alike)

    def _leave(self, made: Made, kept: Kept, reason: str) -> None:
        similarity = int(kept.similarity * 1000) / 1000
        self.tally.resembles(reason, Resemblance(line=made.line, resembles=kept.line, similarity=similarity))

    def _keep(self, made: Made, part: int, alike: list[Kept]) -> None:
        seq = self.spool.add(made, part)
        for kept in alike:
            self.spool.join(seq, kept.seq)
        self.pace.examples += 1
        for doubt in made.doubts:
            self.tally.warn(doubt)

    def _divide(self) -> None:
        plan, spool = self.spec.split, self.spool
        part = HELD_OUT if self.spec.validation else MAIN
        self.unit = spool.unit(plan, part, larger="prompt" if self.pairs else "lesson")
        spool.cluster(self.unit)
        if part == HELD_OUT:
            spool.divide(part, self.unit, splits.proof_of(spool.count(part), plan), rest=splits.VALIDATION)
            spool.place_all(MAIN, self.unit, splits.TRAIN)
        else:
            spool.divide(part, self.unit, splits.sizes(spool.count(part), plan))

    def _write(self) -> dict[str, Path]:
        """Write each split's file, adding up the tokens of what trains."""
        columns = PAIR_COLUMNS if self.pairs else COLUMNS
        writers = {split: SplitWriter(self.folder / f"{split}.parquet", columns) for split in splits.SPLITS}
        for placed in self.spool.divided(self.unit):
            writers[placed.split].add(placed.row)
            if placed.split == splits.TRAIN:
                self.totals.add(placed.counted, placed.line, self.tally)
            self.pace.writing()
        for writer in writers.values():
            writer.close()
        self.written = {split: writer.examples for split, writer in writers.items()}
        return {split: writer.path for split, writer in writers.items()}

    def _name(self, format: str, files: dict[str, Path]) -> Imported:
        manifest = self._manifest(format, files).encoded()
        (self.folder / versions.MANIFEST).write_bytes(manifest)
        return Imported(
            digest=versions.digest(manifest),
            files=(*(path.name for path in files.values()), versions.MANIFEST),
            format=format,
            train_examples=self.written[splits.TRAIN],
            validation_examples=self.written[splits.VALIDATION],
            test_examples=self.written[splits.TEST],
            train_tokens=self.totals.tokens,
            trained_tokens=self.totals.trained,
            truncated=self.totals.truncated,
            dropped=self.tally.dropped,
            problems=self.tally.problems,
            problem_count=self.tally.problem_count,
        )

    def _manifest(self, format: str, files: dict[str, Path]) -> Manifest:
        stored = {split: hash_file(path) for split, path in files.items()}
        return Manifest(
            schema=versions.SCHEMA,
            format=format,
            source_sha256=self.spec.source_sha256,
            validation_sha256=self.spec.validation_sha256,
            split=self.spec.split,
            unit=self.unit,
            near_duplicate=self.spec.near_duplicate,
            files=tuple(
                SplitFile(
                    name=files[split].name,
                    examples=self.written[split],
                    size=stored[split].size,
                    sha256=stored[split].sha256,
                )
                for split in files
            ),
            dropped=self.tally.dropped,
            bad_lines=self.tally.bad_lines,
            versions={"pyarrow": version("pyarrow"), "rensa": version("rensa")},
        )


class _Pace:
    """Tells progress: when a stage begins, and then at most once in ``TOLD_EVERY`` seconds."""

    def __init__(self, spec: Spec, tally: Tally, tell: Tell) -> None:
        self.tell = tell
        self.tally = tally
        paths = [Path(path) for path in (spec.source, spec.validation) if path]
        self.total = sum(path.stat().st_size for path in paths)
        self.passed = 0
        self.examples = 0
        self._told = 0.0
        self._stage = ""

    def reading(self, position: int) -> None:
        """Say how far reading is."""
        self._say("reading", self.passed + position)

    def writing(self) -> None:
        """Say that all is read and being written."""
        self._say("writing", self.total)

    def _say(self, stage: str, done: int) -> None:
        now = time.monotonic()
        if stage == self._stage and now - self._told < TOLD_EVERY:
            return
        self._told, self._stage = now, stage
        self.tell(
            Progress(
                stage=stage,
                done_bytes=min(done, self.total),
                total_bytes=self.total,
                examples=self.examples,
                bad_lines=self.tally.bad_lines,
            )
        )


def _is_full(error: Exception) -> bool:
    if isinstance(error, sqlite3.OperationalError):
        return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error)
