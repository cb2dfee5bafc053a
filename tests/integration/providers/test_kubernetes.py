"""Kubernetes over HTTP: what is sent is what a strict API server takes."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from libs.errors import Busy, Rejected
from services.trainer.providers.kubernetes import Kubernetes, manifest
from services.trainer.providers.pools import KubernetesPool
from services.trainer.providers.provider import Found, Spec
from tests.integration.providers.api import NEVER, TOKEN, Answer, Fault
from tests.integration.providers.cluster_api import FakeCluster, problems

KEY = "ws-0a1b2c3d-cluster-11223344"
SPEC = Spec(owner="0a1b2c3d", pool="cluster", kind="nvidia.com/gpu")


@pytest.fixture
async def fake() -> AsyncIterator[FakeCluster]:
    fake = FakeCluster()
    async with fake.listening():
        yield fake


@pytest.fixture
def cluster(fake: FakeCluster, tmp_path: Path) -> Kubernetes:
    (tmp_path / "token").write_text(TOKEN + "\n")
    pool = KubernetesPool(
        namespace="tuning", queue="gpus", image="woodshed/runner:1", secret="woodshed-runner", devices=2,
        grace_seconds=45.0, server=fake.url, token_file=str(tmp_path / "token"), ca_file="",
    )  # fmt: skip
    return Kubernetes(pool, deadline=2.0)


async def test_a_job_is_suspended_queued_ours_and_never_started_again(fake: FakeCluster, cluster: Kubernetes) -> None:
    assert await cluster.launch(SPEC, KEY) == KEY
    job = fake.jobs[KEY]
    assert job["metadata"]["labels"] == {
        "kueue.x-k8s.io/queue-name": "gpus",
        "app.kubernetes.io/managed-by": "woodshed",
        "woodshed-owner": "0a1b2c3d",
        "woodshed-pool": "cluster",
    }
    assert (job["spec"]["suspend"], job["spec"]["backoffLimit"], job["spec"]["completions"]) == (True, 0, 1)
    pod = job["spec"]["template"]["spec"]
    assert (pod["restartPolicy"], pod["terminationGracePeriodSeconds"]) == ("Never", 45)
    assert pod["automountServiceAccountToken"] is False
    [runner] = pod["containers"]
    assert runner["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert runner["securityContext"]["capabilities"] == {"drop": ["ALL"]}


async def test_passwords_come_from_a_secret_and_stand_nowhere_else(fake: FakeCluster, cluster: Kubernetes) -> None:
    await cluster.launch(SPEC, KEY)
    [runner] = fake.jobs[KEY]["spec"]["template"]["spec"]["containers"]
    assert runner["envFrom"] == [{"secretRef": {"name": "woodshed-runner"}}]
    assert {each["name"]: each["value"] for each in runner["env"]} == {
        "WOODSHED_RUNNER_NAME": KEY, "WOODSHED_MODELS_DIR": "/data/models", "WOODSHED_DATA_DIR": "/data/work",
        "WOODSHED_NOTICE_SECONDS": "45.0",
    }  # fmt: skip
    assert "exec python -m services.trainer.runner" in runner["command"][-1]
    assert TOKEN not in json.dumps(fake.jobs)


def test_a_cluster_whose_certificate_is_missing_is_not_trusted_all_the_same(tmp_path: Path) -> None:
    pool = KubernetesPool(namespace="tuning", queue="gpus", image="i", secret="s", ca_file=str(tmp_path / "none.crt"))
    with pytest.raises(Rejected, match=r"none\.crt"):
        Kubernetes(pool)


def test_a_machine_without_gpus_asks_for_none() -> None:
    pool = KubernetesPool(namespace="tuning", queue="processors", image="i", secret="s", resource="")
    job = manifest(pool, Spec(owner="0a1b2c3d", pool="cluster", kind="cpu"), KEY)
    [runner] = job["spec"]["template"]["spec"]["containers"]
    assert runner["resources"]["limits"] == {"memory": "16Gi"}
    assert not problems(job)


def wrong(change: str) -> dict[str, Any]:
    pool = KubernetesPool(namespace="tuning", queue="gpus", image="i", secret="s")
    job = manifest(pool, SPEC, KEY)
    pod = job["spec"]["template"]["spec"]
    match change:
        case "name":
            job["metadata"]["name"] = "Ws_1"
        case "label":
            job["metadata"]["labels"]["woodshed-owner"] = "not a label"
        case "policy":
            pod["restartPolicy"] = "Always"
        case "field":
            pod["gracePeriod"] = 3
        case "volume":
            pod["volumes"] = []
        case "quantity":
            pod["containers"][0]["resources"]["requests"]["memory"] = "much"
    return job


@pytest.mark.parametrize("change", ["name", "label", "policy", "field", "volume", "quantity"])
def test_the_stand_in_refuses_what_a_server_would(change: str) -> None:
    assert problems(wrong(change))
    assert not problems(wrong("nothing"))


async def test_a_repeated_launch_is_a_success(fake: FakeCluster, cluster: Kubernetes) -> None:
    assert await cluster.launch(SPEC, KEY) == await cluster.launch(SPEC, KEY) == KEY
    assert len(fake.jobs) == 1


async def test_a_strangers_job_of_that_name_is_not_taken_for_ours(fake: FakeCluster, cluster: Kubernetes) -> None:
    await cluster.launch(SPEC, KEY)
    fake.jobs[KEY]["metadata"]["labels"]["woodshed-owner"] = "ffffffff"
    with pytest.raises(Rejected, match="not ours"):
        await cluster.launch(SPEC, KEY)


@pytest.mark.parametrize("lost", [Answer(500), NEVER], ids=["500", "no answer"])
async def test_a_job_made_behind_an_error_is_found_by_asking_again(
    fake: FakeCluster, cluster: Kubernetes, lost: Answer
) -> None:
    fake.faults = [Fault("POST", lost, after=True)]
    with pytest.raises(Busy):
        await cluster.launch(SPEC, KEY)
    assert await cluster.launch(SPEC, KEY) == KEY
    assert len(fake.jobs) == 1


@pytest.mark.parametrize(
    ("status", "seen"),
    [
        ({}, "pending"),
        ({"active": 1, "ready": 0}, "pending"),
        ({"active": 1, "ready": 1}, "running"),
        ({"conditions": [{"type": "Suspended", "status": "True"}]}, "pending"),
        ({"conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]}, "exited"),
        ({"conditions": [{"type": "Complete", "status": "True"}]}, "exited"),
        ({"ready": 1, "conditions": [{"type": "Complete", "status": "False"}]}, "running"),
    ],
)
async def test_a_jobs_status_says_how_its_machine_is(
    fake: FakeCluster, cluster: Kubernetes, status: dict[str, Any], seen: str
) -> None:
    await cluster.launch(SPEC, KEY)
    fake.jobs[KEY]["status"] = status
    assert await cluster.observe(KEY) == seen


async def test_no_answer_and_no_access_are_unknown(fake: FakeCluster, cluster: Kubernetes, tmp_path: Path) -> None:
    await cluster.launch(SPEC, KEY)
    fake.faults = [Fault("GET", Answer(503))]
    assert await cluster.observe(KEY) == "unknown"
    (tmp_path / "token").write_text("expired")
    assert await cluster.observe(KEY) == "unknown"
    (tmp_path / "token").unlink()
    assert await cluster.observe(KEY) == "unknown"


async def test_a_token_that_was_renewed_is_used_at_once(fake: FakeCluster, cluster: Kubernetes, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("expired")
    with pytest.raises(Rejected, match="401"):
        await cluster.launch(SPEC, KEY)
    (tmp_path / "token").write_text(TOKEN)
    assert await cluster.launch(SPEC, KEY) == KEY


async def test_stopping_deletes_the_pod_behind_the_job(fake: FakeCluster, cluster: Kubernetes) -> None:
    await cluster.launch(SPEC, KEY)
    await cluster.stop(KEY, 30)
    await cluster.stop(KEY, 30)
    assert fake.deleted[KEY]["propagationPolicy"] == "Background"
    assert await cluster.observe(KEY) == "gone"


async def test_the_owners_jobs_are_listed_page_by_page(
    fake: FakeCluster, cluster: Kubernetes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.trainer.providers.kubernetes.PAGE", "2")
    keys = [f"{KEY}{number}" for number in range(5)]
    for key in keys:
        await cluster.launch(SPEC, key)
    await cluster.launch(Spec(owner="ffffffff", pool="cluster", kind="nvidia.com/gpu"), "ws-ffffffff-cluster-1")
    assert await cluster.list("0a1b2c3d") == [Found(key=key, handle=key) for key in keys]
    assert fake.count("GET") == 3
