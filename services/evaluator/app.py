"""Makes the evaluator's parts: the only place that does."""

import asyncio

from libs.service import App, Platform
from services.evaluator.asking import Asker
from services.evaluator.handlers import router
from services.evaluator.settings import Settings
from services.evaluator.work import Evaluations


async def build(settings: Settings, platform: Platform) -> App:
    """Wire the work loop and the asker to the platform."""
    wake = asyncio.Event()
    asker = Asker(settings, platform.storage)
    evaluations = Evaluations(settings, platform, wake)
    return App(router, work=[evaluations.run, asker.run], resources={"wake": wake, "asker": asker})
