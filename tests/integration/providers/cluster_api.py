"""An API server's ``batch/v1`` Jobs as far as Woodshed speaks it, strict about what is sent (Kubernetes 1.31).

As with ``fieldValidation=Strict``, a field that a Job does not have is refused, and so are names and labels a real
server refuses. The fields are those of the API reference's Job, PodSpec and Container.
"""

import re
from typing import Any

from tests.integration.providers.api import Answer, Api, Asked

NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
LABEL_KEY = re.compile(r"([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
LABEL = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
QUANTITY = re.compile(r"\d+(\.\d+)?(m|Ki|Mi|Gi|Ti|k|M|G|T)?")
FIELDS: dict[str, set[str]] = {
    "job": {"apiVersion", "kind", "metadata", "spec"},
    "metadata": {"name", "namespace", "labels", "annotations"},
    "spec": {
        "suspend", "parallelism", "completions", "backoffLimit", "template", "activeDeadlineSeconds",
        "ttlSecondsAfterFinished", "podFailurePolicy", "completionMode", "manualSelector", "selector",
    },
    "template": {"metadata", "spec"},
    "pod": {
        "restartPolicy", "terminationGracePeriodSeconds", "automountServiceAccountToken", "securityContext",
        "containers", "initContainers", "volumes", "nodeSelector", "tolerations", "serviceAccountName", "affinity",
        "priorityClassName", "imagePullSecrets",
    },
    "container": {
        "name", "image", "command", "args", "env", "envFrom", "resources", "securityContext", "volumeMounts", "ports",
        "workingDir", "imagePullPolicy", "livenessProbe", "readinessProbe",
    },
}  # fmt: skip


class FakeCluster(Api):
    """``jobs`` by name; a test changes their ``status`` at will. ``deleted`` is how each was deleted."""

    def __init__(self, namespace: str = "tuning") -> None:
        super().__init__()
        self.prefix = f"/apis/batch/v1/namespaces/{namespace}/jobs"
        self.jobs: dict[str, dict[str, Any]] = {}
        self.deleted: dict[str, Any] = {}

    def handle(self, asked: Asked) -> Answer:
        """Carry a request out."""
        if not asked.path.startswith(self.prefix):
            return _status(404, "NotFound", "the server could not find the requested resource")
        name = asked.path.removeprefix(self.prefix).strip("/")
        if asked.method == "POST" and not name:
            return self._create(asked.body)
        if asked.method == "GET" and not name:
            return self._list(asked.query)
        if name not in self.jobs:
            return _status(404, "NotFound", f'jobs.batch "{name}" not found')
        if asked.method == "DELETE":
            self.deleted[name] = asked.body
            del self.jobs[name]
            return Answer(200, {"kind": "Status", "apiVersion": "v1", "status": "Success"})
        return Answer(200, self.jobs[name])

    def _create(self, job: dict[str, Any]) -> Answer:
        if wrong := problems(job):
            return _status(422, "Invalid", "; ".join(wrong))
        name = job["metadata"]["name"]
        if name in self.jobs:
            return _status(409, "AlreadyExists", f'jobs.batch "{name}" already exists')
        self.jobs[name] = job | {"status": {}}
        return Answer(201, self.jobs[name])

    def _list(self, query: dict[str, str]) -> Answer:
        key, _, value = query["labelSelector"].partition("=")
        found = [job for job in self.jobs.values() if job["metadata"]["labels"].get(key) == value]
        start, size = int(query.get("continue", "0")), int(query["limit"])
        metadata = {"continue": str(start + size)} if start + size < len(found) else {}
        return Answer(200, {"kind": "JobList", "metadata": metadata, "items": found[start : start + size]})


def problems(job: dict[str, Any]) -> list[str]:
    """Return what an API server would refuse of a Job."""
    metadata, spec = job["metadata"], job["spec"]
    pod = spec["template"]["spec"]
    wrong = _unknown("job", job) + _unknown("metadata", metadata) + _unknown("spec", spec)
    wrong += _unknown("template", spec["template"]) + _unknown("pod", pod)
    if (job["apiVersion"], job["kind"]) != ("batch/v1", "Job") or not NAME.fullmatch(metadata["name"]):
        wrong.append("no Job of batch/v1 with a DNS label as its name")
    if pod["restartPolicy"] not in ("Never", "OnFailure"):
        wrong.append("spec.template.spec.restartPolicy: Required value: valid values: OnFailure, Never")
    for key, value in [*metadata["labels"].items(), *spec["template"]["metadata"]["labels"].items()]:
        if not LABEL_KEY.fullmatch(key) or not LABEL.fullmatch(value):
            wrong.append(f"metadata.labels: Invalid value: {key}={value}")
    volumes = {each["name"] for each in pod.get("volumes", ())}
    for container in pod["containers"]:
        wrong += _unknown("container", container) + _container(container, volumes)
    return wrong


def _container(container: dict[str, Any], volumes: set[str]) -> list[str]:
    wrong = [f"volume {each['name']}" for each in container["volumeMounts"] if each["name"] not in volumes]
    wrong += [f"env {each['name']}" for each in container["env"] if not isinstance(each.get("value", ""), str)]
    resources = container["resources"]
    for kind, amount in [*resources["requests"].items(), *resources["limits"].items()]:
        if not QUANTITY.fullmatch(amount):
            wrong.append(f"resources: {kind}={amount}")
        if "/" in kind and resources["requests"].get(kind, resources["limits"].get(kind)) != resources["limits"][kind]:
            wrong.append(f"resources: {kind} must be equal in requests and limits")
    return wrong


def _unknown(what: str, value: dict[str, Any]) -> list[str]:
    return [f'strict decoding error: unknown field "{each}"' for each in sorted(set(value) - FIELDS[what])]


def _status(code: int, reason: str, message: str) -> Answer:
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code}
    return Answer(code, body | {"message": message})
