"""Moving in: what comes and what cannot, patience with a busy server, and nothing twice however often killed."""

import hashlib
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.cli.access import Access
from services.cli.client import Api
from services.cli.errors import Refused, Unusable
from services.cli.moving import plan
from services.cli.moving.mover import Mover, Wish
from services.cli.moving.source import TRIES, Source
from services.cli.moving.state import Notebook

Json = dict[str, Any]
NOW = int(time.time())
PART = 100
CONTENTS = {f"file-{number}": f"content {number % 4}".encode() for number in range(5)} | {"file-5": b"x" * (PART + 9)}
HYPERPARAMETERS = {"n_epochs": 3, "batch_size": "auto", "learning_rate_multiplier": 1.8}


def file(name: str, **more: Any) -> Json:
    size = len(CONTENTS.get(name, b"x"))
    return {"id": name, "bytes": size, "filename": f"{name}.jsonl", "purpose": "fine-tune", "created_at": 1} | more


def job(name: str, **more: Any) -> Json:
    return {
        "id": name, "status": "succeeded", "model": "gpt-9-mini", "training_file": "file-1", "validation_file": None,
        "fine_tuned_model": f"ft:gpt-9-mini:org:coach:{name}", "hyperparameters": HYPERPARAMETERS, "seed": 7,
        "metadata": {"team": "money"},
        "method": {"type": "supervised", "supervised": {"hyperparameters": HYPERPARAMETERS}},
    } | more  # fmt: skip


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a file of a hundred bytes and nine come in two parts, and the disk be spared."""
    monkeypatch.setattr("services.cli.moving.state.os.fsync", lambda _: None)
    monkeypatch.setattr("services.cli.moving.mover.PART", PART)


class Killed(BaseException):
    """The program ends here, without another word."""


class Elsewhere(httpx.AsyncBaseTransport):
    """A server of the wire with pages of two, which is now and then too busy or at fault.

    ``bad`` are answers it gives first instead of a file's content.
    """

    def __init__(self, files: list[Json], jobs: list[Json], *, hiccups: int = 0) -> None:
        self.lists = {"/v1/files": files, "/v1/fine_tuning/jobs": jobs}
        self.hiccups = hiccups
        self.asked = 0
        self.bad: list[httpx.Response] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert request.method == "GET"
        assert request.headers["authorization"] == "Bearer theirs"
        self.asked += 1
        if self.hiccups and self.asked % self.hiccups == 0:
            return httpx.Response([429, 500][self.asked // self.hiccups % 2], json={"error": {"message": "not now"}})
        if request.url.path.endswith("/content"):
            if self.bad:
                return self.bad.pop(0)
            content = CONTENTS.get(request.url.path.split("/")[3])
            return httpx.Response(200, content=content) if content else _no(400, "Not allowed to download")
        found, after = self.lists[request.url.path], request.url.params.get("after")
        start = next((index + 1 for index, each in enumerate(found) if each["id"] == after), 0)
        return httpx.Response(200, json={"data": found[start : start + 2], "has_more": start + 2 < len(found)})


class BreaksOff(httpx.AsyncByteStream):
    """A body of which the first bytes come; then the line breaks, or is closed as if that had been all."""

    def __init__(self, first: bytes, error: httpx.TransportError | None = None) -> None:
        self.first = first
        self.error = error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self.first
        if self.error:
            raise self.error


WANDB = {"type": "wandb", "wandb": {"project": "coach", "name": None, "tags": ["a"], "run_id": "theirs"}}


class Here(httpx.AsyncBaseTransport):
    """The part of Woodshed that moving needs, which can kill the caller before or after it did what was asked."""

    def __init__(self) -> None:
        self.files: dict[str, Json] = {}
        self.uploads: dict[str, Json] = {}
        self.jobs: list[Json] = []
        self.given: dict[str, Json] = {}
        self.has_tracker = False
        self.kill_at = 0
        self.calls = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.calls += 1
        moment = self.kill_at - 2 * self.calls
        if moment == -1:
            raise Killed
        answer = self._answer(request)
        if moment == 0:
            raise Killed
        return answer

    def _answer(self, request: httpx.Request) -> httpx.Response:
        path, parts = request.url.path, request.url.path.split("/")
        if path == "/v1/files":
            return httpx.Response(200, json={"data": list(self.files.values()), "has_more": False, "last_id": None})
        if path == "/v1/fine_tuning/jobs" and request.method == "GET":
            wanted = request.url.params[f"metadata[{plan.MARK}]"]
            found = [each for each in self.jobs if each["metadata"].get(plan.MARK) == wanted]
            return httpx.Response(200, json={"data": found})
        if path == "/v1/fine_tuning/jobs":
            return self._job(request)
        if path == "/v1/uploads":
            upload = json.loads(request.content) | {"id": f"upload-{len(self.uploads)}", "sent": {}, "file": None}
            self.uploads[upload["id"]] = upload
            return httpx.Response(200, json={"id": upload["id"]})
        upload = self.uploads[parts[3]]
        if parts[4] == "parts":
            part = f"part-{len(upload['sent'])}"
            boundary = request.headers["content-type"].partition("boundary=")[2].encode()
            upload["sent"][part] = request.content.partition(b"\r\n\r\n")[2].partition(b"\r\n--" + boundary)[0]
            return httpx.Response(200, json={"id": part})
        return self._complete(upload, json.loads(request.content))

    def _complete(self, upload: Json, wish: Json) -> httpx.Response:
        if upload["file"] is None:
            content = b"".join(upload["sent"][each] for each in wish["part_ids"])
            assert wish["md5"] == hashlib.md5(content).hexdigest()
            made = {
                "id": f"here-{len(self.files)}",
                "sha256": hashlib.sha256(content).hexdigest(),
                "bytes": len(content),
            }
            upload["file"] = made | {"filename": upload["filename"], "purpose": upload["purpose"]}
            self.files[made["id"]] = upload["file"]
        return httpx.Response(200, json={"file": upload["file"]})

    def _job(self, request: httpx.Request) -> httpx.Response:
        key, body = request.headers["idempotency-key"], json.loads(request.content)
        if body["method"]["type"] == "reinforcement":
            return _no(400, "reinforcement is not known here")
        if "integrations" in body and not self.has_tracker:
            return _no(400, "no key for Weights & Biases", plan.NO_TRACKER)
        if key not in self.given:
            self.given[key] = body | {"id": f"ftjob-{len(self.jobs)}"}
            self.jobs.append(self.given[key])
        return httpx.Response(200, json=self.given[key])


def _no(status: int, message: str, code: str = "") -> httpx.Response:
    said = {"status": status, "detail": message, "code": code, "error": {"message": message}}
    return httpx.Response(status, json=said)


async def move(source: Elsewhere, target: Here, state: Path, **wish: Any) -> plan.Report:
    api = Api(Access("http://here.example", "ours"), target, pause=0)
    async with Source("https://there.example/v1", "theirs", source, pause=0) as other, api:
        notebook = Notebook.open(state, other.url, api.access.url)
        mover = Mover(other, api, notebook, Wish(model="SmolLM2-135M-Instruct", **wish), pause=0)
        files = await mover.look()
        if not mover._wish.dry_run:
            await mover.copy(files, lambda _: None)
        await mover.again(files if mover._wish.dry_run else [])
    return mover.report


async def test_files_and_jobs_come_and_what_cannot_is_said_with_its_reason(tmp_path: Path) -> None:
    files = [
        *(file(name) for name in CONTENTS),
        file("file-9", purpose="fine-tune-results"),
        file("file-8", bytes=0),
        file("file-7", purpose="assistants"),
    ]
    jobs = [
        job("ftjob-a", validation_file="file-2"),
        job("ftjob-b", status="failed"),
        job("ftjob-c", training_file="file-gone"),
        job("ftjob-d", status="running"),
        job("ftjob-e", method={"type": "reinforcement"}, fine_tuned_model=None),
    ]
    source, target = Elsewhere(files, jobs, hiccups=3), Here()
    report = await move(source, target, tmp_path / "state", train=True)
    assert len(report.files) == len(target.files) == len(CONTENTS)
    for there, here in report.files.items():
        assert target.files[here]["sha256"] == hashlib.sha256(CONTENTS[there]).hexdigest()
        assert (target.files[here]["filename"], target.files[here]["purpose"]) == (f"{there}.jsonl", "fine-tune")
    [made] = target.jobs
    assert made["training_file"] == report.files["file-1"]
    assert made["validation_file"] == report.files["file-2"]
    assert (made["suffix"], made["seed"], made["model"]) == ("coach", 7, "SmolLM2-135M-Instruct")
    assert made["method"]["supervised"]["hyperparameters"] == HYPERPARAMETERS
    assert made["metadata"] == {"team": "money", "moved_from": "there.example/ftjob-a"}
    reasons = {each.name.split(" ")[0]: each.why for each in report.left}
    assert set(reasons) == {
        "file-9", "file-8", "file-7", "ftjob-b", "ftjob-c", "ftjob-d", "ftjob-e", "ft:gpt-9-mini:org:coach:ftjob-a"
    }  # fmt: skip
    assert "Not allowed to download" in reasons["file-7"]
    assert "not known here" in reasons["ftjob-e"]
    assert "file-gone" in reasons["ftjob-c"]


@pytest.mark.parametrize("lost", [False, True])
async def test_killed_at_every_point_and_run_again_it_makes_nothing_twice(tmp_path: Path, lost: bool) -> None:
    twin = file("file-4", filename="file-0.jsonl")
    files = [file(name) for name in ("file-0", "file-1", "file-5")] + [twin]
    jobs = [job("ftjob-a"), job("ftjob-b", training_file="file-5")]
    whole = Here()
    await move(Elsewhere(files, jobs), whole, tmp_path / "whole", train=True)
    moments = 2 * whole.calls
    assert moments >= 30
    for moment in range(1, moments + 1):
        target, state = Here(), tmp_path / f"state-{moment}"
        target.kill_at = moment
        with pytest.raises(Killed):
            await move(Elsewhere(files, jobs), target, state, train=True)
        target.kill_at = 0
        if lost:
            state.unlink(missing_ok=True)
        report = await move(Elsewhere(files, jobs), target, state, train=True)
        assert len(target.files) == len(set(report.files.values())) == 4, moment
        assert len(target.jobs) == 2, moment


async def test_a_dry_run_and_one_without_training_submit_nothing_and_show_the_recipe(tmp_path: Path) -> None:
    source, target, state = Elsewhere([file("file-1")], [job("ftjob-a")]), Here(), tmp_path / "state"
    looked = await move(source, target, state, dry_run=True, train=True)
    assert (looked.bytes, len(looked.recipes), target.uploads, state.exists()) == (
        len(CONTENTS["file-1"]),
        1,
        {},
        False,
    )
    copied = await move(source, target, state)
    assert (len(target.files), target.jobs, copied.recipes[0].job) == (1, [], None)
    assert copied.recipes[0].body["training_file"] == copied.files["file-1"]
    trained = await move(source, target, state, train=True)
    assert (len(target.files), len(target.jobs)) == (1, 1)
    assert trained.recipes[0].job == target.jobs[0]["id"]


@pytest.mark.parametrize("has_tracker", [True, False])
async def test_a_jobs_tracker_comes_too_where_it_can_be_told_and_else_the_job_comes_without(
    tmp_path: Path, has_tracker: bool
) -> None:
    there, here = Elsewhere([file("file-1")], [job("ftjob-a", integrations=[WANDB])]), Here()
    here.has_tracker = has_tracker
    report = await move(there, here, tmp_path / "state.json", train=True)
    [made] = here.jobs
    asked = [{"type": "wandb", "wandb": {"project": "coach", "tags": ["a"]}}]
    assert made.get("integrations") == (asked if has_tracker else None)
    left = [(each.kind, each.name) for each in report.left if each.kind == "tracker"]
    assert left == ([] if has_tracker else [("tracker", "ftjob-a")])


async def test_a_server_that_stays_busy_or_says_no_ends_the_move_with_its_words(tmp_path: Path) -> None:
    busy = Elsewhere([file("file-1")], [], hiccups=1)
    with pytest.raises(Refused, match="not now"):
        await move(busy, Here(), tmp_path / "state")
    assert busy.asked == TRIES


async def test_a_download_that_breaks_off_or_has_to_wait_comes_whole_and_as_late_as_it_was_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    async def wait(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr("services.cli.moving.source.asyncio.sleep", wait)
    source, came = Elsewhere([file("file-1")], []), [0]
    source.bad = [
        httpx.Response(429, headers={"retry-after": "7"}, json={"error": {"message": "slower"}}),
        httpx.Response(200, stream=BreaksOff(b"cont", httpx.ReadError("reset by peer"))),
        httpx.Response(200, stream=BreaksOff(b"content")),
        httpx.Response(503, headers={"retry-after": "86400"}),
        httpx.Response(503, headers={"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}),
    ]
    async with Source("https://there.example/v1", "theirs", source) as other:
        sha256 = await other.fetch("file-1", 9, tmp_path / "content", lambda count: came.append(count))
    assert (tmp_path / "content").read_bytes() == CONTENTS["file-1"]
    assert sha256 == hashlib.sha256(CONTENTS["file-1"]).hexdigest()
    assert sum(came) == 9
    assert waits == [7.0, 2.0, 4.0, 60.0, 16.0]


async def test_a_file_that_never_comes_whole_is_left_and_holds_nothing_up(tmp_path: Path) -> None:
    target = Here()
    report = await move(Elsewhere([file("file-0"), file("file-1", bytes=99)], []), target, tmp_path / "state")
    assert list(report.files) == ["file-0"]
    assert [(each.name, each.why) for each in report.left] == [
        ("file-1 (file-1.jsonl)", "the other server sent 9 of its 99 bytes")
    ]
    assert len(target.files) == 1


def test_a_state_of_another_move_is_not_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "state"
    Notebook.open(path, "https://there.example", "http://here.example").keep()
    with pytest.raises(Unusable, match="of a move from"):
        Notebook.open(path, "https://elsewhere.example", "http://here.example")
    path.write_text("{")
    with pytest.raises(Unusable, match="no state"):
        Notebook.open(path, "https://there.example", "http://here.example")


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (file("f", purpose="fine-tune-results"), "belong to a job"),
        (file("f", bytes=0), "empty"),
        (file("f", expires_at=NOW + 60), "within the hour"),
        (file("f", expires_at=NOW + 7200), ""),
        (file("f"), ""),
    ],
)
def test_a_file_that_cannot_come_has_a_reason(given: Json, why: str) -> None:
    said = plan.why_not_file(given, NOW)
    assert why in said
    assert bool(why) == bool(said)


def test_a_job_keeps_what_this_wire_can_say_and_its_metadata_is_never_too_much() -> None:
    old = job("ftjob-a", method=None, fine_tuned_model=None, metadata=None)
    body = plan.body_of(old, {"file-1": "here-1"}, ["gpt-9-mini"], "other", "there.example/ftjob-a")
    assert body["model"] == "gpt-9-mini"
    assert body["method"] == {"type": "supervised", "supervised": {"hyperparameters": HYPERPARAMETERS}}
    assert "suffix" not in body
    full = job("ftjob-a", metadata={str(number): "x" for number in range(16)})
    assert plan.MARK not in plan.body_of(full, {"file-1": "here-1"}, [], "other", "mark")["metadata"]
    ours = job("ftjob-a", woodshed={"suffix": "kind", "preset": "quick", "priority": "high", "budget": None})
    assert plan.body_of(ours, {"file-1": "h"}, [], "o", "m") | {"suffix": "kind", "preset": "quick"} == plan.body_of(
        ours, {"file-1": "h"}, [], "o", "m"
    )
    assert plan.lifetime_of(file("f", expires_at=NOW + 7200), NOW) == {"anchor": "created_at", "seconds": 7200}
    assert plan.lifetime_of(file("f"), NOW) is None
