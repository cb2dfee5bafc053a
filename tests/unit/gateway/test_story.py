"""A job's story in sentences, and its stage."""

from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace

from contracts.jobs import JobFailed, JobSubmitted, Overrides
from contracts.runs import CheckpointCommitted, RunFinished, RunInterrupted, RunRemarked, WriteFenced
from services.gateway.domain.statuses import report_of, stage_of
from services.gateway.domain.story import Line, about, line_about

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.2, "about 1 second"),
        (40, "about 40 seconds"),
        (170, "about 3 minutes"),
        (3600, "about 60 minutes"),
        (9000, "about 2.5 hours"),
    ],
)
def test_durations_are_said_as_people_do(seconds: float, said: str) -> None:
    assert about(seconds) == said


def test_an_interruption_says_what_is_lost_and_a_failure_what_to_do() -> None:
    lost = RunInterrupted(
        tenant="studio",
        at=NOON,
        run_id="r",
        job_id="j",
        fence=1,
        cause="lost_worker",
        evidence="",
        step=12,
        lost_steps=3,
    )
    failed = JobFailed(tenant="studio", at=NOON, job_id="j", reason="bad_data", message="No text.", fix="Add some.")
    assert line_about(lost) == Line("warn", "Interrupted (lost worker); resuming from step 12, 3 steps to repeat")
    later = line_about(replace(lost, cause="infrastructure", wait_seconds=300.0))
    said = "Interrupted (infrastructure); resuming in about 5 minutes from step 12, 3 steps to repeat"
    assert later == Line("warn", said)
    assert line_about(failed) == Line("error", "Failed: No text. Add some.")


def test_a_checkpoint_is_told_with_its_loss_and_a_fenced_write_to_nobody() -> None:
    saved = CheckpointCommitted(
        tenant="studio",
        at=NOON,
        run_id="r",
        job_id="j",
        fence=1,
        step=12,
        uri="u",
        size=1,
        sha256="a" * 64,
        loss=1.23456,
    )
    assert line_about(saved) == Line("info", "Checkpoint saved at step 12, loss 1.235")
    assert line_about(WriteFenced(tenant="studio", at=NOON, run_id="r", fence=1, what="row")) is None


@pytest.mark.parametrize(("level", "shown"), [("warn", "warn"), ("info", "info"), ("a newer level", "info")])
def test_a_remark_is_told_in_its_own_words(level: str, shown: str) -> None:
    said = RunRemarked(
        tenant="studio", at=NOON, run_id="r", job_id="j", step=3, code="loss_spike", level=level, message="It jumped."
    )
    assert line_about(said) == (shown, "It jumped.")


def test_a_retry_names_the_job_it_is_made_of() -> None:
    wish = JobSubmitted(
        tenant="studio",
        at=NOON,
        job_id="ftjob-2",
        dataset_id="ds-1",
        training_file="file-1",
        base_model="m",
        preset="quick",
        overrides=Overrides(),
        seed=1,
        retry_of="ftjob-1",
    )
    assert line_about(wish) == Line("info", "Accepted as a retry of ftjob-1; the training file is being checked")


@pytest.mark.parametrize(
    ("changes", "stage"),
    [
        ({"status": "validating_files"}, "validating"),
        ({"status": "queued", "run_stage": "training", "run_stage_of": "run-1"}, "queued"),
        ({"status": "running"}, "starting"),
        ({"status": "running", "run_stage": "training", "run_stage_of": "run-1"}, "training"),
        ({"status": "running", "run_stage": "training", "run_stage_of": "run-0"}, "starting"),
        ({"status": "succeeded", "run_stage": "saving", "run_stage_of": "run-1"}, "trained"),
        ({"status": "succeeded", "proof_stage": "evaluating"}, "evaluating"),
        ({"status": "failed", "proof_stage": "evaluating"}, "failed"),
    ],
)
def test_stage_follows_from_what_each_service_told_last(changes: dict[str, Any], stage: str) -> None:
    row = {"status": "", "run_id": "run-1", "run_stage": None, "run_stage_of": None, "proof_stage": None} | changes
    assert stage_of(row) == stage


@pytest.mark.parametrize(
    ("interruptions", "lost_steps", "said"),
    [
        (0, 0, "Adapter stored after 45 steps, about 2 minutes"),
        (2, 0, "Adapter stored after 45 steps, about 2 minutes, interrupted 2×, resumed, 0 steps lost"),
        (1, 1, "Adapter stored after 45 steps, about 2 minutes, interrupted 1×, resumed, 1 step lost"),
    ],
)
def test_a_finished_run_says_what_its_interruptions_cost(interruptions: int, lost_steps: int, said: str) -> None:
    finished = RunFinished(
        tenant="studio",
        at=NOON,
        run_id="r",
        job_id="j",
        fence=3,
        base_model="m",
        dataset_id="d",
        dataset_digest="a" * 64,
        dataset_uri="u",
        adapter_uri="u",
        sha256="a" * 64,
        size=1,
        steps=45,
        tokens=1,
        trained_tokens=1,
        device_seconds=130.0,
        train_seconds=120.0,
        memory_bytes=1,
        train_loss=1.0,
        interruptions=interruptions,
        lost_steps=lost_steps,
        seed=1,
    )
    assert line_about(finished) == Line("info", said)


@pytest.mark.parametrize(
    ("changes", "report"),
    [
        ({"status": "running"}, None),
        ({"status": "failed"}, None),
        ({"status": "succeeded"}, "running"),
        ({"status": "succeeded", "proof_stage": "evaluating"}, "running"),
        ({"status": "succeeded", "proof_stage": "done", "verdict": "better"}, "ready"),
        ({"status": "succeeded", "proof_stage": "done"}, "failed"),
    ],
)
def test_a_job_says_how_far_the_report_on_its_model_is(changes: dict[str, Any], report: str | None) -> None:
    assert report_of({"proof_stage": None, "verdict": None} | changes) == report
