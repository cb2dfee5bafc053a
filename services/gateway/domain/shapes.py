"""From a row of a read model to the object a client sees.

JSON columns arrive as text, times as aware datetimes.
"""

from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from contracts.jobs import Overrides, Remedy
from contracts.recipes import Recipe, preset_named
from services.gateway.domain import wire
from services.gateway.domain.checkpoints import checkpoint_name
from services.gateway.domain.statuses import Row, report_of, stage_of
from services.gateway.domain.uploads import status_of
from services.gateway.domain.wishes import DPO, WishedPairing, WishedWandb

PARAM_OF_REASON = {
    "bad_data": "training_file",
    "dataset_refused": "training_file",
    "model_missing": "model",
    "time_limit": "time_limit",
    "out_of_memory": "batch_size",
    "diverged": "learning_rate_multiplier",
    "user_code": "model",
}
"""The field of the request that a failure points at; the others point at none."""


def file_of(row: Row) -> wire.File:
    """Show a file."""
    refused = row["refused"]
    return wire.File(
        id=row["file_id"],
        bytes=row["size"],
        created_at=seconds(row["created_at"]),
        filename=row["filename"],
        purpose=row["purpose"],
        sha256=row["sha256"],
        expires_at=seconds(row["expires_at"]) if row["expires_at"] else UNSET,
        status="error" if refused else "processed",
        status_details=refused,
    )


def upload_of(row: Row, at: datetime, file: Row | None = None) -> wire.Upload:
    """Show an upload as it is at a time, with the file it became."""
    return wire.Upload(
        id=row["upload_id"],
        bytes=row["size"],
        created_at=seconds(row["created_at"]),
        expires_at=seconds(row["expires_at"]),
        filename=row["filename"],
        purpose=row["purpose"],
        status=status_of(row, at),
        file=None if file is None else file_of(file),
    )


def part_of(row: Row) -> wire.UploadPart:
    """Show a part of an upload."""
    return wire.UploadPart(id=row["part_id"], created_at=seconds(row["created_at"]), upload_id=row["upload_id"])


def dataset_of(row: Row) -> wire.Dataset:
    """Show a dataset, with the figures of a ready one or the problems of a refused one."""
    refusal = _json(row["refusal"])
    return wire.Dataset(
        id=row["dataset_id"],
        created_at=seconds(row["created_at"]),
        finished_at=_maybe_seconds(row["finished_at"]),
        file=row["file_id"],
        filename=row["filename"],
        validation_file=row["validation_file"],
        model=row["base_model"],
        format=row["format"],
        split=_json(row["split"]),
        state=row["state"],
        figures=_json(row["figures"]),
        problems=_json(row["problems"]),
        problem_count=row["problem_count"],
        progress=_json(row["progress"]),
        error=refusal and wire.JobError(code=refusal["code"], message=refusal["message"], param="file"),
    )


def job_of(row: Row) -> wire.Job:
    """Show a job."""
    hyperparameters = _hyperparameters(row)
    return wire.Job(
        id=row["job_id"],
        created_at=seconds(row["created_at"]),
        finished_at=_maybe_seconds(row["finished_at"]),
        model=row["model"],
        fine_tuned_model=row["fine_tuned_model"],
        organization_id=row["tenant"],
        result_files=[row["result_file"]] if row["result_file"] else [],
        status=row["status"],
        training_file=row["training_file"],
        validation_file=row["validation_file"],
        trained_tokens=row["trained_tokens"],
        hyperparameters=hyperparameters,
        method=_method(row, hyperparameters),
        error=_job_error(row),
        seed=row["seed"],
        estimated_finish=_estimated_finish(row),
        metadata=_json(row["metadata"]),
        integrations=_integrations(row),
        woodshed=_details(row),
    )


def wandb_of(wished: WishedWandb | None) -> wire.Wandb | None:
    """Return where a job's run stands in Weights & Biases; what is empty is as if it were not said."""
    if wished is None:
        return None
    return wire.Wandb(
        project=wished.project, name=wished.name or None, entity=wished.entity or None, tags=wished.tags or []
    )


def wandb_in(row: Row) -> wire.Wandb | None:
    """Return where a kept job's run stands in Weights & Biases."""
    return row["wandb"] and msgspec.json.decode(row["wandb"], type=wire.Wandb)


def job_event_of(row: Row) -> wire.JobEvent:
    """Show one line of a job's story."""
    return wire.JobEvent(id=row["event_id"], created_at=seconds(row["at"]), level=row["level"], message=row["message"])


def checkpoint_of(row: Row) -> wire.Checkpoint:
    """Show a checkpoint, with what was measured at its step."""
    return wire.Checkpoint(
        id=row["checkpoint_id"],
        created_at=seconds(row["at"]),
        fine_tuned_model_checkpoint=checkpoint_name(row),
        step_number=row["step"],
        metrics=wire.CheckpointMetrics(
            step=row["step"],
            train_loss=_measured(row["loss"]),
            train_mean_token_accuracy=_measured(row["token_accuracy"]),
            valid_loss=_measured(row["eval_loss"]),
            valid_mean_token_accuracy=_measured(row["valid_accuracy"]),
            full_valid_loss=_measured(row["eval_loss"]),
            full_valid_mean_token_accuracy=_measured(row["valid_accuracy"]),
        ),
        fine_tuning_job_id=row["job_id"],
    )


def permission_of(row: Row) -> wire.CheckpointPermission:
    """Show who may use a checkpoint."""
    return wire.CheckpointPermission(
        id=row["permission_id"], created_at=seconds(row["created_at"]), project_id=row["project_id"]
    )


