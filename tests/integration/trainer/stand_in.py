"""A child that only pretends to train: same protocol, same checkpoints, no torch. ``… stand_in SPEC.json``.

A step takes ``STAND_IN_STEP`` seconds (0.05). A step cannot be interrupted, as in training: SIGTERM is answered at its
end with a checkpoint. ``STAND_IN_DEAF`` makes it save at each interval but never answer SIGTERM. Two steps before its
end a run waits as long as the folder ``STAND_IN_HOLD`` has a file of its name: so a test decides what it outlives.
"""

import hashlib
import os
import signal
import sys
import time
from pathlib import Path

from services.trainer.training import checkpoints
from services.trainer.training.channel import Channel, take_standard_output
from services.trainer.training.checkpoints import Manifest
from services.trainer.training.protocol import AttemptSpec, Finished, Progressed, Saved, Stopped, read_spec

STEP = float(os.environ.get("STAND_IN_STEP", "0.05"))
DEAF = bool(os.environ.get("STAND_IN_DEAF"))
HOLD = Path(os.environ.get("STAND_IN_HOLD", "/nowhere"))


def main() -> None:
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    channel = take_standard_output()
    spec = read_spec(Path(sys.argv[1]).read_bytes())
    step = checkpoints.verify(Path(spec.resume_from)).step if spec.resume_from else 0
    channel.stage("training")
    print(f"training from step {step}", file=sys.stderr, flush=True)
    while step < spec.recipe.max_steps:
        if step >= spec.recipe.max_steps - 2 and is_held(spec):
            channel.tell(progressed(spec, step))
            if wait(spec, asked):
                return stop(spec, step, channel)
        time.sleep(STEP)
        step += 1
        channel.progress(progressed(spec, step))
        if step % spec.checkpoint_every == 0:
            save(spec, step, channel)
        if asked and not DEAF and step < spec.recipe.max_steps:
            return stop(spec, step, channel)
    return finish(spec, step, channel)


def is_held(spec: AttemptSpec) -> bool:
    return (HOLD / spec.run_id).exists() or (HOLD / "all").exists()


def wait(spec: AttemptSpec, asked: list[int]) -> bool:
    """Wait as long as the run is held. ``True``: SIGTERM came meanwhile."""
    while is_held(spec):
        if asked and not DEAF:
            return True
        time.sleep(0.02)
    return False


def stop(spec: AttemptSpec, step: int, channel: Channel) -> None:
    """Save, unless this step is one that was saved anyway."""
    if step % spec.checkpoint_every:
        save(spec, step, channel)
    channel.tell(Stopped(step=step, path=str(saved_at(spec, step))))


def saved_at(spec: AttemptSpec, step: int) -> Path:
    return Path(spec.work_dir) / "checkpoints" / f"step-{step}"


def save(spec: AttemptSpec, step: int, channel: Channel) -> None:
    staged = Path(spec.work_dir) / f".staging-{spec.fence}"
    staged.mkdir(parents=True)
    whole = manifest(spec, step)
    for name in whole.required:
        (staged / name).write_text(f"{name} of step {step}\n")
    final = saved_at(spec, step)
    final.parent.mkdir(exist_ok=True)
    size = checkpoints.commit(staged, final, whole).size
    channel.tell(Saved(step=step, path=str(final), size=size, seconds=0.0))


def finish(spec: AttemptSpec, step: int, channel: Channel) -> None:
    adapter = Path(spec.work_dir) / "adapter"
    adapter.mkdir()
    weights = f"{spec.run_id} after {step} steps".encode()
    (adapter / "adapter_model.safetensors").write_bytes(weights)
    channel.tell(
        Finished(
            step=step,
            path=str(adapter),
            digest=hashlib.sha256(weights).hexdigest(),
            size=len(weights),
            train_loss=1.0,
            eval_loss=None,
            tokens=step,
            trained_tokens=step,
            seconds=step * STEP,
        )
    )


def progressed(spec: AttemptSpec, step: int) -> Progressed:
    return Progressed(
        step=step,
        total_steps=spec.recipe.max_steps,
        epoch=0.0,
        loss=1.0,
        learning_rate=1e-4,
        grad_norm=1.0,
        tokens=step,
        trained_tokens=step,
        tokens_per_second=1.0,
        samples_per_second=1.0,
        eta_seconds=0.0,
    )


def manifest(spec: AttemptSpec, step: int) -> Manifest:
    return Manifest(
        run_id=spec.run_id,
        attempt=spec.attempt,
        fence=spec.fence,
        step=step,
        total_steps=spec.recipe.max_steps,
        data="",
        model_revision="",
        recipe="",
        threads=1,
        dtype="float32",
        device="cpu",
        micro_tokens=1,
        versions={},
    )


if __name__ == "__main__":
    main()
