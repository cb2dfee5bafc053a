"""What is done at the end of each step: tell, keep the curve, save, evaluate, stop, or give up.

The parent's wish to stop arrives as ``SIGTERM`` at any moment and is kept here until a step ends, where saving is
exact.
"""

import math
import time
from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from services.trainer.domain.saving import Rhythm
from services.trainer.training.alerts import Alerts, ended_early, short_of_memory
from services.trainer.training.channel import Channel
from services.trainer.training.hardware import device_bytes, most_resident_bytes
from services.trainer.training.metrics import Point
from services.trainer.training.plan import Plan
from services.trainer.training.protocol import Progressed
from services.trainer.training.tuner import Tuner


class Diverged(ArithmeticError):
    """The loss is no longer a number."""


class NotLearning(ArithmeticError):
    """No gradient reaches the adapter."""


class Watch(TrainerCallback):  # type: ignore[misc, unused-ignore]
    """The one callback of a run."""

    def __init__(self, tuner: Tuner, plan: Plan, channel: Channel, stop_asked: Callable[[], bool]) -> None:
        """Take the trainer, its plan, the parent and how to learn that a stop was asked."""
        self._tuner = tuner
        self._plan = plan
        self._channel = channel
        tuner.after_pass = channel.alive
        self._stop_asked = stop_asked
        self._began = time.monotonic()
        self._from = (0, 0)
        self._alerts = Alerts(plan.total_steps)
        self._rhythm = Rhythm(plan.checkpoint_every, plan.total_steps, 0, plan.saving)
        self._save_is_due = tuner.gang.agree(self._leader_finds_save_due)
        self.time_is_up: Callable[[], bool] = lambda: False
        self.limit = "time_limit"
        self.stopped = False

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, *_: Any, **__: Any) -> None:
        """Start the attempt's clock where the run stands; make up for an evaluation that a stop left out.

        Everything is in place now: what comes next is a step's computing.
        """
        self._channel.stage("training")
        self._began = time.monotonic()
        self._from = (state.global_step, self._tuner.tokens)
        plan = self._plan
        self._rhythm = Rhythm(plan.checkpoint_every, plan.total_steps, state.global_step, plan.saving)
        if self._evaluates_at(state.global_step) and self._tuner.points[-1].eval_loss is None:
            self._tuner.evaluate()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Decide what this step's end brings; a save that failed meanwhile is told here."""
        self._tuner.checkpoints.check()
        step = state.global_step
        control.should_evaluate = self._evaluates_at(step)
        control.should_save = self._save_is_due() and step < self._plan.total_steps
        asked = self._stop_asked()
        if asked and step < self._plan.total_steps:
            self.stopped = control.should_save = control.should_training_stop = True
            control.should_evaluate = False
        elif step < self._plan.total_steps and self.time_is_up():
            self._end_early(step, control)

    def on_log(self, args: TrainingArguments, state: TrainerState, *_: Any, logs: dict[str, Any], **__: Any) -> None:
        """Keep the step on the curve and tell it; ``Diverged`` or ``NotLearning`` when going on is pointless."""
        if "loss" not in logs:
            return
        point = self._point(state.global_step, logs)
        _require_learning(point)
        self._tuner.points.append(point)
        self._channel.progress(self._progressed(point))
        for alert in self._alerts.after(self._tuner.points):
            self._channel.tell(alert)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, *_: Any, metrics: Any, **__: Any) -> None:
        """Put what validation measured beside its step, and tell it; memory that ran out meanwhile is told too."""
        points = self._tuner.points
        if remark := short_of_memory(points[-1].step, metrics):
            self._channel.tell(remark)
        if "eval_loss" in metrics:
            points[-1] = _with_eval(points[-1], metrics)
            self._channel.tell(self._progressed(points[-1]))

    def on_save(self, args: TrainingArguments, state: TrainerState, *_: Any, **__: Any) -> None:
        """Count from here to the next save."""
        self._rhythm.saved(state.global_step)

    def _leader_finds_save_due(self) -> bool:
        """Whether a checkpoint is due after this step, by the clock of the one process that writes them."""
        step = self._tuner.state.global_step
        seconds_a_step = (time.monotonic() - self._began) / (step - self._from[0])
        return self._tuner.gang.leads and self._rhythm.due(step, self._tuner.checkpoints.cost, seconds_a_step)

    def _end_early(self, step: int, control: TrainerControl) -> None:
        """Let this step be the last one: what was learned until here becomes the adapter."""
        control.should_training_stop = True
        control.should_save = False
        control.should_evaluate = bool(self._tuner.validation)
        self._channel.tell(ended_early(step, self._plan.total_steps, self.limit))

    def _evaluates_at(self, step: int) -> bool:
        return step > 0 and bool(self._tuner.validation) and self._plan.evaluates_at(step)

    def _point(self, step: int, logs: dict[str, Any]) -> Point:
        return Point(
            step=step,
            train_loss=float(logs["loss"]),
            eval_loss=None,
            lr=float(logs["learning_rate"]),
            grad_norm=float(logs["grad_norm"]),
            token_accuracy=float(logs["mean_token_accuracy"]),
            tokens=self._tuner.tokens,
            trained_tokens=self._tuner.trained_tokens,
            reward_margin=logs.get("reward_margin"),
            reward_accuracy=logs.get("reward_accuracy"),
        )

    def _progressed(self, point: Point) -> Progressed:
        seconds = max(time.monotonic() - self._began, 1e-6)
        steps = point.step - self._from[0]
        return Progressed(
            step=point.step,
            total_steps=self._plan.total_steps,
            epoch=point.step / self._plan.steps_an_epoch,
            loss=point.train_loss,
            learning_rate=point.lr,
            grad_norm=point.grad_norm,
            tokens=point.tokens,
            trained_tokens=point.trained_tokens,
            tokens_per_second=(point.tokens - self._from[1]) / seconds,
            samples_per_second=steps * self._tuner.recipe.batch_size / seconds,
            eta_seconds=(self._plan.total_steps - point.step) * seconds / max(steps, 1),
            eval_loss=point.eval_loss,
            token_accuracy=point.token_accuracy,
            eval_token_accuracy=point.eval_token_accuracy,
            reward_margin=point.reward_margin,
            reward_accuracy=point.reward_accuracy,
            rss_bytes=most_resident_bytes(),
            device_bytes=device_bytes(self._plan.device),
        )


def _with_eval(point: Point, measured: dict[str, float]) -> Point:
    from msgspec.structs import replace

    return replace(point, eval_loss=measured["eval_loss"], eval_token_accuracy=measured["eval_token_accuracy"])


def _require_learning(point: Point) -> None:
    if not (math.isfinite(point.train_loss) and math.isfinite(point.grad_norm)):
        raise Diverged(
            f"The loss became {point.train_loss} at step {point.step}: the weights are lost. Choose a smaller learning "
            "rate (half of it is a good next try) or look for broken conversations in the data."
        )
    if point.grad_norm == 0.0:
        raise NotLearning(f"No gradient reaches the adapter at step {point.step}: it would stay as it began.")
