"""One attempt, told from top to bottom: read the data, load the model, train, keep the adapter.

What can be refused is refused before torch is imported, which takes seconds: data that teaches nothing, a checkpoint
that is not whole, a model that is not the one the run began with.
"""

import hashlib
import shutil
import sys
import time
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from contracts.recipes import Recipe
from libs.lm.chat import ChatFormat
from libs.lm.models import DamagedModel, known, record_of
from services.trainer.training import checkpoints, metrics, prepared
from services.trainer.training.channel import Channel
from services.trainer.training.checkpoints import WEIGHTS, BadCheckpoint, Manifest
from services.trainer.training.data import Example, NothingToLearn, Split, read_pairs, read_split
from services.trainer.training.families import Way, way_of
from services.trainer.training.gang import ALONE, Gang
from services.trainer.training.hardware import (
    Dtype,
    dtype_for,
    equal_bytes,
    fitting_tokens,
    free_bytes,
    see_only,
    tokens_for,
    weights_for,
)
from services.trainer.training.plan import Plan, steps_an_epoch, steps_of, warmup_of
from services.trainer.training.protocol import AttemptSpec, Finished, Remarked, Stopped

LIBRARIES = ("torch", "transformers", "peft", "trl", "accelerate", "tokenizers", "safetensors")
SLOW_PATH = "slow_path"
FOUR_BIT = "four_bit"
FOUR_BIT_WORDS = (
    "{} its weights are kept in 4 bits while it trains (QLoRA, NF4). The adapter is a usual one; it learns from a "
    "slightly coarser model than the one in 16 bits or more with which it is measured and used."
)
ASKED = "As you asked for,"
TOO_LARGE = "The base model does not fit into this GPU's memory in 16 bits, so"
EVAL_TOKENS = 8192
"""Validation tokens read at each evaluation: enough for a curve; the evaluator measures on the whole split."""


def run(spec: AttemptSpec, channel: Channel, stop_asked: Callable[[], bool], gang: Gang = ALONE) -> None:
    """Carry out an attempt and tell how it ended: ``Finished`` or ``Stopped``; failures are raised."""
    began = time.monotonic()
    see_only(spec.device)
    channel.stage("preprocessing")
    way = way_of(Path(spec.model_dir), spec.recipe.max_length)
    train = _read(Path(spec.train), spec, way)
    validation = _validation(spec, way)
    manifest = manifest_of(spec, train)
    plan = _plan(spec, manifest, way, len(train.examples))
    if not way.fast:
        channel.tell(Remarked(step=0, code=SLOW_PATH, level="info", message=way.words))
    if plan.dtype == "nf4":
        channel.tell(Remarked(step=0, code=FOUR_BIT, level="info", message=_why_four_bits(spec.recipe)))
    channel.stage("loading_model", _says(train, spec.recipe))
    stop_asked = gang.agree(stop_asked)
    tuner, watch = _build(spec, plan, manifest, train, validation, channel, stop_asked, gang)
    if spec.seconds_left:
        watch.limit = spec.limit
        watch.time_is_up = gang.agree(lambda: time.monotonic() - began > spec.seconds_left)
    stopped = Stopped(step=manifest.step, path=spec.resume_from) if stop_asked() else _train(spec, tuner, watch)
    if stopped:
        channel.tell(stopped)
    else:
        channel.stage("saving")
        weights = tuner.weights()
        if gang.leads:
            channel.tell(_finish(spec, tuner, weights, time.monotonic() - began))
    gang.leave()


