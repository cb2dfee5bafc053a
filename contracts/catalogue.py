"""Every fact and question, with who tells it and who listens: the map of the house.

Durables, permissions, JSON Schemas and the AsyncAPI page are all derived from here.
"""

from msgspec import Struct

from contracts import (
    budgets,
    chat,
    datasets,
    evaluations,
    files,
    jobs,
    machines,
    notices,
    people,
    runs,
    trackers,
    webhooks,
)
from contracts.base import Event, Question, type_of

SERVICES = ("gateway", "dataset", "scheduler", "trainer", "evaluator", "notifier")
"""The roles that own a schema, a database role and a NATS user."""


class Fact(Struct, frozen=True):
    """One kind of fact: its owner is the only service that may tell it; ``readers`` react to it durably.

    The gateway reads every fact (it projects the read models people see), so it is not repeated in each row.
    """

    kind: type[Event]
    owner: str
    readers: tuple[str, ...] = ()

    @property
    def type(self) -> str:
        """The tag, such as ``run.finished.v1``."""
        return type_of(self.kind)

    @property
    def durable(self) -> bool:
        """Whether it is kept in EVENTS; the others are telemetry."""
        return self.kind.subject.startswith("evt.")


class Asked(Struct, frozen=True):
    """One kind of question, who answers it, within how many seconds, with what (or a ``Refusal``), and who asks.

    A ``streamed`` answer comes in pieces, and ``deadline`` is the longest silence before each of them.
    """

    kind: type[Question]
    answered_by: str
    deadline: float
    answer: type[Struct]
    asked_by: str = "gateway"
    streamed: bool = False

    @property
    def type(self) -> str:
        """The tag, such as ``job.estimate.v1``."""
        return type_of(self.kind)


FACTS: tuple[Fact, ...] = (
    Fact(files.FileUploaded, "gateway"),
    Fact(files.FileDeleted, "gateway", ("dataset",)),
    Fact(datasets.DatasetAsked, "gateway", ("dataset",)),
    Fact(datasets.DatasetProgressed, "dataset"),
    Fact(datasets.DatasetReady, "dataset", ("scheduler",)),
    Fact(datasets.DatasetRefused, "dataset", ("scheduler",)),
    Fact(jobs.JobSubmitted, "gateway", ("scheduler", "notifier")),
    Fact(jobs.JobCancelAsked, "gateway", ("scheduler",)),
    Fact(jobs.JobPauseAsked, "gateway", ("scheduler",)),
    Fact(jobs.JobResumeAsked, "gateway", ("scheduler",)),
    Fact(jobs.ModelDeleted, "gateway", ("trainer",)),
    Fact(jobs.JobQueued, "scheduler", ("trainer",)),
    Fact(jobs.JobDispatched, "scheduler", ("trainer",)),
    Fact(jobs.JobStopping, "scheduler", ("trainer",)),
    Fact(jobs.JobPaused, "scheduler", ("trainer",)),
    Fact(jobs.JobResumed, "scheduler"),
    Fact(jobs.JobSucceeded, "scheduler", ("notifier",)),
    Fact(jobs.JobFailed, "scheduler", ("notifier",)),
    Fact(jobs.JobCancelled, "scheduler", ("trainer", "notifier")),
    Fact(runs.DeviceOffered, "trainer", ("scheduler",)),
    Fact(runs.DeviceWithdrawn, "trainer", ("scheduler",)),
    Fact(runs.DispatchDeclined, "trainer", ("scheduler",)),
    Fact(runs.LeaseGranted, "trainer", ("scheduler",)),
    Fact(runs.RunStarted, "trainer", ("scheduler",)),
    Fact(runs.RunStageReached, "trainer"),
    Fact(runs.RunProgressed, "trainer"),
    Fact(runs.CheckpointCommitted, "trainer"),
    Fact(runs.RunInterrupted, "trainer"),
    Fact(runs.RunRecovered, "trainer"),
    Fact(runs.RunRemarked, "trainer", ("notifier",)),
    Fact(runs.RunPaused, "trainer", ("scheduler",)),
    Fact(runs.RunFinished, "trainer", ("scheduler", "evaluator")),
    Fact(runs.RunFailed, "trainer", ("scheduler",)),
    Fact(runs.RunCancelled, "trainer", ("scheduler",)),
    Fact(runs.WriteFenced, "trainer"),
    Fact(evaluations.EvaluationStarted, "evaluator"),
    Fact(evaluations.EvaluationProgressed, "evaluator"),
    Fact(evaluations.SuiteScored, "evaluator"),
    Fact(evaluations.ServingCompared, "evaluator"),
    Fact(evaluations.ReportReady, "evaluator", ("notifier",)),
    Fact(evaluations.EvaluationFailed, "evaluator", ("notifier",)),
    Fact(budgets.BudgetSet, "gateway", ("scheduler",)),
    Fact(budgets.BudgetMoved, "scheduler"),
    Fact(budgets.BudgetThresholdReached, "scheduler", ("notifier",)),
    Fact(people.MemberInvited, "gateway", ("notifier",)),
    Fact(notices.NoticeDelivered, "notifier"),
    Fact(notices.NoticeFailed, "notifier"),
    Fact(notices.RecipientSet, "gateway", ("notifier",)),
    Fact(notices.RecipientRemoved, "gateway", ("notifier",)),
    Fact(trackers.TrackerRemarked, "notifier"),
    Fact(webhooks.WebhookSet, "gateway", ("notifier",)),
    Fact(webhooks.WebhookRemoved, "gateway", ("notifier",)),
    Fact(webhooks.WebhookReplayAsked, "gateway", ("notifier",)),
    Fact(webhooks.WebhookDisabled, "notifier"),
    Fact(webhooks.DeliverySucceeded, "notifier"),
    Fact(webhooks.DeliveryFailed, "notifier"),
)

QUESTIONS: tuple[Asked, ...] = (
    Asked(datasets.PreviewDataset, "dataset", 10.0, datasets.DatasetPreview),
    Asked(jobs.EstimateJob, "scheduler", 5.0, jobs.JobEstimated),
    Asked(evaluations.AskModel, "evaluator", 120.0, evaluations.ModelReplied),
    Asked(machines.ListMachines, "trainer", 5.0, machines.Machines),
    Asked(notices.WhereToReach, "gateway", 5.0, notices.Reached, asked_by="notifier"),
    Asked(people.ReadInvitation, "gateway", 5.0, people.InvitationRead, asked_by="notifier"),
    Asked(trackers.ReadTracked, "gateway", 10.0, trackers.Tracked, asked_by="notifier"),
    Asked(webhooks.ListDeliveries, "notifier", 5.0, webhooks.Deliveries),
    Asked(webhooks.TryWebhook, "notifier", 25.0, webhooks.WebhookTried),
    Asked(chat.AskChat, "evaluator", 20.0, chat.ChatPiece, streamed=True),
)

BY_TYPE: dict[str, Fact] = {fact.type: fact for fact in FACTS}


def heard_by(service: str) -> tuple[Fact, ...]:
    """Return the durable facts a service reacts to; the gateway hears all of them."""
    return tuple(fact for fact in FACTS if fact.durable and (service == "gateway" or service in fact.readers))


def told_by(service: str) -> tuple[Fact, ...]:
    """Return the facts only this service may tell."""
    return tuple(fact for fact in FACTS if fact.owner == service)
