"""Answer until stdin closes: ``python -m services.evaluator.answering SPEC``. Orders come and words go line by line."""

import sys
import threading
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

import msgspec

from services.evaluator.answering.shapes import Begin, Said, Spec, Stop

if TYPE_CHECKING:
    from services.evaluator.answering.room import Room

Orders = SimpleQueue[Begin | Stop | None]


def main() -> None:
    """Let conversations begin, speak and stop."""
    sys.modules["bitsandbytes"] = None  # type: ignore[assignment]  # peft imports it for 1.3 s; nothing here is 4-bit
    from services.evaluator.answering.models import Models
    from services.evaluator.answering.room import Room

    spec = msgspec.json.decode(sys.argv[1], type=Spec)
    room = Room(spec, Models(spec), _say)
    orders: Orders = SimpleQueue()
    threading.Thread(target=_listen, args=(orders,), daemon=True).start()
    while _heard(orders, room):
        room.round()


def _heard(orders: Orders, room: "Room") -> bool:
    """Take in what was ordered, waiting only where there is nothing to do; tell whether to go on."""
    try:
        while True:
            order = orders.get(block=room.empty)
            if order is None:
                return False
            room.hear(order)
    except Empty:
        return True


def _listen(orders: Orders) -> None:
    for line in sys.stdin.buffer:
        orders.put(msgspec.json.decode(line, type=Begin | Stop))
    orders.put(None)


def _say(said: Said) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(said) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
