"""The processes under a process, as a test that kills some of them meets them: one may end while it is looked at."""

import contextlib

import psutil


def descendants(mark: str, of: int | None = None) -> list[psutil.Process]:
    """Return the living processes below ``of`` (else this one) whose command holds ``mark``."""
    found = []
    for each in psutil.Process(of).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if mark in " ".join(each.cmdline()):
                found.append(each)
    return found
