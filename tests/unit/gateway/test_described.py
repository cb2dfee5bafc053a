"""The API's own description, and the vendored page that shows it."""

import hashlib
import re
from typing import Any

import pytest

from services.gateway.openapi import document
from services.gateway.routes.health import STATIC

PUBLIC = ("/health/live", "/health/ready", "/metrics")


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    return document()


def test_every_operation_has_an_id_a_summary_a_tag_and_its_problems(described: dict[str, Any]) -> None:
    assert described["openapi"] == "3.1.0"
    operations = [(path, operation) for path, methods in described["paths"].items() for operation in methods.values()]
    ids = [operation["operationId"] for _, operation in operations]
    assert len(ids) == len(set(ids)) >= 26
    for path, operation in operations:
        assert operation["summary"], path
        assert operation["tags"], path
        if path not in PUBLIC:
            problems = [answer for status, answer in operation["responses"].items() if status >= "400"]
            assert len(problems) >= 2, path
            assert all(list(each["content"]) == ["application/problem+json"] for each in problems), path


def test_the_description_is_the_same_each_time(described: dict[str, Any]) -> None:
    assert document() == described


def test_operations_that_openai_has_carry_openais_ids(described: dict[str, Any]) -> None:
    wanted = {
        ("/v1/files", "get"): "listFiles",
        ("/v1/files", "post"): "createFile",
        ("/v1/files/{file_id}", "get"): "retrieveFile",
        ("/v1/files/{file_id}", "delete"): "deleteFile",
        ("/v1/files/{file_id}/content", "get"): "downloadFile",
        ("/v1/fine_tuning/jobs", "get"): "listPaginatedFineTuningJobs",
        ("/v1/fine_tuning/jobs", "post"): "createFineTuningJob",
        ("/v1/fine_tuning/jobs/{job}", "get"): "retrieveFineTuningJob",
        ("/v1/fine_tuning/jobs/{job}/cancel", "post"): "cancelFineTuningJob",
        ("/v1/fine_tuning/jobs/{job}/pause", "post"): "pauseFineTuningJob",
        ("/v1/fine_tuning/jobs/{job}/resume", "post"): "resumeFineTuningJob",
        ("/v1/fine_tuning/jobs/{job}/events", "get"): "listFineTuningEvents",
        ("/v1/fine_tuning/jobs/{job}/checkpoints", "get"): "listFineTuningJobCheckpoints",
        ("/v1/fine_tuning/checkpoints/{checkpoint}/permissions", "get"): "listFineTuningCheckpointPermissions",
        ("/v1/fine_tuning/checkpoints/{checkpoint}/permissions", "post"): "createFineTuningCheckpointPermission",
        ("/v1/fine_tuning/checkpoints/{checkpoint}/permissions/{permission}", "delete"): (
            "deleteFineTuningCheckpointPermission"
        ),
        ("/v1/uploads", "post"): "createUpload",
        ("/v1/uploads/{upload_id}/parts", "post"): "addUploadPart",
        ("/v1/uploads/{upload_id}/complete", "post"): "completeUpload",
        ("/v1/uploads/{upload_id}/cancel", "post"): "cancelUpload",
        ("/v1/models", "get"): "listModels",
        ("/v1/models/{model}", "get"): "retrieveModel",
        ("/v1/models/{model}", "delete"): "deleteModel",
    }
    assert {key: described["paths"][key[0]][key[1]]["operationId"] for key in wanted} == wanted


def test_forms_say_what_they_carry(described: dict[str, Any]) -> None:
    for path, wanted in (("/v1/files", {"purpose", "file"}), ("/v1/uploads/{upload_id}/parts", {"data"})):
        form = described["paths"][path]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
        assert set(form["required"]) == wanted <= set(form["properties"])


def test_a_list_of_jobs_says_how_it_is_narrowed(described: dict[str, Any]) -> None:
    names = [each["name"] for each in described["paths"]["/v1/fine_tuning/jobs"]["get"]["parameters"]]
    assert {"after", "limit", "metadata"} <= set(names)


def test_everything_but_health_needs_a_key(described: dict[str, Any]) -> None:
    assert described["security"] == [{"key": []}]
    for path in PUBLIC:
        assert described["paths"][path]["get"]["security"] == [{}]


def test_vendored_files_are_the_published_ones() -> None:
    for line in (STATIC / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((STATIC / name).read_bytes()).hexdigest() == digest, name


def test_the_page_names_nothing_outside() -> None:
    for name in ("docs.html", "docs.js"):
        assert not re.search(r"https?:|//[a-z]", (STATIC / name).read_text())


def test_bodies_show_by_example_what_to_send(described: dict[str, Any]) -> None:
    schemas = described["components"]["schemas"]
    assert schemas["JobWish"]["properties"]["model"]["examples"] == ["SmolLM2-135M-Instruct"]
    assert schemas["AskWish"]["properties"]["prompt"]["examples"]
