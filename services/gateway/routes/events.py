"""Live pages as Server-Sent Events: facts with an id that resumes, measurements without, comments as heart-beats."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from litestar import Router, get
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, HeaderParameter
from litestar.response import ServerSentEvent, ServerSentEventMessage

from libs.errors import Rejected
from services.gateway.dependencies import Db, TheCaller, TheHub, TheSettings
from services.gateway.live import Message, Scope
from services.gateway.permitted import needs
from services.gateway.problems import documented
from services.gateway.routes.found import the_job

LAST = Annotated[
    str | None, HeaderParameter(name="Last-Event-ID", description="Go on after this event; 0 begins with the first.")
]
STREAMED = {
    200: ResponseSpec(
        data_container=str,
        media_type="text/event-stream",
        description="Events until the client leaves.",
        generate_examples=False,
    )
}


@get(
    "/v1/stream",
    operation_id="streamEvents",
    opt=needs("jobs.read"),
    summary="Everything, live",
    responses=STREAMED | documented(422),
)
async def stream_everything(
    caller: TheCaller, hub: TheHub, settings: TheSettings, last_event_id: LAST = None
) -> ServerSentEvent:
    """Stream the organisation's facts and measurements from now on, or after ``Last-Event-ID``."""
    after = _sequence(last_event_id)
    return _sent(hub.follow(Scope(caller.tenant), settings.heartbeat_seconds, after=after))


@get(
    "/v1/fine_tuning/jobs/{job:str}/stream",
    operation_id="streamFineTuningJob",
    opt=needs("jobs.read"),
    summary="One job, live",
    responses=STREAMED | documented(404, 422),
)
async def stream_job(
    job: FromPath[str], caller: TheCaller, db: Db, hub: TheHub, settings: TheSettings, last_event_id: LAST = None
) -> ServerSentEvent:
    """Stream a job's facts from its submission on (or after ``Last-Event-ID``), then what happens, live."""
    after = _sequence(last_event_id)
    async with db.transaction(caller.tenant) as tx:
        row = await the_job(tx, job)
    scope = Scope(caller.tenant, job, row["dataset_id"])
    since = row["created_at"] if after is None else None
    return _sent(hub.follow(scope, settings.heartbeat_seconds, after=after, since=since))


router = Router("/", route_handlers=[stream_everything, stream_job], tags=["Live"])


def _sent(messages: AsyncIterator[Message | None]) -> ServerSentEvent:
    return ServerSentEvent(_framed(messages), retry_duration=1000, headers={"Cache-Control": "no-store"})


async def _framed(messages: AsyncIterator[Message | None]) -> AsyncIterator[Any]:
    async for message in messages:
        if message is None:
            yield ServerSentEventMessage(data=None, comment="still here")
        else:
            yield ServerSentEventMessage(data=message.body, event=message.about.type, id=message.sequence)


def _sequence(last_event_id: str | None) -> int | None:
    if last_event_id is None:
        return None
    if not last_event_id.isdecimal() or len(last_event_id) > 18:
        raise Rejected("Last-Event-ID is not an id of this stream. Send the last one you got.", field="Last-Event-ID")
    return int(last_event_id)
