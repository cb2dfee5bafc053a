"""Event credentials: with them an organisation's own programs subscribe to its facts on NATS."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from asyncpg import Record
from litestar import Router, delete, get, post
from litestar.params import FromPath, FromQuery, JSONBody

from contracts.base import new_id
from libs.errors import Conflict, NotFound
from services.gateway.dependencies import TheCaller, TheDoorkeeper, TheSettings, Tx
from services.gateway.domain import credentials, keys, sessions
from services.gateway.domain.paging import Page, checked_limit, page_of
from services.gateway.listing import up_to
from services.gateway.permitted import needs
from services.gateway.problems import documented
from services.gateway.queries import credentials as queries
from services.gateway.settings import Settings
from services.gateway.trail import hold, note


@post(
    "/",
    operation_id="createEventCredential",
    opt=needs("events.write"),
    summary="Make event credentials",
    responses=documented(409, 422),
)
async def create_credential(
    data: JSONBody[credentials.CredentialWish], caller: TheCaller, tx: Tx, settings: TheSettings
) -> credentials.NewEventCredential:
    """Make credentials with which a program hears your organisation's events on NATS. Shows the password, this once.

    They hold no longer than the key they are made with, and end when their member is removed.
    """
    _check_on(settings)
    await hold(tx)
    until = caller.until if data.expires_in is None else datetime.now(UTC) + timedelta(seconds=data.expires_in)
    keys.check_narrower(keys.Reach(frozenset(), caller.until), keys.Reach(frozenset(), until))
    secret, name = sessions.new_secret(), new_id(credentials.PREFIX)
    digest = sessions.digest(settings.key_pepper, credentials.PURPOSE, secret)
    row = await queries.add(tx, name, caller.member, data.name, digest, caller.prefix, until)
    await note(tx, caller, "event_credential.made", name, name=data.name)
    return credentials.new_of(row, secret, settings.events_address)


@get(
    "/",
    operation_id="listEventCredentials",
    opt=needs("events.read"),
    summary="List event credentials",
    responses=documented(422),
)
async def list_credentials(
    tx: Tx,
    after: FromQuery[str | None] = None,
    limit: Annotated[int, up_to(100)] = 20,
) -> Page[credentials.EventCredential]:
    """List credentials, the latest first; revoked and expired ones too."""
    checked_limit(limit, 100)
    rows = await queries.newest_first(tx, after, limit + 1)
    return page_of([credentials.credential_of(row) for row in rows], [row["credential_id"] for row in rows], limit)


@get(
    "/{credential:str}",
    operation_id="retrieveEventCredential",
    opt=needs("events.read"),
    summary="Describe event credentials",
    responses=documented(404),
)
async def retrieve_credential(credential: FromPath[str], tx: Tx) -> credentials.EventCredential:
    """Describe credentials, and say when somebody last came in with them."""
    return _shown(await queries.get(tx, credential), credential)


@delete(
    "/{credential:str}",
    operation_id="revokeEventCredential",
    opt=needs("events.write"),
    summary="Revoke event credentials",
    status_code=200,
    responses=documented(404),
)
async def revoke_credential(
    credential: FromPath[str], caller: TheCaller, tx: Tx, doorkeeper: TheDoorkeeper
) -> credentials.EventCredential:
    """Make credentials void for ever. Nobody comes in with them any more; who is in is shown out within seconds."""
    await hold(tx)
    if await queries.revoke(tx, credential):
        tx.afterwards(doorkeeper.look)
        await note(tx, caller, "event_credential.revoked", credential)
    return _shown(await queries.get(tx, credential), credential)


router = Router(
    "/v1/event_credentials",
    route_handlers=[create_credential, list_credentials, retrieve_credential, revoke_credential],
    tags=["Events"],
)


def _shown(row: Record | None, name: str) -> credentials.EventCredential:
    if row is None:
        raise NotFound(
            f"There are no event credentials {name[:100]!r}.", fix="GET /v1/event_credentials lists those there are."
        )
    return credentials.credential_of(row)


def _check_on(settings: Settings) -> None:
    if not settings.signing_key:
        raise Conflict(
            "This installation has no WOODSHED_SIGNING_KEY, so NATS could not know whom to let in.",
            code="events_off",
            fix="Set it for the gateway; docs/how-to/subscribe-to-events.md says how.",
        )