def manifest_of(spec: AttemptSpec, train: Split) -> Manifest:
    """Describe this attempt's state; resuming goes on with the threads and number format of its checkpoint.

    ``BadCheckpoint`` when the checkpoint is damaged or was written for other data, model or recipe.
    """
    revision = record_of(Path(spec.model_dir)).revision
    if spec.model_revision not in (None, revision):
        raise DamagedModel(
            f"{spec.recipe.base_model} on this machine is revision {revision[:12]}, the run began with "
            f"{str(spec.model_revision)[:12]}. Install that revision, or submit the job anew."
        )
    dtype = _weights(spec)
    manifest = Manifest(
        run_id=spec.run_id,
        attempt=spec.attempt,
        fence=spec.fence,
        step=0,
        total_steps=steps_of(spec.recipe, len(train.examples)),
        data=train.fingerprint,
        model_revision=revision,
        recipe=_hash_of(spec.recipe),
        threads=spec.threads,
        dtype=dtype,
        device=spec.device.partition(":")[0],
        micro_tokens=_row_tokens(spec, dtype),
        versions={name: version(name) for name in LIBRARIES},
        method=spec.recipe.method,
        processes=spec.processes,
    )
    return _resumed(spec, manifest) if spec.resume_from else manifest


def _resumed(spec: AttemptSpec, manifest: Manifest) -> Manifest:
    saved = checkpoints.verify(Path(str(spec.resume_from)))
    checkpoints.require_run(saved, spec.run_id)
    for name in ("data", "model_revision", "recipe", "total_steps"):
        if getattr(saved, name) != getattr(manifest, name):
            raise BadCheckpoint(f"step-{saved.step} was written for another {name}: going on would mix two runs.")
    return msgspec.structs.replace(
        manifest,
        step=saved.step,
        threads=saved.threads,
        dtype=saved.dtype,
        micro_tokens=min(spec.micro_tokens or saved.micro_tokens, saved.micro_tokens),
    )


def _weights(spec: AttemptSpec) -> Dtype:
    """Return the number format of the base's weights; processes that train together share them, in the usual one."""
    if spec.recipe.quantization == "nf4":
        return "nf4"
    if spec.device == "cpu" or spec.processes > 1:
        return dtype_for(spec.device)
    return weights_for(spec.device, free_bytes(spec.device), known(spec.recipe.base_model), spec.recipe)


def _row_tokens(spec: AttemptSpec, dtype: Dtype) -> int:
    """Return how many tokens share a forward pass: what fits into the memory that is free, at most what was asked.

    Processes that train together must all choose the same without having spoken yet: they take what is usual.
    """
    if spec.processes > 1:
        return spec.micro_tokens or tokens_for(spec.device)
    base = known(spec.recipe.base_model)
    fitting = fitting_tokens(spec.device, free_bytes(spec.device), base, spec.recipe, dtype)
    return min(spec.micro_tokens or fitting, fitting)


def _plan(spec: AttemptSpec, manifest: Manifest, way: Way, examples: int) -> Plan:
    return Plan(
        total_steps=manifest.total_steps,
        steps_an_epoch=steps_an_epoch(spec.recipe, examples),
        warmup_steps=warmup_of(spec.recipe, manifest.total_steps),
        checkpoint_every=spec.checkpoint_every,
        micro_tokens=manifest.micro_tokens,
        threads=manifest.threads,
        dtype=msgspec.convert(manifest.dtype, type=Plan.__annotations__["dtype"]),
        device=spec.device,
        packed=way.fast,
        workers=spec.workers,
        saving=spec.saving,
    )


def _validation(spec: AttemptSpec, way: Way) -> list[Example]:
    if spec.validation is None:
        return []
    try:
        examples = _read(Path(spec.validation), spec, way).examples
    except NothingToLearn:
        return []
    kept: list[Example] = []
    tokens = 0
    for example in examples:
        tokens += len(example.ids)
        if kept and tokens > EVAL_TOKENS:
            break
        kept.append(example)
    return kept


def _read(path: Path, spec: AttemptSpec, way: Way) -> Split:
    """Return a split as the model is taught it, from the shelf where it lies there."""
    objective, length, model = spec.recipe.objective, way.longest, Path(spec.model_dir)
    read = read_pairs if objective == "dpo" else read_split
    return prepared.through(spec.shelf, path, model, objective, length, lambda: read(path, _chat(model), length))


