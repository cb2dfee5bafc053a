"""``woodshed train``, ``jobs``, ``watch``, ``pause``, ``resume``, ``cancel``, ``presets``: from a wish to a model."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from cyclopts import App, Parameter
from rich.console import Console

from contracts.jobs import JobEstimated
from contracts.recipes import PRESETS, SHIPPED_MODEL, preset_named
from services.cli import datasets, files, show, watching
from services.cli.client import Json
from services.cli.errors import Refused, Unusable
from services.cli.session import Here, Session, app

SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}

Method = Annotated[
    Literal["lora", "full", "dpo"],
    Parameter(help="train small matrices beside the model, or every weight of it; dpo: a LoRA on preference pairs"),
]
Quantization = Annotated[
    Literal["none", "nf4"],
    Parameter(help="nf4 keeps the base in four bits while a LoRA is trained on it: slower, in less memory"),
]
Priority = Literal["high", "medium", "low"]
Limit = Annotated[str, Parameter(help="longest training, such as 150, 30m or 2h; it ends early rather than late")]
Budget = Annotated[float | None, Parameter(help="the most the job may cost; it ends before that with what it has")]

jobs = App(name="jobs", help="Jobs: list them, show one.")
app.command(jobs)


@app.command
async def train(
    file: Path,
    *,
    preset: str = "balanced",
    name: str = "",
    method: Method = "lora",
    quantization: Quantization = "none",
    epochs: int | None = None,
    time_limit: Limit = "",
    budget: Budget = None,
    priority: Priority = "medium",
    format: datasets.Format = "auto",
    by: datasets.By = "conversation",
    near_duplicates: datasets.NearDuplicates = "drop",
    model: str = SHIPPED_MODEL,
    here: Here,
) -> None:
    """Make a model of a file: upload, check, estimate, train, prove, and watch all of it.

    Ctrl-C leaves the job alone: it goes on, and `woodshed watch` comes back to it.
    """
    overrides = _overrides(method, epochs, time_limit, budget)
    if quantization != "none":
        overrides["quantization"] = quantization
    _require_preset(preset)
    uploaded = await files.send(here, file)
    dataset = await datasets.build(here, uploaded["id"], format, by, near_duplicates)
    here.console.print(show.dataset(dataset))
    datasets.require_ready(dataset)
    await tell_estimate(here, dataset["id"], preset, overrides | {"model": model})
    job = await submit(here, dataset, preset, name, overrides, priority=priority, model=model)
    here.console.print(f"\nJob {job['id']} is accepted; it survives whatever happens to this terminal.")
    await follow(here, job["id"])


@jobs.command(name="list")
async def list_jobs(*, limit: int = 20, here: Here) -> None:
    """List the jobs, the latest first."""
    found = await here.api.get("/v1/fine_tuning/jobs", limit=limit)
    here.console.print(show.jobs(found["data"]) if found["data"] else "There are no jobs yet: woodshed train FILE")


@jobs.command(name="show")
async def show_job(job: str, *, here: Here) -> None:
    """Show a job and its story."""
    here.console.print(show.job(await here.api.get(f"/v1/fine_tuning/jobs/{job}")), "")
    story = await here.api.get(f"/v1/fine_tuning/jobs/{job}/events", limit=watching.STORY_LENGTH)
    for line in reversed(story["data"]):
        here.console.print(show.story_line(line))


@app.command
async def watch(job: str, *, here: Here) -> None:
    """Follow a job live until its proof is made. Ctrl-C leaves it alone."""
    await follow(here, job)


@app.command
async def pause(job: str, *, here: Here) -> None:
    """Let a job wait and free its device; what it has learned is saved first."""
    asked = await here.api.post(f"/v1/fine_tuning/jobs/{job}/pause")
    waits = asked["status"] == "paused"
    here.console.print(f"{job} is paused{'' if waits else ' as soon as it has saved'}: woodshed resume {job}")


@app.command
async def resume(job: str, *, here: Here) -> None:
    """Let a paused job go on where it stopped."""
    await here.api.post(f"/v1/fine_tuning/jobs/{job}/resume")
    here.console.print(f"{job} goes on when a device is free: woodshed watch {job}")


@app.command
async def cancel(job: str, *, here: Here) -> None:
    """End a job without a model."""
    asked = await here.api.post(f"/v1/fine_tuning/jobs/{job}/cancel")
    over = asked["status"] == "cancelled"
    here.console.print(f"{job} was cancelled already." if over else f"{job} is asked to stop: woodshed watch {job}")


@app.command
def presets() -> None:
    """Explain the presets."""
    rows = show.table("preset", "or", "what it is for", "rank", "learning rate", "epochs", "at most")
    for each in PRESETS:
        limit, rate = show.duration(each.time_limit), f"{each.learning_rate:g}"
        rows.add_row(each.name, each.staff_name, each.explains, str(each.rank), rate, str(each.epochs), limit)
    Console(highlight=False).print(rows)


async def tell_estimate(here: Session, dataset: str, preset: str, overrides: Json) -> None:
    """Show what the job will take. Without an answer it is accepted all the same, and that is said."""
    body = {"dataset": dataset, "preset": preset} | overrides
    try:
        found = msgspec.convert(await here.api.post("/v1/estimates", body), JobEstimated)
    except Refused as error:
        if error.problem.status != 503:
            raise
        here.console.print("[yellow]There is no estimate now; the job is accepted all the same.[/]")
        return
    here.console.print("\nWhat it will take:", show.estimate(found.estimate))


async def submit(
    here: Session, dataset: Json, preset: str, name: str, overrides: Json, *, priority: str = "medium",
    model: str = SHIPPED_MODEL,
) -> Json:  # fmt: skip
    """Hand the wish in; once answered, it is kept."""
    body: Json = {"model": model, "training_file": dataset["file"], "dataset": dataset["id"], "preset": preset}
    body |= {"priority": priority} | overrides
    return await here.api.post("/v1/fine_tuning/jobs", body | ({"suffix": name} if name else {}))


async def follow(here: Session, job_id: str) -> None:
    """Watch a job to its end and say where its results are; ``EndedBadly`` if it made no model."""
    job = await watching.watch(here.api, job_id, here.console)
    here.console.print("", show.job(job))
    watching.require_success(job)
    here.console.print(f"\n  woodshed report {job_id}      the proof, as PDF and HTML")
    here.console.print(f"  woodshed download {job_id}    the adapter's files")
    here.console.print(f'  woodshed ask {job_id} "…"     one reply of the base model and one of yours')


def seconds_of(text: str) -> float:
    """Read ``150``, ``90s``, ``30m`` or ``2h``; ``Unusable`` says how it is written."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    if not match or float(match[1]) == 0:
        raise Unusable(f"A time limit is written like 150, 90s, 30m or 2h, not {text!r}.")
    return float(match[1]) * SECONDS[match[2]]


def _require_preset(name: str) -> None:
    """Refuse a preset nobody knows before anything is uploaded."""
    if preset_named(name) is None:
        raise Unusable(f"There is no preset {name!r}. `woodshed presets` explains those there are.")


def _overrides(method: str, epochs: int | None, time_limit: str, budget: float | None = None) -> Json:
    changed: dict[str, Any] = {}
    if method == "dpo":
        changed["method"] = {"type": method}
    elif method != "lora":
        changed["training"] = method
    if epochs is not None:
        changed["hyperparameters"] = {"n_epochs": epochs}
    if time_limit:
        changed["time_limit"] = seconds_of(time_limit)
    if budget is not None:
        changed["budget"] = budget
    return changed
