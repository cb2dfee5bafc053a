"""Entry of ``python -m services.dataset``."""

from libs.service import main
from services.dataset.app import build
from services.dataset.settings import Settings

if __name__ == "__main__":
    main(build, Settings)
