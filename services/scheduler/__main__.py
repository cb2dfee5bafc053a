"""``python -m services.scheduler``."""

from libs.service import main
from services.scheduler.app import build
from services.scheduler.settings import Settings

if __name__ == "__main__":
    main(build, Settings)
