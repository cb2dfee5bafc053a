"""Where the dataset service's parts are made."""

import asyncio
from pathlib import Path

from libs.service import App, Platform
from services.dataset.handlers import router
from services.dataset.importing import Importer
from services.dataset.preview import Previewer
from services.dataset.settings import Settings


async def build(settings: Settings, platform: Platform) -> App:
    """Make the service: its handlers, the import loop and the preview."""
    wake = asyncio.Event()
    previewer = Previewer(platform.storage, Path(settings.models_dir))
    importer = Importer(settings, platform, wake)
    return App(router=router, work=[importer.run], resources={"wake": wake, "previewer": previewer})
