"""Everything the notifier reacts to: alerts on the way, the ends of a job, the report, and what webhooks are wished.

A reaction only writes down what is owed, one record for each channel and each endpoint; delivery is the work of
``delivery.py`` and ``posting.py``, because no network call belongs into a transaction.
"""

from contracts.base import new_id
from contracts.budgets import BudgetThresholdReached
from contracts.evaluations import EvaluationFailed, ReportReady
from contracts.jobs import JobCancelled, JobFailed, JobSubmitted, JobSucceeded
from contracts.notices import NoticeFailed, RecipientRemoved, RecipientSet
from contracts.people import MemberInvited
from contracts.runs import RunRemarked
from contracts.trackers import WANDB
from contracts.webhooks import (
    Deliveries,
    ListDeliveries,
    TryWebhook,
    WebhookRemoved,
    WebhookReplayAsked,
    WebhookSet,
    WebhookTried,
)
from libs.bus import Router
from libs.db import Database, Transaction
from libs.db.database import now
from libs.errors import Conflict, NotFound
from libs.waking import Wake
from services.notifier import posting, queries, shapes, tracking_queries, webhook_queries
from services.notifier.calling import Caller
from services.notifier.domain.notice import Fact, JobFact, about
from services.notifier.domain.preferences import Planned, Recipient, plan
from services.notifier.domain.webhooks import message_of

router = Router("notifier")

EMAIL = "email"
NO_MAIL = "This installation sends no mail (WOODSHED_SMTP_HOST is not set): make an invitation and pass it on yourself."


@router.on(JobSucceeded, JobFailed, JobCancelled, ReportReady, EvaluationFailed)
async def tell_the_end(fact: JobFact, tx: Transaction, channels: tuple[str, ...], wake: Wake) -> None:
    """A job ended, or its report is there (or cannot be made): people and programs are owed a word."""
    await owe_notices(fact, tx, channels)
    await owe_deliveries(fact, tx)
    tx.afterwards(wake.set)


@router.on(RunRemarked)
async def tell_an_alert(fact: RunRemarked, tx: Transaction, channels: tuple[str, ...], wake: Wake) -> None:
    """Training goes on, and somebody should look: one notice for each kind of alert."""
    if fact.level == "warn":
        await tell_the_end(fact, tx, channels, wake)


@router.on(JobSubmitted)
async def follow(wish: JobSubmitted, tx: Transaction, wake: Wake) -> None:
    """Somebody wants to see a job in a tracker: from now on it is told what was measured."""
    if WANDB in wish.trackers:
        await tracking_queries.add(tx, wish)
        tx.afterwards(wake.set)


@router.on(BudgetThresholdReached)
async def tell_the_month(fact: BudgetThresholdReached, tx: Transaction, channels: tuple[str, ...], wake: Wake) -> None:
    """Much of what a month may cost is spent, or all: people are owed a word."""
    await owe_notices(fact, tx, channels)
    tx.afterwards(wake.set)


@router.on(MemberInvited)
async def invite(fact: MemberInvited, tx: Transaction, channels: tuple[str, ...], wake: Wake) -> None:
    """Somebody shall get a letter with an invitation, whatever anybody chose; where no mail is sent, say so."""
    if EMAIL in channels:
        await queries.owe(tx, fact, Planned(channel=EMAIL, due_at=now(), recipient=fact.member_id))
        tx.afterwards(wake.set)
        return
    await tx.tell(
        NoticeFailed(
            tenant=fact.tenant,
            at=now(),
            notice_id=new_id("notice"),
            job_id=fact.member_id,
            channel=EMAIL,
            about=about(fact),
            reason=NO_MAIL,
            tries=0,
        )
    )


@router.on(RecipientSet)
async def set_recipient(wished: RecipientSet, tx: Transaction) -> None:
    """Somebody wants to be told, or otherwise than before; what is owed to them already stays as it was planned."""
    recipient = Recipient(
        recipient_id=wished.recipient_id,
        channels=wished.channels,
        choices=wished.choices,
        zone=wished.zone,
        quiet=wished.quiet,
        digest_at=wished.digest_at,
        own=wished.own,
    )
    await queries.set_recipient(tx, wished.version, recipient)


@router.on(RecipientRemoved)
async def remove_recipient(wished: RecipientRemoved, tx: Transaction) -> None:
    """Somebody is not told any more; what is still owed to them fails, since nobody knows their address."""
    nobody = Recipient(recipient_id=wished.recipient_id, channels=())
    await queries.set_recipient(tx, wished.version, nobody, removed=True)


@router.on(WebhookSet)
async def set_endpoint(wished: WebhookSet, tx: Transaction, wake: Wake) -> None:
    """An endpoint is made or changed; one that is enabled again is sent what waits for it."""
    await webhook_queries.set_endpoint(tx, wished)
    tx.afterwards(wake.set)


@router.on(WebhookRemoved)
async def remove_endpoint(wished: WebhookRemoved, tx: Transaction) -> None:
    """An endpoint is called no more. What was sent there stays on record."""
    nothing = WebhookSet(
        tenant=wished.tenant,
        at=wished.at,
        version=wished.version,
        webhook_id=wished.webhook_id,
        url="",
        events=(),
        enabled=False,
    )
    await webhook_queries.set_endpoint(tx, nothing)


@router.on(WebhookReplayAsked)
async def send_again(wished: WebhookReplayAsked, tx: Transaction, wake: Wake) -> None:
    """Somebody wants a delivery made once more: it is due now, with all its tries before it."""
    await webhook_queries.replay(tx, wished.webhook_id, wished.delivery_id)
    tx.afterwards(wake.set)


@router.answers(ListDeliveries)
async def list_deliveries(asked: ListDeliveries, tx: Transaction) -> Deliveries:
    """Show what was sent to an endpoint, with the calls that it took."""
    if asked.delivery_id:
        row = await webhook_queries.delivery(tx, asked.webhook_id, asked.delivery_id)
        if row is None:
            raise NotFound(f"There is no delivery {asked.delivery_id[:100]!r} to this endpoint.")
        rows = [row]
    else:
        rows = await webhook_queries.newest_first(tx, asked.webhook_id, asked.after, asked.limit + 1)
    calls = await webhook_queries.attempts(tx, [row["delivery_id"] for row in rows])
    return shapes.deliveries_of(rows, calls, asked.limit)


@router.answers(TryWebhook, slow=True)
async def try_endpoint(asked: TryWebhook, _: Database, caller: Caller, signing_key: str) -> WebhookTried:
    """Call an endpoint with a sample, so that a person sees what it answers."""
    if not signing_key:
        raise Conflict("The notifier has no WOODSHED_SIGNING_KEY, so it calls no webhook.", code="webhooks_off")
    called = await posting.tried(asked, caller, signing_key, now())
    if not called.attempt.status_code:
        raise Conflict(f"The call failed: {called.attempt.said}", code="webhook_unreachable")
    return WebhookTried(attempt=called.attempt)


async def owe_notices(fact: Fact, tx: Transaction, channels: tuple[str, ...]) -> None:
    """Write down a notice for everybody who is named, as they want it; while nobody is, on every channel."""
    for planned in plan(await queries.recipients(tx), about(fact), channels, now()):
        await queries.owe(tx, fact, planned)


async def owe_deliveries(fact: JobFact, tx: Transaction) -> None:
    """Write down the event for every endpoint that wants it."""
    message = message_of(fact)
    for webhook_id in await webhook_queries.interested(tx, message.type):
        await webhook_queries.owe(tx, webhook_id, message)