def metric_of(row: Row) -> wire.Metric:
    """Show one step's figures."""
    return wire.Metric(**{name: row[name] for name in wire.Metric.__struct_fields__})


def point_of(row: Row) -> wire.CurvePoint:
    """Show one point of a curve."""
    return wire.CurvePoint(**{name: row[name] for name in wire.CurvePoint.__struct_fields__})


def fine_tuned_of(row: Row) -> wire.Model:
    """Show the model that a job made."""
    return wire.Model(
        id=row["fine_tuned_model"],
        created=seconds(row["finished_at"]),
        owned_by=row["tenant"],
        job=row["job_id"],
        base_model=row["model"],
    )


def artifact_of(row: Row) -> wire.Artifact:
    """Show a file that training made, with where to fetch it."""
    url = f"/v1/fine_tuning/jobs/{row['job_id']}/artifacts/{row['name']}"
    return wire.Artifact(name=row["name"], size=row["size"], sha256=row["sha256"], url=url)


def remedy_of(row: Row) -> Remedy | None:
    """Return what to do about a job's failure, or about its model's not being served as it was trained.

    A failure told without a remedy leaves its sentence.
    """
    error = _json(row["error"])
    if error is None:
        return None if row["withheld"] is None else msgspec.json.decode(row["withheld"], type=Remedy)
    if error.get("remedy"):
        return msgspec.convert(error["remedy"], Remedy)
    return Remedy(kind="try_again", title="Try again", sentence=error["fix"])


def fix_of(row: Row) -> wire.Fix | None:
    """Show what to do about a job's failure."""
    remedy = remedy_of(row)
    if remedy is None:
        return None
    settings = msgspec.to_builtins(remedy.overrides) if remedy.overrides else None
    return wire.Fix(kind=remedy.kind, title=remedy.title, sentence=remedy.sentence, settings=settings)


def seconds(at: datetime) -> int:
    """Return whole seconds since 1970."""
    return int(at.timestamp())


def _details(row: Row) -> wire.JobDetails:
    progress = _json(row["progress"])
    return wire.JobDetails(
        preset=row["preset"],
        priority=row["priority"],
        stage=stage_of(row),
        dataset=row["dataset_id"],
        suffix=row["suffix"],
        run=row["run_id"],
        recipe=_json(row["recipe"]),
        estimate=_json(row["estimate"]),
        progress=progress and msgspec.convert(progress, wire.Progress),
        seconds=row["seconds"],
        cost=row["cost"],
        budget=_json(row["overrides"]).get("budget"),
        interruptions=row["interruptions"],
        lost_steps=row["lost_steps"],
        lost_seconds=row["lost_seconds"],
        headline=row["headline"],
        verdict=row["verdict"],
        report=report_of(row),
        fix=fix_of(row),
        retry_of=row["retry_of"],
        retried_as=row["retried_as"],
    )


def _integrations(row: Row) -> list[wire.Integration]:
    wandb = wandb_in(row)
    return [wire.Integration(wandb=wandb)] if wandb else []


def _hyperparameters(row: Row) -> wire.Hyperparameters:
    asked = msgspec.json.decode(row["asked"], type=WishedPairing)
    if row["recipe"] is None:
        return wire.Hyperparameters(
            n_epochs=asked.n_epochs or "auto",
            batch_size=asked.batch_size or "auto",
            learning_rate_multiplier=asked.learning_rate_multiplier or "auto",
        )
    recipe = msgspec.json.decode(row["recipe"], type=Recipe)
    return wire.Hyperparameters(
        n_epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        learning_rate_multiplier=_multiplier(recipe, row["preset"]),
    )


def _multiplier(recipe: Recipe, preset_name: str) -> float:
    preset = preset_named(preset_name)
    return round(recipe.learning_rate / preset.rate_for(recipe.method, recipe.objective), 6) if preset else 1.0


def _method(row: Row, three: wire.Hyperparameters) -> wire.Method:
    """Tell back how the model is taught, with what was asked for until the recipe is decided."""
    asked = msgspec.json.decode(row["overrides"], type=Overrides)
    if asked.objective != DPO:
        return wire.Method(supervised=wire.Supervised(hyperparameters=three))
    recipe = row["recipe"] and msgspec.json.decode(row["recipe"], type=Recipe)
    pairing = wire.PairingHyperparameters(
        **msgspec.structs.asdict(three), beta=recipe.beta if recipe else asked.beta or "auto"
    )
    return wire.Method(type="dpo", dpo=wire.Dpo(hyperparameters=pairing))


def _job_error(row: Row) -> wire.JobError | None:
    error = _json(row["error"])
    if error is None:
        return None
    message = f"{error['message']} {error['fix']}".strip()
    return wire.JobError(code=error["code"], message=message, param=PARAM_OF_REASON.get(error["code"], ""))


def _estimated_finish(row: Row) -> int | None:
    if row["status"] != "running" or row["dispatched_at"] is None:
        return None
    progress = _json(row["progress"])
    if progress and row["progress_at"] > row["dispatched_at"]:
        return seconds(row["progress_at"] + timedelta(seconds=progress["eta_seconds"]))
    return seconds(row["dispatched_at"] + timedelta(seconds=_json(row["estimate"])["seconds"]))


def _measured(value: float | None) -> float | UnsetType:
    return UNSET if value is None else value


def _maybe_seconds(at: datetime | None) -> int | None:
    return None if at is None else seconds(at)


def _json(text: str | None) -> Any:
    return None if text is None else msgspec.json.decode(text)
