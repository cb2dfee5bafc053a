"""Puts the scheduler together: the only place that makes its parts."""

from libs.service import App, Platform
from services.scheduler.domain.estimate import Rate
from services.scheduler.handlers import router
from services.scheduler.settings import Settings
from services.scheduler.waking import Waker


async def build(settings: Settings, platform: Platform) -> App:
    """Give the handlers the price of a device; everything else they need is in their transaction."""
    rate = Rate(per_hour=settings.device_rate, currency=settings.currency)
    return App(router=router, work=[Waker(platform.db, rate).run], resources={"rate": rate})
