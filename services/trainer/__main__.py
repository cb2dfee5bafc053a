"""``python -m services.trainer``: the control."""

from libs.service import main
from services.trainer.app import build
from services.trainer.settings import TrainerSettings

if __name__ == "__main__":
    main(build, TrainerSettings)
