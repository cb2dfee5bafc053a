"""RunPod's REST API v2 as far as Woodshed speaks it, from its OpenAPI document of July 2026.

Bodies are checked as ``CreatePodRequest`` says: a field it does not know is refused (``unevaluatedProperties``),
exactly one of ``gpu`` and ``cpu`` is set, ``name`` and ``image`` are there. Names need not be unique. Errors are
RFC 9457 problems; pods that are terminated appear no more.
"""

from typing import Any

from tests.integration.providers.api import Answer, Api, Asked

CREATE = {
    "name", "image", "args", "disk", "ports", "env", "registry", "cloud", "cpu", "gpu", "dataCenterIds",
    "globalNetworking", "mounts", "startJupyter", "startSsh", "templateId",
}  # fmt: skip
GPU = {"id", "count", "allowedCudaVersions", "minCudaVersion"}
CATALOGUE = [
    ("NVIDIA GeForce RTX 4090", 0.44, 0.31, "HIGH"),
    ("NVIDIA RTX A6000", 0.40, 0.33, "LOW"),
    ("NVIDIA L40S", 0.30, 0.25, "NONE"),
    ("NVIDIA H100 80GB HBM3", 3.29, 2.69, "MEDIUM"),
]


class FakeRunPod(Api):
    """``pods`` by id; a test changes their ``status`` at will. ``hidden`` ids are not listed yet."""

    def __init__(self) -> None:
        super().__init__()
        self.pods: dict[str, dict[str, Any]] = {}
        self.hidden: set[str] = set()
        self.made = 0

    @property
    def names(self) -> list[str]:
        """The names of the pods that cost something."""
        return [pod["name"] for pod in self.pods.values()]

    def handle(self, asked: Asked) -> Answer:
        """Carry a request out."""
        match asked.method, asked.path.removeprefix("/v2").strip("/").split("/"):
            case "GET", ["catalog", "gpus"]:
                return self._catalogue(asked.query)
            case "GET", ["pods"]:
                return Answer(200, {"pods": [pod for pod in self.pods.values() if pod["id"] not in self.hidden]})
            case "POST", ["pods"]:
                return self._create(asked.body)
            case "GET", ["pods", pod] if pod in self.pods:
                return Answer(200, self.pods[pod])
            case "DELETE", ["pods", pod] if pod in self.pods:
                del self.pods[pod]
                return Answer(204)
        return _problem(404, "Not Found", "resource not found")

    def _catalogue(self, query: dict[str, str]) -> Answer:
        if query.get("include") == "AVAILABILITY" and not query.get("product"):
            return _problem(400, "Bad Request", "include=AVAILABILITY needs product")
        return Answer(
            200,
            {
                "gpus": [
                    {
                        "id": name, "name": name, "pool": None, "manufacturer": "NVIDIA", "memory": 24, "secure": True,
                        "community": True, "price": {"secure": secure, "community": community},
                        "maxCount": {"secure": 8, "community": 4}, "availability": level,
                    }
                    for name, secure, community, level in CATALOGUE
                ]
            },
        )  # fmt: skip

    def _create(self, body: dict[str, Any]) -> Answer:
        wrong = sorted(set(body) - CREATE) + sorted(set(body.get("gpu", {})) - GPU)
        if wrong or not body.get("name") or not body.get("image") or ("gpu" in body) == ("cpu" in body):
            return _problem(422, "Unprocessable Entity", f"Request validation failed: {wrong}")
        if not all(isinstance(value, str) for value in body.get("env", {}).values()):
            return _problem(422, "Unprocessable Entity", "env values are strings")
        self.made += 1
        pod = {
            "id": f"pod{self.made:04}", "status": "PROVISIONING", "actions": ["terminate"], "cost": 0.0,
            "locked": False, "runtime": None, "template": None, "createdAt": "2026-11-21T08:00:00Z",
        }  # fmt: skip
        self.pods[str(pod["id"])] = body | pod
        return Answer(201, self.pods[str(pod["id"])])


def _problem(status: int, title: str, detail: str) -> Answer:
    return Answer(status, {"title": title, "status": status, "detail": detail})
