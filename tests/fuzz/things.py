"""Real things of a running platform, made through its API, for requests to be about.

``standing`` ones are named all the time; what a request would use up (a file to delete, a key to revoke) is made anew
for it, so that nothing that others need goes.
"""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx

MODEL = "SmolLM2-135M-Instruct"
LINES = b'{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]}\n' * 20
MANY = 40
PASSWORD = "five words are quite enough"
JOBS = "/v1/fine_tuning/jobs"
EVENT = "fine_tuning.job.succeeded"

Ids = dict[str, str]


class Api:
    """Calls of the API that cannot fail, unless the platform is full of what is asked for."""

    def __init__(self, url: str, key: str, hook: str) -> None:
        self._http = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=60, trust_env=False)
        self.hook = hook
        self._made = 0

    def call(self, method: str, path: str, **sent: Any) -> Any:
        """Return what is answered; raise if it is a refusal."""
        answer = self._http.request(method, path, **sent)
        if not answer.is_success:
            raise RuntimeError(f"{method} {path}: {answer.text}")
        return answer.json()

    def post(self, path: str, body: Any = None) -> Any:
        """Make something."""
        return self.call("POST", path, json=body)

    def number(self) -> int:
        """Count what is made, for names that nothing has yet."""
        self._made += 1
        return self._made

    def file(self) -> str:
        """Upload a file to train on."""
        form = {"data": {"purpose": "fine-tune"}, "files": {"file": ("chats.jsonl", LINES)}}
        return str(self.call("POST", "/v1/files", **form)["id"])

    def upload(self) -> str:
        """Announce an upload of two bytes."""
        wish = {"filename": "chats.jsonl", "purpose": "fine-tune", "bytes": 2, "mime_type": "text/plain"}
        return str(self.post("/v1/uploads", wish)["id"])

    def part(self, upload: str) -> str:
        """Send an upload's two bytes."""
        return str(self.call("POST", f"/v1/uploads/{upload}/parts", files={"data": ("part", b"{}")})["id"])

    def job(self, file: str, **wish: Any) -> Any:
        """Submit a job."""
        return self.post(JOBS, {"model": MODEL, "training_file": file} | wish)

    def key(self) -> str:
        """Make a key that may do nothing."""
        return str(self.post("/v1/keys", {"name": "spare", "scopes": []})["api_key"]["id"])

    def member(self) -> str:
        """Add a member."""
        email = f"member{self.number()}.{self._http.base_url.port}@studio.example"
        return str(self.post("/v1/members", {"name": "Ana", "role": "analyst", "email": email})["id"])

    def invitation(self) -> str:
        """Invite a member; return the secret that sets a password."""
        return str(self.post(f"/v1/members/{self.member()}/invitation")["invitation"])

    def credential(self) -> str:
        """Make event credentials."""
        return str(self.post("/v1/event_credentials", {"name": "spare"})["user"])

    def recipient(self, keep: str = "") -> str:
        """Let somebody be told."""
        return self._one("/v1/notice_recipients", {"name": "Ada", "slack": True}, keep)

    def webhook(self, keep: str = "") -> str:
        """Make an endpoint."""
        return self._one("/v1/webhook_endpoints", {"name": "spare", "url": self.hook, "event_types": [EVENT]}, keep)

    def _one(self, path: str, wish: Any, keep: str) -> str:
        """Make one more of what there may be few of; where there are many already, take another than ``keep``."""
        there = self.call("GET", path, params={"limit": 100})["data"]
        if len(there) < MANY:
            return str(self.post(path, wish)["id"])
        return next(str(each["id"]) for each in there if each["id"] != keep)

    def link(self, file: str) -> Any:
        """Make a link to a file."""
        return self.post("/v1/download_links", {"file": file})

    def permission(self, checkpoint: str) -> str:
        """Give a checkpoint to a project."""
        place = f"/v1/fine_tuning/checkpoints/{checkpoint}/permissions"
        return str(self.post(place, {"project_ids": [f"proj_{self.number()}"]})["data"][0]["id"])

    def session(self, email: str) -> str:
        """Sign the key's holder in, where no key says who calls; return the session's id."""
        bare = httpx.Client(base_url=self._http.base_url, timeout=60, trust_env=False)
        answer = bare.post("/v1/sessions", json={"email": email, "password": PASSWORD})
        return str(answer.raise_for_status().json()["via"])


