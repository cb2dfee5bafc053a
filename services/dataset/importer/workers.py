"""Several processes for one big file: each reads a stretch of it, and what they bring back comes in the file's order.

They read the file themselves, so only examples travel between processes. A worker ends with the process that
started it; one that dies ends the import, which is then tried again.
"""

import multiprocessing
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import islice
from multiprocessing.connection import wait
from pathlib import Path

from services.dataset.domain.lines import Stretch
from services.dataset.domain.problems import Tally
from services.dataset.importer.making import Maker, Part
from services.dataset.importer.reading import Layout
from services.dataset.importer.spec import Spec

STRETCH = 2 << 20
"""Bytes of a file that a worker reads at a time, more where a line is longer."""

PAYS_FROM = 32 << 20
"""Bytes of a file from which on several processes are worth their start."""

MOST = 4
"""Processes at most where nobody says otherwise; one process keeps up with about as many."""

AHEAD = 2
"""Stretches for each worker that are read or wait to be taken."""

Taken = Callable[[], Part | None]
"""Waits for what a stretch gave; ``None``: it was torn."""

_maker: Maker | None = None
"""This process's own; a forked worker has its parent's."""


def read(maker: Maker, spec: Spec, layout: Layout, tally: Tally) -> Iterator[Part]:
    """Yield what each stretch of a file gave, in order, read by as many processes as it pays for.

    What is left out of a stretch is told with it, of one that is too much to be held at once goes to ``tally``.
    """
    processes = spec.processes or _paying(Path(layout.path).stat().st_size)
    if not layout.is_separable or (processes == 1 and layout.loose and layout.joint is None):
        return (yield from maker.whole(layout, tally, layout.whole))
    if processes == 1:
        return (yield from _ordered(maker, layout, tally, AHEAD, lambda part: partial(maker.stretch, layout, part)))
    global _maker
    _maker = maker
    with ProcessPoolExecutor(processes, _context(), _begin, (spec,)) as pool:
        try:
            yield from _ordered(
                maker, layout, tally, AHEAD * processes, lambda part: pool.submit(_stretch, layout, part).result
            )
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _ordered(
    maker: Maker, layout: Layout, tally: Tally, ahead: int, reads: Callable[[Stretch], Taken]
) -> Iterator[Part]:
    """Have ``ahead`` stretches read and yield what they give; one that is torn is read together with the next."""

    def given(part: Stretch) -> tuple[Stretch, Taken | None]:
        return part, None if layout.is_endless(part) else reads(part)

    parts = map(given, layout.stretches(STRETCH))
    waiting = deque(islice(parts, ahead))
    while waiting:
        part, take = waiting.popleft()
        done = take() if take else None
        waiting.extend(islice(parts, 1))
        if done:
            yield done
        elif take and waiting:
            following, _ = waiting.popleft()
            waiting.appendleft(given(part.joined(following)))
        else:
            return (yield from maker.whole(layout, tally, part.endless()))


def _paying(size: int) -> int:
    return min(MOST, os.cpu_count() or 1) if size >= PAYS_FROM else 1


def _context() -> multiprocessing.context.BaseContext:
    """Fork where that is safe: the worker then shares its parent's tokenizer and starts at once."""
    return multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")


def _begin(spec: Spec) -> None:
    global _maker
    _maker = _maker or Maker(spec)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _stretch(layout: Layout, part: Stretch) -> Part | None:
    assert _maker is not None
    return _maker.stretch(layout, part)
