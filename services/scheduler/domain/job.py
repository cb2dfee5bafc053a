"""What the scheduler keeps of a job."""

from msgspec import Struct

from contracts.datasets import DatasetReady, DatasetRefused
from contracts.jobs import JobDispatched, JobSubmitted
from contracts.recipes import Recipe
from services.scheduler.domain.estimate import Device
from services.scheduler.domain.job_states import State
from services.scheduler.domain.queue import Waiting

News = DatasetReady | DatasetRefused
"""What may be known of a job's dataset; before either was told, nothing is."""


class Job(Struct, frozen=True, kw_only=True):
    """A job: ``asked`` is its recipe before a time limit shortens it, ``recipe`` and ``device`` what was dispatched.

    ``begun``: the trainer has its run, with checkpoints, so it is dispatched again as the same run and recipe.
    ``charged`` is what that has cost so far, in millionths.
    """

    tenant: str
    job_id: str
    state: State
    wish: JobSubmitted
    asked: Recipe | None = None
    run_id: str | None = None
    offer_id: str | None = None
    begun: bool = False
    charged: int = 0
    recipe: Recipe | None = None
    device: Device | None = None


class Queued(Waiting, frozen=True, kw_only=True):
    """A job at the head of the queue, with all that giving it a device takes."""

    job: Job
    ready: DatasetReady


class Given(Struct, frozen=True):
    """A job with the device it gets, and what is set aside for it, in millionths."""

    fact: JobDispatched
    device: Device
    held: int
