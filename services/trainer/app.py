"""Makes the control's parts: the only place that does."""

from pathlib import Path

from libs.service import App, Platform
from libs.waking import Wake
from services.trainer.control import Control
from services.trainer.domain.liveness import Silence
from services.trainer.handlers import router
from services.trainer.loops import Loops
from services.trainer.machines import Keeper, providers_of
from services.trainer.providers import pools
from services.trainer.settings import TrainerSettings
from services.trainer.sweeping import Sweeper


async def build(settings: TrainerSettings, platform: Platform) -> App:
    """Wire the control: reactions to facts, answers to runners, work loops."""
    wake = Wake()
    control = Control(platform.db, platform.bus, settings, Silence(settings.lease_seconds), wake)
    loops = Loops(control, platform.storage)
    allowed = pools.read(settings.pools)
    keeper = Keeper(control, allowed, providers_of(allowed, settings.runpod_key, Path(settings.data_dir)))
    work = [*loops.all(), *keeper.all(), Sweeper(platform.db, platform.storage).run]
    return App(router=router, work=work, resources={"settings": settings, "wake": wake, "presence": control.presence})
