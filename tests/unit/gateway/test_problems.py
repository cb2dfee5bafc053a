"""Which status a refusal has."""

import pytest

from services.gateway.problems import status_for


@pytest.mark.parametrize(
    ("path", "said", "sent"),
    [
        ("/v1/files", 422, 400),
        ("/v1/fine_tuning/jobs", 422, 400),
        ("/v1/uploads/upload-1/complete", 422, 400),
        ("/v1/files/file-1", 404, 404),
        ("/v1/datasets", 422, 422),
    ],
)
def test_what_cannot_work_is_400_on_openais_wire_and_422_elsewhere(path: str, said: int, sent: int) -> None:
    assert status_for(path, said) == sent
