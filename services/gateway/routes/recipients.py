"""Who is told what happens: named here, told by the notifier. Addresses stay here until it asks for one."""

from datetime import UTC, datetime
from typing import Annotated

from litestar import Router, delete, get, post
from litestar.params import FromPath, FromQuery, JSONBody

from contracts.base import new_id
from contracts.notices import RecipientRemoved
from libs.errors import NotFound, Rejected
from services.gateway.dependencies import TheCaller, TheSettings, Tx
from services.gateway.domain import recipients
from services.gateway.domain.paging import Page, checked_limit, page_of
from services.gateway.listing import up_to
from services.gateway.permitted import needs
from services.gateway.problems import documented
from services.gateway.queries import recipients as queries
from services.gateway.sealing import slack_seal
from services.gateway.trail import note


@post(
    "/",
    operation_id="createNoticeRecipient",
    opt=needs("notices.write"),
    summary="Name somebody",
    status_code=200,
    responses=documented(422),
)
async def create_recipient(
    data: JSONBody[recipients.RecipientWish], caller: TheCaller, tx: Tx, settings: TheSettings
) -> recipients.NoticeRecipient:
    """Have somebody told. As soon as an organisation names anybody, notices go to those it named and nowhere else."""
    seal, slack = slack_seal(settings), recipients.slack_of(data, "", private_allowed=settings.webhook_private_networks)
    recipients.check(data, slack)
    if await queries.count(tx) >= recipients.MOST_RECIPIENTS:
        raise Rejected(f"There are {recipients.MOST_RECIPIENTS} recipients already.", code="too_many_recipients")
    recipient_id = new_id("recipient")
    sealed = slack and seal.sealed(slack, recipient_id)
    row = await queries.add(tx, recipient_id, data.email or "", recipients.kept(data), sealed)
    await tx.tell(recipients.set_fact(tx.tenant, recipient_id, data, datetime.now(UTC), slack))
    await note(tx, caller, "recipient.named", recipient_id)
    return recipients.recipient_of(row, seal)


@get(
    "/",
    operation_id="listNoticeRecipients",
    opt=needs("notices.read"),
    summary="List who is told",
    responses=documented(422),
)
async def list_recipients(
    tx: Tx,
    settings: TheSettings,
    after: FromQuery[str | None] = None,
    limit: Annotated[int, up_to(100)] = 20,
) -> Page[recipients.NoticeRecipient]:
    """List everybody who is told, the latest first."""
    checked_limit(limit, 100)
    rows, seal = await queries.newest_first(tx, after, limit + 1), slack_seal(settings)
    return page_of([recipients.recipient_of(row, seal) for row in rows], [row["recipient_id"] for row in rows], limit)


@get(
    "/{recipient:str}",
    operation_id="retrieveNoticeRecipient",
    opt=needs("notices.read"),
    summary="Describe one",
    responses=documented(404),
)
async def retrieve_recipient(recipient: FromPath[str], tx: Tx, settings: TheSettings) -> recipients.NoticeRecipient:
    """Describe how somebody is told."""
    row = await queries.get(tx, recipient)
    if row is None:
        raise _nobody(recipient)
    return recipients.recipient_of(row, slack_seal(settings))


@post(
    "/{recipient:str}",
    operation_id="updateNoticeRecipient",
    opt=needs("notices.write"),
    summary="Change how somebody is told",
    status_code=200,
    responses=documented(404, 422),
)
async def update_recipient(
    recipient: FromPath[str], data: JSONBody[recipients.RecipientWish], caller: TheCaller, tx: Tx, settings: TheSettings
) -> recipients.NoticeRecipient:
    """Replace somebody's wishes, but for a Slack address that is left out. What was planned stays as it was planned."""
    known = await queries.get(tx, recipient)
    if known is None:
        raise _nobody(recipient)
    seal, private_allowed = slack_seal(settings), settings.webhook_private_networks
    slack = recipients.slack_of(data, recipients.own_slack(known, seal), private_allowed=private_allowed)
    recipients.check(data, slack)
    sealed = slack and seal.sealed(slack, recipient)
    row = await queries.change(tx, recipient, data.email or "", recipients.kept(data), sealed)
    if row is None:
        raise _nobody(recipient)
    await tx.tell(recipients.set_fact(tx.tenant, recipient, data, datetime.now(UTC), slack))
    await note(tx, caller, "recipient.changed", recipient)
    return recipients.recipient_of(row, seal)


@delete(
    "/{recipient:str}",
    operation_id="deleteNoticeRecipient",
    opt=needs("notices.write"),
    summary="Tell somebody nothing more",
    status_code=200,
    responses=documented(404),
)
async def delete_recipient(recipient: FromPath[str], caller: TheCaller, tx: Tx) -> recipients.DeletedRecipient:
    """Tell somebody nothing more, and forget their address."""
    if not await queries.remove(tx, recipient):
        raise _nobody(recipient)
    await tx.tell(RecipientRemoved(tenant=tx.tenant, at=datetime.now(UTC), recipient_id=recipient))
    await note(tx, caller, "recipient.removed", recipient)
    return recipients.DeletedRecipient(id=recipient)


router = Router(
    "/v1/notice_recipients",
    route_handlers=[create_recipient, list_recipients, retrieve_recipient, update_recipient, delete_recipient],
    tags=["Notices"],
)


def _nobody(recipient_id: str) -> NotFound:
    return NotFound(
        f"There is no recipient {recipient_id[:100]!r}.", fix="GET /v1/notice_recipients lists those there are."
    )
