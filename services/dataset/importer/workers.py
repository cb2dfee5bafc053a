"""Several processes for one big file: each reads a stretch of it, and what they bring back comes in the file's order.

They read the file themselves, so only examples travel between processes. A worker ends with the process that
started it; one that dies ends the import, which is then tried again.
"""

import multiprocessing
import os
import sys
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
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

_maker: Maker | None = None
"""This process's own; a forked worker has its parent's."""


def read(maker: Maker, spec: Spec, layout: Layout, tally: Tally) -> Iterator[Part]:
    """Yield what each stretch of a separable file gave, in order, read by as many processes as it pays for.

    What is left out of a stretch is told with it, of one that is too much to be held at once goes to ``tally``.
    """
    processes = spec.processes or _paying(Path(layout.path).stat().st_size)
    if processes == 1 and layout.loose:
        return (yield from maker.whole(layout, tally))
    parts = layout.stretches(STRETCH)
    if processes == 1:
        return (yield from (maker.stretch(layout, part) for part in parts))
    global _maker
    _maker = maker
    with ProcessPoolExecutor(processes, _context(), _begin, (spec,)) as pool:

        def given(part: Stretch) -> Future[Part] | Stretch:
            return part if layout.is_endless(part) else pool.submit(_stretch, layout, part)

        try:
            waiting = deque(map(given, islice(parts, AHEAD * processes)))
            while waiting:
                first = waiting.popleft()
                if isinstance(first, Stretch):
                    yield from maker.whole(layout, tally, first)
                else:
                    done = first.result()
                    waiting.extend(map(given, islice(parts, 1)))
                    yield done
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


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


def _stretch(layout: Layout, part: Stretch) -> Part:
    assert _maker is not None
    return _maker.stretch(layout, part)
