"""Puts the notifier together: which channels there are, one delivery loop for each, and the caller of webhooks."""

from contracts.notices import Reached, WhereToReach
from contracts.people import InvitationRead, MemberInvited, ReadInvitation
from contracts.trackers import ReadTracked, Tracked, TrackerRemarked
from libs.db import Transaction
from libs.errors import NotFound, Rejected
from libs.service import App, Platform
from libs.waking import Wake
from services.notifier.calling import Caller
from services.notifier.channels import Channel
from services.notifier.channels.console import Console
from services.notifier.channels.email import Email
from services.notifier.channels.slack import Slack
from services.notifier.delivery import Delivery, give_up_stranded
from services.notifier.domain.notice import Surroundings
from services.notifier.forgetting import DeliveryForgetter
from services.notifier.handlers import owe_notices, router
from services.notifier.posting import Poster
from services.notifier.settings import Settings
from services.notifier.tracking import Tracking
from services.notifier.wandb import Wandb

ANSWER_SECONDS = 5.0
MEASURED_SECONDS = 10.0


async def build(settings: Settings, platform: Platform) -> App:
    """Make the channels the settings name."""
    caller = Caller(private_allowed=settings.webhook_private_networks)
    channels = configured(settings, caller)
    names = [channel.name for channel in channels]
    wake = Wake()
    here = Surroundings(settings.public_url, settings.currency)
    calling = [Poster(platform.db, caller, settings.signing_key, wake=wake).run] if settings.signing_key else []

    async def reach(tenant: str, recipient: str, channel: str) -> str:
        question = WhereToReach(tenant=tenant, recipient_id=recipient)
        return address_of(await platform.bus.ask(question, Reached, timeout=ANSWER_SECONDS), channel)

    async def invitation(fact: MemberInvited) -> InvitationRead:
        question = ReadInvitation(tenant=fact.tenant, member_id=fact.member_id, number=fact.version)
        return await platform.bus.ask(question, InvitationRead, timeout=ANSWER_SECONDS)

    async def measured(tenant: str, job_id: str, after: int) -> Tracked:
        question = ReadTracked(tenant=tenant, job_id=job_id, after=after)
        return await platform.bus.ask(question, Tracked, timeout=MEASURED_SECONDS)

    async def owe(fact: TrackerRemarked, tx: Transaction) -> None:
        await owe_notices(fact, tx, tuple(names))
        tx.afterwards(wake.set)

    wandb = Wandb(settings.wandb_url, settings.wandb_api_key)
    loops = [*channels, *([] if Slack.name in names else [Slack("", caller)])]
    await give_up_stranded(platform.db, [channel.name for channel in loops])
    return App(
        router=router,
        work=[
            *calling,
            Tracking(platform.db, wandb, measured, owe, wake=wake).run,
            DeliveryForgetter(platform.db).run,
            *(
                Delivery(platform.db, channel, here, reach=reach, invitation=invitation, channels=names, wake=wake).run
                for channel in loops
            ),
        ],
        resources={"channels": tuple(names), "caller": caller, "signing_key": settings.signing_key, "wake": wake},
    )


def address_of(reached: Reached, channel: str) -> str:
    """Return where somebody is reached on a channel, empty for the channel's own; ``NotFound`` if they are not."""
    if channel == Slack.name:
        if not reached.slack and not reached.shared_slack:
            raise NotFound("This recipient has no Slack address any more.")
        return reached.slack
    if not reached.email:
        raise NotFound("Nobody knows this recipient's address any more.")
    return reached.email


def configured(settings: Settings, caller: Caller) -> list[Channel]:
    """Return the channels whose address is set, else the console; ``Rejected`` where half of one is missing."""
    if settings.smtp_host and not settings.mail_to:
        raise Rejected(
            "WOODSHED_SMTP_HOST is set but nobody would get the mails. Put addresses into WOODSHED_MAIL_TO, "
            "or leave WOODSHED_SMTP_HOST out.",
            code="bad_setting",
            field="mail_to",
        )
    channels: list[Channel] = []
    if settings.slack_webhook:
        channels.append(Slack(settings.slack_webhook, caller))
    if settings.smtp_host:
        channels.append(Email(settings))
    return channels or [Console()]
