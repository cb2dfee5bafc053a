"""``python -m services.notifier``."""

from libs.service import main
from services.notifier.app import build
from services.notifier.settings import Settings

if __name__ == "__main__":
    main(build, Settings)
