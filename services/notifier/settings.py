"""The notifier's knobs: a channel is on when its address is set; with none, notices go to the console."""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from libs.settings import ServiceSettings
from libs.signing import PRIVATE_NETWORKS, SIGNING_KEY


class Settings(ServiceSettings, frozen=True, kw_only=True):
    """What the notifier is told from outside."""

    service: ClassVar[str] = "notifier"

    public_url: Annotated[
        str, Meta(description="Address under which people reach this installation; links in notices begin with it.")
    ] = "http://127.0.0.1:8080"
    currency: Annotated[str, Meta(description="Currency of costs, as an ISO 4217 code.", min_length=3)] = "USD"
    slack_webhook: Annotated[
        str, Meta(description="Address of a Slack incoming webhook (a secret); empty: nothing goes to Slack.")
    ] = ""
    smtp_host: Annotated[str, Meta(description="Mail server; empty: no mail is sent.")] = ""
    smtp_port: Annotated[
        int, Meta(description="Port of the mail server: 587 for starttls, 465 for tls.", ge=1, le=65535)
    ] = 587
    smtp_security: Annotated[
        Literal["starttls", "tls", "none"], Meta(description="How the connection to the mail server is protected.")
    ] = "starttls"
    smtp_user: Annotated[str, Meta(description="User at the mail server; empty: no login.")] = ""
    smtp_password: Annotated[str, Meta(description="Password at the mail server.")] = ""
    mail_from: Annotated[str, Meta(description="Sender of mails.")] = "Woodshed <woodshed@localhost>"
    mail_to: Annotated[str, Meta(description="Addresses that get mails, separated by commas.")] = ""
    wandb_api_key: Annotated[
        str,
        Meta(
            description="Key for Weights & Biases of organisations that gave none of their own (a secret): "
            "the jobs of all of these may write wherever it may."
        ),
    ] = ""
    wandb_url: Annotated[
        str, Meta(description="Weights & Biases server: the one of its makers, or one of your own.")
    ] = "https://api.wandb.ai"
    signing_key: Annotated[str, Meta(description=SIGNING_KEY, pattern=r"^(.{32,})?$")] = ""
    webhook_private_networks: Annotated[bool, Meta(description=PRIVATE_NETWORKS)] = False
