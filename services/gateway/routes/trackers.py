"""The organisation's own key for Weights & Biases. It is kept sealed, and shown to nobody again."""

from litestar import Router, delete, get, put
from litestar.params import JSONBody

from services.gateway.dependencies import TheCaller, TheSettings, Tx
from services.gateway.domain import trackers
from services.gateway.permitted import needs
from services.gateway.problems import documented
from services.gateway.queries import trackers as queries
from services.gateway.sealing import wandb_seal
from services.gateway.trail import note

ABOUT = "wandb_key"


@get("/", operation_id="retrieveWandbKey", opt=needs("webhooks.read"), summary="Whether a job can be shown",
     responses=documented())  # fmt: skip
async def retrieve_key(tx: Tx, settings: TheSettings) -> trackers.WandbKey:
    """Say whether this organisation's jobs can be shown in Weights & Biases, and by the end of which key."""
    key = trackers.key_of(await queries.key(tx), wandb_seal(settings))
    return trackers.shown(key, installation_has_one=bool(settings.wandb_api_key))


@put("/", operation_id="setWandbKey", opt=needs("webhooks.write"), summary="Give a key of one's own",
     responses=documented(422))  # fmt: skip
async def set_key(
    data: JSONBody[trackers.WandbKeyWish], caller: TheCaller, tx: Tx, settings: TheSettings
) -> trackers.WandbKey:
    """Have the organisation's jobs shown with a key of its own, those too that train already."""
    await queries.set_key(tx, wandb_seal(settings).sealed(data.api_key, tx.tenant))
    await note(tx, caller, "wandb_key.set", ABOUT)
    return trackers.shown(data.api_key, installation_has_one=bool(settings.wandb_api_key))


@delete("/", operation_id="removeWandbKey", opt=needs("webhooks.write"), summary="Forget one's own key",
        status_code=200, responses=documented())  # fmt: skip
async def remove_key(caller: TheCaller, tx: Tx, settings: TheSettings) -> trackers.WandbKey:
    """Forget the organisation's key. Where the installation has one, jobs are shown with that."""
    await queries.remove_key(tx)
    await note(tx, caller, "wandb_key.removed", ABOUT)
    return trackers.shown("", installation_has_one=bool(settings.wandb_api_key))


router = Router("/v1/wandb_key", route_handlers=[retrieve_key, set_key, remove_key], tags=["Trackers"])
