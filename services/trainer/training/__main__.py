"""The training child: ``python -m services.trainer.training SPEC.json``. See ``protocol`` for what it says."""

import faulthandler
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", TQDM_DISABLE="1")
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "512")  # kernels; a row uses 30, and 6 for each 128 tokens
sys.modules["bitsandbytes"] = None  # type: ignore[assignment]  # peft imports it for 1.3 s; 4-bit training shows it again

from libs.embedded.supervisor import die_with_parent, step_aside  # noqa: E402
from services.trainer.training.attempt import run  # noqa: E402
from services.trainer.training.channel import Channel, take_standard_output  # noqa: E402
from services.trainer.training.failures import explain  # noqa: E402
from services.trainer.training.gang import Gang  # noqa: E402
from services.trainer.training.protocol import read_spec  # noqa: E402


def named(_: Channel) -> Path:
    """Return the spec that the command line names."""
    return Path(sys.argv[1])


def main(spec: Callable[[Channel], Path] = named) -> int:
    """Run one attempt; the exit code is 0 when it finished or stopped as asked, 1 when it failed.

    ``spec`` says which file it is; a child started ahead of its attempt waits in it.
    SIGUSR1 asks for every thread's stack on standard error. A process of a gang has a session of its own: it asks the
    kernel to be killed with its launcher.
    """
    faulthandler.register(signal.SIGUSR1)
    step_aside()
    gang = Gang.of(os.environ)
    if gang.size > 1:
        die_with_parent(signal.SIGKILL)
    channel = take_standard_output(speaks=gang.leads)
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    try:
        run(read_spec(spec(channel).read_bytes()), channel, lambda: bool(asked), gang)
    except Exception as error:
        channel.tell(explain(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
