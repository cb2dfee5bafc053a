"""Requests that no client of sound mind sends, and what `make fuzz` once found."""

from tests.integration.gateway.conftest import Gateway

JOBS = "/v1/fine_tuning/jobs"


async def test_a_refused_method_names_those_that_work(gateway: Gateway) -> None:
    refused = await gateway.http.request("TRACE", f"{JOBS}/ftjob-1")
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, OPTIONS")
    asked = await gateway.http.options(JOBS)
    assert (asked.status_code, {"GET", "POST"} <= set(asked.headers["allow"].split(", "))) == (204, True)


async def test_a_nul_character_is_refused_by_name(gateway: Gateway) -> None:
    file = await gateway.upload()
    for answer in (
        await gateway.http.get(JOBS, params={"metadata[a\0b]": "1"}),
        await gateway.http.get("/v1/files", params={"after": "\0"}),
        await gateway.http.post(
            JOBS, json={"model": "SmolLM2-135M-Instruct", "training_file": file["id"], "suffix": "a\0"}
        ),
    ):
        assert answer.status_code == 400
        assert answer.json()["error"]["message"]


async def test_a_value_of_another_type_is_refused_by_name_and_not_converted(gateway: Gateway) -> None:
    file = await gateway.upload()
    job = {"model": "SmolLM2-135M-Instruct", "training_file": file["id"]}
    for path, body, field in (
        ("/v1/notice_recipients", {"name": "Ada", "slack": 1}, "slack"),
        ("/v1/notice_recipients", {"name": 7, "slack": True}, "name"),
        (JOBS, job | {"seed": "3"}, "seed"),
        (JOBS, job | {"hyperparameters": {"n_epochs": "3"}}, "hyperparameters.n_epochs"),
        (JOBS, job | {"metadata": {"round": 2}}, "metadata[...]"),
    ):
        answer = await gateway.http.post(path, json=body)
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["param"] == field
    accepted = {"seed": 3, "hyperparameters": {"n_epochs": "auto"}, "learning_rate": 1, "metadata": {"round": "2"}}
    assert (await gateway.http.post(JOBS, json=job | accepted)).status_code == 200