def made(api: Api, job: Ids) -> Ids:
    """Make one standing thing of every kind beside a finished ``job``'s; return their ids by the names of paths."""
    file = api.file()
    upload = api.upload()
    link = api.link(file)
    me = api.call("GET", "/v1/me")
    email = "owner@studio.example"
    api.call("PATCH", f"/v1/members/{me['member']}", json={"email": email})
    api.call("PUT", "/v1/me/password", json={"password": PASSWORD})
    return {
        "file_id": file,
        "upload_id": upload,
        "link": link["id"],
        "link_query": urlsplit(link["url"]).query,
        "unfinished": api.job(file)["id"],
        "cancelled": api.job(file)["id"],
        "recipient": api.recipient(),
        "webhook": api.webhook(),
        "credential": api.credential(),
        "key": me["via"],
        "member": me["member"],
        "email": email,
        "organisation": me["organisation"],
        "permission": api.permission(job["checkpoint"]),
        **job,
    }


PathOf = Callable[[Api, Ids], Ids]
BodyOf = Callable[[Api, Ids, Ids], dict[str, Any]]

PATHS: dict[str, PathOf] = {
    "deleteFile": lambda api, _: {"file_id": api.file()},
    "addUploadPart": lambda api, _: {"upload_id": api.upload()},
    "completeUpload": lambda api, _: {"upload_id": api.upload()},
    "cancelUpload": lambda api, _: {"upload_id": api.upload()},
    "cancelFineTuningJob": lambda _, ids: {"job": ids["cancelled"]},
    "pauseFineTuningJob": lambda _, ids: {"job": ids["unfinished"]},
    "resumeFineTuningJob": lambda _, ids: {"job": ids["unfinished"]},
    "retryFineTuningJob": lambda _, ids: {"job": ids["failed"]},
    "deleteModel": lambda _, ids: {"model": ids["spare_model"]},
    "deleteFineTuningCheckpointPermission": lambda api, ids: {"permission": api.permission(ids["checkpoint"])},
    "deleteNoticeRecipient": lambda api, ids: {"recipient": api.recipient(ids["recipient"])},
    "revokeDownloadLink": lambda api, ids: {"link": api.link(ids["file_id"])["id"]},
    "deleteWebhookEndpoint": lambda api, ids: {"webhook": api.webhook(ids["webhook"])},
    "revokeEventCredential": lambda api, _: {"credential": api.credential()},
    "revokeKey": lambda api, _: {"key": api.key()},
    "rotateKey": lambda api, _: {"key": api.key()},
    "updateMember": lambda api, _: {"member": api.member()},
    "deleteMember": lambda api, _: {"member": api.member()},
    "inviteMember": lambda api, _: {"member": api.member()},
    "signOut": lambda api, ids: {"session": api.session(ids["email"])},
}
"""What a call uses up or changes, made for it."""


TOLD = {"email": "ada@studio.example", "slack_address": None, "time_zone": "Europe/Berlin"}


def _chat(_: Api, ids: Ids, __: Ids) -> dict[str, Any]:
    return {"model": ids["model"], "max_tokens": 3, "max_completion_tokens": None}


BODIES: dict[str, BodyOf] = {
    "completeUpload": lambda api, _, path: {"part_ids": [api.part(path["upload_id"])], "md5": None},
    "createDataset": lambda _, ids, __: {"file": ids["file_id"], "base_model": MODEL, "validation_file": None},
    "createFineTuningJob": lambda _, ids, __: {
        "model": MODEL,
        "training_file": ids["file_id"],
        "validation_file": None,
        "dataset": None,
    },
    "retryFineTuningJob": lambda _, ids, __: {"training_file": None},
    "createEstimate": lambda _, ids, __: {"dataset": ids["dataset"], "model": MODEL},
    "createChatCompletion": _chat,
    "askFineTunedModel": lambda *_: {"max_tokens": 3},
    "createDownloadLink": lambda _, ids, __: {"file": ids["file_id"], "job": None, "artifact": None, "report": None},
    "createKey": lambda _, ids, __: {"member": ids["member"]},
    "signIn": lambda _, ids, __: {k: ids[k] for k in ("email", "organisation")} | {"password": PASSWORD},
    "acceptInvitation": lambda api, _, __: {"invitation": api.invitation(), "password": PASSWORD},
    "setPassword": lambda *_: {"current": PASSWORD, "password": PASSWORD},
    "createNoticeRecipient": lambda *_: TOLD,
    "updateNoticeRecipient": lambda *_: TOLD,
    "createWebhookEndpoint": lambda api, _, __: {"url": api.hook},
    "updateWebhookEndpoint": lambda api, _, __: {"url": api.hook},
    "setBudget": lambda *_: {"monthly": 1e6, "time_zone": "Europe/Berlin"},
    "createMember": lambda api, _, __: {"email": f"made{api.number()}@studio.example"},
    "testWebhookEndpoint": lambda *_: {"event_type": EVENT},
}
"""What of a body only the platform knows: ids, and words that fit what it keeps."""


def query_of(ids: Ids) -> dict[str, str]:
    """Return what the standing link's address says after its question mark."""
    return dict(parse_qsl(ids["link_query"]))
