"""Every knob of the gateway."""

from typing import Annotated, ClassVar

from msgspec import Meta

from contracts.base import TenantId
from contracts.recipes import SHIPPED_MODEL
from libs.settings import ServiceSettings
from libs.signing import PRIVATE_NETWORKS, SIGNING_KEY


class Settings(ServiceSettings, frozen=True, kw_only=True):
    """Where the API listens, whom it lets in, and how much it takes at once."""

    service: ClassVar[str] = "gateway"

    host: Annotated[str, Meta(description="Address the API listens on; 127.0.0.1 keeps it on this machine.")] = (
        "127.0.0.1"
    )
    port: Annotated[int, Meta(description="Port the API listens on.", ge=1, le=65535)] = 8080
    header_timeout_ms: Annotated[
        int,
        Meta(
            description="Milliseconds a client may take to send its headers, and may keep a connection idle; clients "
            "let go of one after 5 seconds, so more than that keeps a request from meeting its end.",
            ge=1,
        ),
    ] = 10_000
    body_bytes_per_second: Annotated[
        float, Meta(description="Least rate at which a client has to send a body; slower ones are cut off.", gt=0)
    ] = 1000.0
    body_patience_seconds: Annotated[
        float, Meta(description="Seconds for which a client may stop while it sends a body.", gt=0)
    ] = 20.0
    connections_at_once: Annotated[
        int, Meta(description="Requests and live streams that are open at once; further ones wait at the door.", ge=1)
    ] = 8192
    key_pepper: Annotated[
        str,
        Meta(
            description="Secret mixed into stored API keys and that seals Slack addresses and Weights & Biases keys; "
            "at least 32 characters. Changing it voids every API key and forgets what it sealed.",
            min_length=32,
        ),
    ]
    public_url: Annotated[
        str, Meta(description="Address under which people reach this installation; empty: the one a request came to.")
    ] = ""
    events_url: Annotated[
        str, Meta(description="Address under which an organisation's programs reach NATS; empty: the gateway's own.")
    ] = ""
    events_listen: Annotated[
        str,
        Meta(description="Where an organisation's programs reach NATS over TLS, such as 0.0.0.0:4223; empty: nowhere."),
    ] = ""
    events_certificate: Annotated[
        str, Meta(description="PEM file with the certificate that is shown there, its chain behind it.")
    ] = ""
    events_key: Annotated[str, Meta(description="PEM file with the certificate's private key.")] = ""
    signing_key: Annotated[str, Meta(description=SIGNING_KEY, pattern=r"^(.{32,})?$")] = ""
    webhook_private_networks: Annotated[bool, Meta(description=PRIVATE_NETWORKS)] = False
    wandb_api_key: Annotated[
        str,
        Meta(description="Key for Weights & Biases, as the notifier has it; empty: who gave none may not ask for it."),
    ] = ""
    tenant: Annotated[TenantId, Meta(description="Organisation that is made at first start.")] = "studio"
    base_models: Annotated[
        str, Meta(description="Base models that may be trained, by their names in libs.lm.models, with commas between.")
    ] = SHIPPED_MODEL
    max_upload_bytes: Annotated[int, Meta(description="Largest upload in bytes.", ge=1)] = 2 * 1024**3
    max_part_bytes: Annotated[int, Meta(description="Largest part of an upload in bytes.", ge=1)] = 64 * 1024**2
    upload_seconds: Annotated[
        float, Meta(description="Seconds after which an upload in parts that nobody completed is thrown away.", gt=0)
    ] = 3600.0
    max_body_bytes: Annotated[int, Meta(description="Largest JSON body in bytes.", ge=1)] = 1_000_000
    heartbeat_seconds: Annotated[
        float, Meta(description="Seconds of silence after which a live stream sends a comment.", gt=0)
    ] = 15.0
    jobs_at_once: Annotated[int, Meta(description="Unfinished jobs an organisation may have.", ge=1)] = 1000
    storage_bytes: Annotated[int, Meta(description="Bytes an organisation's files may have together.", ge=1)] = (
        200 * 1024**3
    )
    session_seconds: Annotated[
        int, Meta(description="Seconds after which somebody who signed in has to do so again.", ge=60)
    ] = 12 * 3600
    key_calls: Annotated[int, Meta(description="Calls a minute with one key, or in one session.", ge=1)] = 15_000
    tenant_calls: Annotated[int, Meta(description="Calls a minute of one organisation.", ge=1)] = 60_000
    address_calls: Annotated[
        int, Meta(description="Tries a minute to sign in from one address, for whatever member.", ge=1)
    ] = 30
    last_use_seconds: Annotated[
        float, Meta(description="Seconds between two writings of when keys were last used.", gt=0)
    ] = 60.0
    stream_backlog: Annotated[
        int, Meta(description="Facts a live stream may lag behind before its client is dropped.", ge=1)
    ] = 256

    @property
    def events_address(self) -> str:
        """The address of NATS that an organisation's programs are told."""
        return self.events_url or (f"tls://{self.events_listen}" if self.events_listen else self.nats_url)

    @property
    def models(self) -> tuple[str, ...]:
        """The base models that may be trained; the first is the default."""
        return tuple(name.strip() for name in self.base_models.split(",") if name.strip())
