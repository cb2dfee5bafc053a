"""``python -m services.trainer.runner``: the runner of this machine."""

import asyncio
import sys

from libs.errors import WoodshedError
from libs.settings import load
from services.trainer.runner.app import serve
from services.trainer.settings import RunnerSettings

if __name__ == "__main__":
    try:
        asyncio.run(serve(load(RunnerSettings)))
    except WoodshedError as error:
        print(error.message, file=sys.stderr)
        sys.exit(2)