@cache
def _chat(model: Path) -> ChatFormat:
    return ChatFormat.load(model)


def _hash_of(recipe: Recipe) -> str:
    """Name a recipe by its content; one that asks for nothing newer has the name it had before there was that."""
    fields = msgspec.to_builtins(recipe)
    if recipe.objective == "supervised":
        del fields["objective"], fields["beta"]
    if recipe.quantization == "none":
        del fields["quantization"]
    return hashlib.sha256(msgspec.json.encode(fields)).hexdigest()


def _why_four_bits(recipe: Recipe) -> str:
    return FOUR_BIT_WORDS.format(ASKED if recipe.quantization == "nf4" else TOO_LARGE)


def _says(train: Split, recipe: Recipe) -> str:
    what = "pairs" if recipe.objective == "dpo" else "conversations"
    left_out = f", {train.dropped} left out, {train.cut} tokens cut" if train.dropped or train.cut else ""
    return f"{len(train.examples)} {what}, {train.tokens} tokens, {train.trained_tokens} taught{left_out}"


def _build(
    spec: AttemptSpec,
    plan: Plan,
    manifest: Manifest,
    train: Split,
    validation: list[Example],
    channel: Channel,
    stop_asked: Callable[[], bool],
    gang: Gang,
) -> tuple[Any, Any]:
    """Import what is heavy, load the model and put the trainer together."""
    if plan.dtype == "nf4" and not sys.modules.get("bitsandbytes"):
        sys.modules.pop("bitsandbytes", None)
    import torch

    from services.trainer.training import model
    from services.trainer.training.saving import Checkpoints
    from services.trainer.training.tuner import Tuner
    from services.trainer.training.watching import Watch

    torch.set_num_threads(plan.threads)
    equal_bytes(plan.device, fast=plan.packed)
    gang.join(plan.device)
    resume = Path(spec.resume_from) if spec.resume_from else None
    loaded = model.load(Path(spec.model_dir), spec.recipe, plan.dtype, plan.device, gang=gang, resume=resume)
    trained = sum(each.numel() for each in loaded.parameters() if each.requires_grad)
    kept = Checkpoints(Path(spec.work_dir) / "checkpoints", manifest, 12 * trained, channel.tell)
    if gang.leads:
        kept.clear()
    tokenizer = model.tokenizer(Path(spec.model_dir))
    tuner = Tuner(loaded, tokenizer, spec.recipe, plan, train.examples, validation, kept, gang)
    if resume:
        tuner.carry_on(metrics.read(resume))
    watch = Watch(tuner, plan, channel, stop_asked)
    tuner.callback_handler.callbacks[-1:] = [watch]
    return tuner, watch


def _train(spec: AttemptSpec, tuner: Any, watch: Any) -> Stopped | None:
    """Train to the end, or to the step at which a stop was asked."""
    tuner.train(resume_from_checkpoint=spec.resume_from)
    tuner.checkpoints.wait()
    return Stopped(step=tuner.state.global_step, path=str(tuner.checkpoints.last)) if watch.stopped else None


def _finish(spec: AttemptSpec, tuner: Any, trained: Any, seconds: float) -> Finished:
    """Write what came of it and its curve, staged and renamed, and say what was reached."""
    from services.trainer.training.model import write_result

    final = Path(spec.work_dir) / "adapter"
    staging = final.with_name(f".adapter-{spec.fence}")
    write_result(trained, spec.recipe, Path(spec.model_dir), staging)
    metrics.write(staging, tuner.points)
    if final.exists():
        shutil.rmtree(final)
    staging.rename(final)
    last = tuner.points[-1]
    stored = checkpoints.synced(final / WEIGHTS[spec.recipe.method])
    return Finished(
        step=last.step,
        path=str(final),
        digest=stored.sha256,
        size=stored.size,
        train_loss=last.train_loss,
        eval_loss=last.eval_loss,
        tokens=last.tokens,
        trained_tokens=last.trained_tokens,
        seconds=seconds,
    )
