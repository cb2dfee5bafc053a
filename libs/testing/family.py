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


TRAINING = "services.trainer.training"
AHEAD = f"{TRAINING}.warm"


def trainings(of: int | None = None) -> list[psutil.Process]:
    """Return the living processes below ``of`` that carry out attempts; one that only waits for an attempt is none."""
    found = []
    for each in descendants(TRAINING, of):
        with contextlib.suppress(psutil.NoSuchProcess):
            if TRAINING in (words := each.cmdline()) or (AHEAD in words and each.name() == "woodshed-train"):
                found.append(each)
    return found


def waiting(of: int | None = None) -> list[psutil.Process]:
    """Return the processes below ``of`` that were started ahead and wait, all imported, for an attempt."""
    found = []
    for each in descendants(AHEAD, of):
        with contextlib.suppress(psutil.NoSuchProcess):
            if each.name() == "woodshed-warm":
                found.append(each)
    return found
