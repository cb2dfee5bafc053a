"""``python -m services.evaluator``."""

from libs.service import main
from services.evaluator.app import build
from services.evaluator.settings import Settings

if __name__ == "__main__":
    main(build, Settings)
