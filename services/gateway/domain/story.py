"""A job's story in sentences: what each fact means to the person who waits for it.

Texts name things the way people do; ids and figures for programs are in the facts themselves.
"""

from typing import Literal, NamedTuple

from contracts import datasets, evaluations, jobs, notices, runs, trackers
from contracts.base import Event

STAGES = {
    "preprocessing": "Preparing the examples",
    "loading_model": "Loading the model",
    "training": "Training",
    "saving": "Saving the adapter",
}

VERDICTS = {
    "better": "better than the base model",
    "worse": "worse than the base model",
    "no_difference": "no clear difference from the base model",
    "kept": "kept what the base model knew",
}


class Line(NamedTuple):
    """One line of the story."""

    level: Literal["info", "warn", "error"]
    message: str


def line_about(fact: Event) -> Line | None:
    """Return the line a fact adds to its job's story; ``None`` when it is nobody's news."""
    return _about_wish(fact) or _about_run(fact) or _about_proof(fact)


def _about_wish(fact: Event) -> Line | None:
    match fact:
        case jobs.JobSubmitted():
            again = f" as a retry of {fact.retry_of}" if fact.retry_of else ""
            return Line("info", f"Accepted{again}; the training file is being checked")
        case datasets.DatasetReady():
            held_out = fact.validation_examples + fact.test_examples
            return Line("info", f"Dataset ready: {fact.train_examples:,} examples to train on, {held_out:,} held out")
        case datasets.DatasetRefused():
            return Line("error", f"The file cannot be used: {fact.message}")
        case jobs.JobQueued(estimate=estimate):
            return Line("info", f"Queued: {about(estimate.seconds)}, {_steps(estimate.steps)}")
        case jobs.JobDispatched():
            return Line("info", "A device is free: starting")
        case jobs.JobPauseAsked():
            return Line("info", "Asked to pause")
        case jobs.JobStopping(why="preempt"):
            return Line("info", "A more urgent job needs the device: saving, then back to the queue")
        case jobs.JobStopping():
            return Line("info", "Pausing: saving at the end of this step")
        case jobs.JobPaused():
            return Line("info", "Paused until it is resumed")
        case jobs.JobResumeAsked():
            return Line("info", "Asked to resume")
        case jobs.JobResumed():
            return Line("info", "Resumed: it has its old place in the queue")
        case jobs.JobCancelAsked():
            return Line("info", "Asked to cancel; stopping")
        case jobs.JobCancelled():
            return Line("info", "Cancelled")
        case jobs.JobSucceeded():
            return Line("info", f"Succeeded: the model is called {fact.model}")
        case jobs.JobFailed():
            return Line("error", f"Failed: {fact.message} {fact.fix}".strip())
        case jobs.ModelDeleted():
            return Line("info", f"The model {fact.model} was deleted with its files")
    return None


def _about_run(fact: Event) -> Line | None:
    match fact:
        case runs.DispatchDeclined():
            return Line("warn", "The device was no longer free; back to the queue")
        case runs.RunStarted():
            return Line("info", "The training process is up")
        case runs.RunStageReached():
            return Line("info", STAGES.get(fact.stage, fact.stage.replace("_", " ").capitalize()))
        case runs.CheckpointCommitted():
            return Line("info", f"Checkpoint saved at step {fact.step}{_loss(fact.loss)}")
        case runs.RunInterrupted():
            cause = fact.cause.replace("_", " ")
            if fact.cause == "out_of_memory":
                cause += "; half as many tokens at once from now on"
            when = f" in {about(fact.wait_seconds)}" if fact.wait_seconds else ""
            what = f"resuming{when} from step {fact.step}, {_lost(fact.lost_steps)}"
            return Line("warn", f"Interrupted ({cause}); {what}")
        case runs.RunRecovered():
            return Line("info", f"Training again from step {fact.step}, after {about(fact.seconds)}")
        case runs.RunRemarked() | trackers.TrackerRemarked():
            return Line("warn" if fact.level == "warn" else "info", fact.message)
        case runs.RunPaused():
            return Line("info", f"Stopped at step {fact.step}, {_lost(fact.lost_steps)}; the device is free")
        case runs.RunFinished():
            took = about(fact.train_seconds)
            kept = f", {resumed(fact.interruptions, fact.lost_steps)}" if fact.interruptions else ""
            return Line("info", f"Adapter stored after {_steps(fact.steps)}, {took}{kept}")
        case runs.RunFailed():
            return Line("error", f"Training failed: {fact.message}")
        case runs.RunCancelled():
            return Line("info", "Training stopped; the device is free")
    return None


def _about_proof(fact: Event) -> Line | None:
    match fact:
        case evaluations.EvaluationStarted():
            return Line("info", f"Measuring what changed: {', '.join(fact.suites)}")
        case evaluations.SuiteScored():
            verdict = VERDICTS.get(fact.verdict, fact.verdict)
            return Line("info", f"{fact.suite.capitalize()}: {verdict} ({fact.change:+.1%} on {fact.items:,} items)")
        case evaluations.ServingCompared(same=True):
            return Line("info", f"Chats answer as it was trained ({fact.tokens} tokens compared)")
        case evaluations.ServingCompared():
            return Line("warn", fact.message)
        case evaluations.ReportReady():
            return Line("info", f"Report ready: {fact.headline}")
        case evaluations.EvaluationFailed():
            return Line("warn", f"The proof could not be made: {fact.message} The model itself is untouched.")
        case notices.NoticeDelivered():
            return Line("info", f"Notice sent by {fact.channel}")
        case notices.NoticeFailed():
            return Line("warn", f"The notice by {fact.channel} could not be sent: {fact.reason}")
    return None


def about(seconds: float) -> str:
    """Say a duration the way people do, such as ``about 3 minutes``."""
    if seconds < 90:
        return f"about {_counted(max(1, round(seconds)), 'second')}"
    if seconds < 90 * 60:
        return f"about {_counted(round(seconds / 60), 'minute')}"
    return f"about {seconds / 3600:.1f} hours"


def resumed(interruptions: int, lost_steps: int) -> str:
    """Say what interruptions cost: ``interrupted 2×, resumed, 0 steps lost``."""
    return f"interrupted {interruptions}×, resumed, {_steps(lost_steps)} lost"


def _counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _steps(number: int) -> str:
    return _counted(number, "step")


def _lost(steps: int) -> str:
    return "nothing lost" if steps == 0 else f"{_steps(steps)} to repeat"


def _loss(loss: float | None) -> str:
    return "" if loss is None else f", loss {loss:.3f}"
