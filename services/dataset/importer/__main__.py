"""Entry of the import process: a spec on standard input, progress and the outcome on standard output.

It ends with its parent: when standard input closes, nobody waits for the outcome.
"""

import os
import sys
import threading

import msgspec

from libs.embedded.supervisor import step_aside
from services.dataset.importer.run import run
from services.dataset.importer.spec import Said, Spec


def main() -> None:
    """Import one file."""
    step_aside()
    spec = msgspec.json.decode(sys.stdin.buffer.readline(), type=Spec)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _say(run(spec, _say))


def _say(said: Said) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(said) + b"\n")
    sys.stdout.buffer.flush()


def _end_with_parent() -> None:
    while os.read(0, 1):  # sys.stdin would be locked by this thread when the interpreter ends
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
