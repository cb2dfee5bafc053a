"""Makes the control's parts: the only place that does."""

import asyncio

from libs.service import App, Platform
from services.trainer.control import Control
from services.trainer.domain.liveness import Silence
from services.trainer.handlers import router
from services.trainer.loops import Loops
from services.trainer.settings import TrainerSettings
from services.trainer.sweeping import Sweeper


async def build(settings: TrainerSettings, platform: Platform) -> App:
    """Wire the control: reactions to facts, answers to runners, work loops."""
    wake = asyncio.Event()
    control = Control(platform.db, platform.bus, settings, Silence(settings.lease_seconds), wake)
    loops = Loops(control, platform.storage)
    work = [*loops.all(), Sweeper(platform.db, platform.storage).run]
    return App(router=router, work=work, resources={"settings": settings, "wake": wake})
