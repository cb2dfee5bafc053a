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
    accepted = {"seed": 3, "hyperparameters": {"n_epochs": "auto"}, "budget": 1, "metadata": {"round": "2"}}
    assert (await gateway.http.post(JOBS, json=job | accepted)).status_code == 200


async def test_a_whole_number_may_be_written_as_a_fraction(gateway: Gateway) -> None:
    file = await gateway.upload()
    job = {"model": "SmolLM2-135M-Instruct", "training_file": file["id"], "seed": 3.0, "max_length": 64.0}
    answer = await gateway.http.post(JOBS, json=job)
    assert (answer.status_code, answer.json()["seed"]) == (200, 3)
    half = await gateway.http.post(JOBS, json=job | {"seed": 3.5})
    assert (half.status_code, half.json()["error"]["param"]) == (400, "seed")


async def test_what_only_the_framework_knows_is_not_there(gateway: Gateway) -> None:
    answer = await gateway.http.get("/nothing")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_a_key_of_metadata_that_is_asked_for_twice_is_refused_by_name(gateway: Gateway) -> None:
    answer = await gateway.http.get(f"{JOBS}?metadata[a]=1&metadata[a]=2")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "metadata[a]")


async def test_zero_is_not_false(gateway: Gateway) -> None:
    chat = {"model": "SmolLM2-135M-Instruct", "messages": [{"role": "user", "content": "Hi"}], "store": 0}
    answer = await gateway.http.post("/v1/chat/completions", json=chat)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "store")


async def test_when_a_file_goes_may_be_said_as_json(gateway: Gateway) -> None:
    form = {"purpose": "fine-tune", "expires_after": '{"anchor": "created_at", "seconds": 7200}'}
    kept = (await gateway.http.post("/v1/files", data=form, files={"file": b"{}"})).json()
    assert kept["expires_at"] == kept["created_at"] + 7200
    for wrong in ("{", "[]", '{"anchor": "created_at"}', '{"anchor": "created_at", "seconds": 1}'):
        refused = await gateway.http.post("/v1/files", data=form | {"expires_after": wrong}, files={"file": b"{}"})
        assert (refused.status_code, refused.json()["code"]) == (400, "bad_expiry"), wrong
