"""Which routes have a JSON body whose types are checked, and which leave conversion to the framework."""

from services.gateway.domain.wishes import JobWish, RetryWish
from services.gateway.routes import jobs, retries
from services.gateway.strictness import body_of


def test_a_route_with_a_json_body_names_its_type_and_others_have_none() -> None:
    assert body_of(jobs.create_job) is JobWish
    assert body_of(retries.retry_job) == RetryWish | None
    assert body_of(jobs.list_jobs) is None
