"""Carries files and jobs over, one after another, and writes down each step before it could be done twice."""

import hashlib
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from msgspec import Struct

from services.cli.client import Advance, Api, Json
from services.cli.errors import Refused
from services.cli.moving import plan
from services.cli.moving.source import Source, patiently
from services.cli.moving.state import Copy, Notebook

T = TypeVar("T")

PART = 8 * 1024 * 1024
REFUSED_HERE = "it was refused here: "


class Wish(Struct, frozen=True, kw_only=True):
    """How to move: whether to ``train`` jobs again, on which ``model`` where theirs is none of ``models``."""

    train: bool = False
    model: str
    models: frozenset[str] = frozenset()
    dry_run: bool = False


class Mover:
    """One move, or what is left of it."""

    def __init__(self, source: Source, target: Api, notebook: Notebook, wish: Wish, pause: float = 1.0) -> None:
        self._source = source
        self._target = target
        self._notebook = notebook
        self._wish = wish
        self._pause = pause
        self._here: dict[tuple[str, str, str], list[str]] = {}
        self.report = plan.Report(source=source.url, target=target.access.url)

    async def look(self) -> list[Json]:
        """Find the files that can come and have not; what cannot is in the report."""
        wanted, now = [], int(time.time())
        async for file in self._source.each("/v1/files"):
            if why := plan.why_not_file(file, now):
                self._leave("file", f"{file['id']} ({file.get('filename')})", why)
            elif file["id"] not in self._notebook.state.arrived:
                wanted.append(file)
        self.report.files |= self._notebook.state.arrived
        self.report.bytes = sum(file["bytes"] for file in wanted)
        return wanted[::-1]

    async def copy(self, files: list[Json], advance: Advance) -> None:
        """Copy files; a refused one is in the report and holds nothing up."""
        left = [file for file in files if not await self._settled(file, advance)]
        if left:
            await self._know_here()
        for file in left:
            try:
                self._arrived(file, await self._bring(file, advance))
            except Refused as error:
                self._leave("file", f"{file['id']} ({file.get('filename')})", str(error))

    async def again(self, coming: list[Json]) -> None:
        """Make a recipe of every job that succeeded, and submit it if that is wished; ``coming`` are further files."""
        files = self.report.files | {file["id"]: f"(here: {file['id']})" for file in coming}
        jobs = [job async for job in self._source.each("/v1/fine_tuning/jobs")]
        for job in reversed(jobs):
            if why := plan.why_not_job(job, files):
                self._leave("job", job["id"], why)
                continue
            mark = plan.mark_of(self._source.url, job["id"])
            body = plan.body_of(job, files, self._wish.models, self._wish.model, mark)
            if job.get("fine_tuned_model"):
                self._leave("model", job["fine_tuned_model"], plan.why_no_model(job))
            try:
                made = await self._submitted_or_untracked(job["id"], mark, body)
            except Refused as error:
                self._leave("job", job["id"], f"{REFUSED_HERE}{error}")
                made = None
            self.report.recipes.append(plan.Recipe(job["id"], body, made))

    async def _settled(self, file: Json, advance: Advance) -> bool:
        """Make the file of an upload that an earlier run prepared, or learn that it made it."""
        begun = self._notebook.state.files.get(file["id"])
        found = await self._complete(begun) if begun else ""
        if found:
            advance(file["bytes"])
            self._arrived(file, found)
        return bool(found)

    async def _bring(self, file: Json, advance: Advance) -> str:
        """Download a file and send it, unless it lies here already; return what it is here."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "content"
            sha256 = await self._source.fetch(file["id"], file["bytes"], path, advance)
            copy = Copy(file=self._twin(file, sha256))
            if not copy.file:
                copy = await self._here_patiently(lambda: self._send(file, path))
        self._notebook.state.files[file["id"]] = copy
        self._notebook.keep()
        return copy.file or await self._complete(copy, last=True)

    def _arrived(self, file: Json, found: str) -> None:
        self._notebook.state.files[file["id"]].file = found
        self._notebook.keep()
        self.report.files[file["id"]] = found

    async def _send(self, file: Json, path: Path) -> Copy:
        """Send a file in parts; as long as they are not completed there is no file, and what is left of them goes."""
        wish = {
            "filename": file.get("filename") or file["id"],
            "purpose": file["purpose"],
            "bytes": path.stat().st_size,
            "mime_type": "application/octet-stream",
        }
        if lifetime := plan.lifetime_of(file, int(time.time())):
            wish["expires_after"] = lifetime
        upload = (await self._target.post("/v1/uploads", wish))["id"]
        parts, md5 = [], hashlib.md5(usedforsecurity=False)
        with path.open("rb") as content:
            while piece := content.read(PART):
                md5.update(piece)
                parts.append((await self._target.send_part(f"/v1/uploads/{upload}/parts", piece))["id"])
        return Copy(upload=upload, parts=parts, md5=md5.hexdigest())

    async def _complete(self, copy: Copy, *, last: bool = False) -> str:
        """Complete an upload, perhaps once more, and return its file; empty if it ended without one."""
        path, body = f"/v1/uploads/{copy.upload}/complete", {"part_ids": copy.parts, "md5": copy.md5}
        try:
            return str((await self._here_patiently(lambda: self._target.post(path, body)))["file"]["id"])
        except Refused as error:
            if last or error.problem.status not in (400, 404, 409, 422):
                raise
            return ""

    async def _submitted_or_untracked(self, source: str, mark: str, body: Json) -> str | None:
        """Submit a job, without its tracker where that is not offered here."""
        try:
            return await self._submitted(source, mark, body)
        except Refused as error:
            if error.problem.code != plan.NO_TRACKER:
                raise
            self._leave("tracker", source, f"{REFUSED_HERE}{error}")
            del body["integrations"]
            return await self._submitted(source, mark, body)

    async def _submitted(self, source: str, mark: str, body: Json) -> str | None:
        state = self._notebook.state
        if source in state.jobs or not self._wish.train or self._wish.dry_run:
            return state.jobs.get(source)
        if plan.MARK in body["metadata"] and (made := await self._marked(mark)):
            state.jobs[source] = made
        else:
            post = self._target.post
            answer = await self._here_patiently(
                lambda: post("/v1/fine_tuning/jobs", body, idempotency_key=plan.key_of(mark))
            )
            state.jobs[source] = answer["id"]
        self._notebook.keep()
        return state.jobs[source]

    async def _marked(self, mark: str) -> str | None:
        """Find a job that an earlier move made, whose state is lost."""
        found = await self._get("/v1/fine_tuning/jobs", **{f"metadata[{plan.MARK}]": mark})
        return found["data"][0]["id"] if found["data"] else None

    async def _know_here(self) -> None:
        """Learn which files are here already, but for those this move has accounted for."""
        ours, after = set(self._notebook.state.arrived.values()), ""
        while True:
            page = await self._get("/v1/files", limit=1000, **({"after": after} if after else {}))
            for file in page["data"]:
                if file["id"] not in ours:
                    self._here.setdefault((file["sha256"], file["filename"], file["purpose"]), []).append(file["id"])
            if not page["has_more"]:
                return
            after = page["last_id"]

    def _twin(self, file: Json, sha256: str) -> str:
        """Return a file here with the same content, name and purpose, each once."""
        same = self._here.get((sha256, str(file.get("filename")), file["purpose"]), [])
        return same.pop() if same else ""

    async def _get(self, path: str, **params: str | int) -> Json:
        return await self._here_patiently(lambda: self._target.get(path, **params))

    async def _here_patiently(self, act: Callable[[], Awaitable[T]]) -> T:
        return await patiently(act, self._pause)

    def _leave(self, kind: str, name: str, why: str) -> None:
        self.report.left.append(plan.Left(kind, name, why))
