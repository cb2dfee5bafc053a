"""The loop: TRL's trainer with our batches, loss, evaluation and checkpoints in the places made for them.

Optimiser, schedule, clipping, shuffling, resuming and callbacks are Hugging Face's. Ours: a step is
``recipe.batch_size`` examples packed into as many forward passes as the device likes (``training_step``); evaluation
draws no random number; a checkpoint counts only once committed. The short version: ``tests/bench/plain_trl.py``.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedTokenizerFast, Trainer
from trl import SFTConfig, SFTTrainer

from contracts.recipes import Recipe
from services.trainer.training import metrics
from services.trainer.training.data import Example, Row, pack
from services.trainer.training.loss import row_loss
from services.trainer.training.model import write_adapter
from services.trainer.training.plan import Plan
from services.trainer.training.saving import Checkpoints
from services.trainer.training.surviving import within_memory


class Tuner(SFTTrainer):  # type: ignore[misc, unused-ignore]
    """TRL's supervised trainer, fed with pre-tokenised examples."""

    def __init__(
        self,
        model: Any,
        tokenizer: PreTrainedTokenizerFast,
        recipe: Recipe,
        plan: Plan,
        train: Sequence[Example],
        validation: Sequence[Example],
        checkpoints: Checkpoints,
    ) -> None:
        """Take the model with its LoRA, the recipe and plan, both splits and where checkpoints go."""
        super().__init__(
            model=model,
            args=arguments(recipe, plan, checkpoints.staging),
            train_dataset=Dataset.from_dict(
                {"input_ids": [each.ids for each in train], "labels": [each.labels for each in train]}
            ),
            processing_class=tokenizer,
            data_collator=Packer(plan.micro_tokens),
        )
        self.recipe = recipe
        self.checkpoints = checkpoints
        self.validation = validation
        self.fitting = plan.micro_tokens
        self.points: list[metrics.Point] = []
        self.tokens = 0
        self.trained_tokens = 0

    def carry_on(self, points: list[metrics.Point]) -> None:
        """Go on counting where an earlier attempt's checkpoint stood."""
        self.points = points
        self.tokens, self.trained_tokens = points[-1].tokens, points[-1].trained_tokens

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Run one optimiser step's examples through the model and return their mean loss a taught token."""
        model.train()
        rows: list[Row] = inputs["rows"]
        taught = sum(_taught(row) for row in rows)
        loss, right = torch.zeros(()), 0
        for row in rows:
            total, guessed = row_loss(model, row)
            self.accelerator.backward(total / taught)
            loss += total.detach().cpu() / taught
            right += int(guessed)
        self.tokens += sum(len(row.ids) for row in rows)
        self.trained_tokens += taught
        self._metrics["train"]["mean_token_accuracy"].append(right / taught)
        return loss.to(self.args.device)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Return the mean loss a taught token of the validation rows; draws no random number.

        Memory that runs out here never ends a run: smaller rows are tried, and without any that fit it is left out.
        """
        self.model.eval()
        figures, fitting = within_memory(self._measured, self.fitting)
        figures = (figures or {}) | ({"eval_smaller": fitting} if fitting < self.fitting else {})
        self.fitting = fitting
        self.callback_handler.on_evaluate(self.args, self.state, self.control, figures)
        return figures

    def _measured(self, capacity: int) -> dict[str, float]:
        """Measure in rows of at most ``capacity`` tokens."""
        rows = pack(self.validation, capacity)
        with torch.no_grad():
            scores = [row_loss(self.model, row) for row in rows]
        taught = sum(_taught(row) for row in rows)
        return {
            "eval_loss": sum(float(total) for total, _ in scores) / taught,
            "eval_token_accuracy": sum(int(right) for _, right in scores) / taught,
        }

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Write the adapter and the curve alone: no pickled arguments, no tokenizer, no card."""
        assert output_dir is not None
        write_adapter(self.model, self.recipe, Path(output_dir))
        metrics.write(Path(output_dir), self.points)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Let Hugging Face write into staging, then commit."""
        self.checkpoints.prepare()
        Trainer._save_checkpoint(self, model, trial)
        self.checkpoints.commit(self.state.global_step)


class Packer:
    """The collator: a step's examples as rows of at most ``capacity`` tokens."""

    def __init__(self, capacity: int) -> None:
        """Take how many tokens share a forward pass."""
        self.capacity = capacity

    def __call__(self, items: list[dict[str, list[int]]]) -> dict[str, list[Row]]:
        """Pack the step's examples."""
        examples = [Example(each["input_ids"], each["labels"]) for each in items]
        return {"rows": pack(examples, self.capacity)}


def arguments(recipe: Recipe, plan: Plan, staging: Path) -> SFTConfig:
    """Say the recipe in Hugging Face's words; what they would log, save or evaluate by themselves is off."""
    return SFTConfig(
        output_dir=str(staging),
        max_steps=plan.total_steps,
        per_device_train_batch_size=recipe.batch_size,
        gradient_accumulation_steps=1,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=plan.warmup_steps,
        weight_decay=0.0,
        max_grad_norm=recipe.max_grad_norm,
        optim="adamw_torch_fused",
        seed=recipe.seed,
        data_seed=recipe.seed,
        bf16=False,
        gradient_checkpointing=False,
        use_cpu=plan.device == "cpu",
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        eval_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def _taught(row: Row) -> int:
    return sum(label != -100 for label in row.labels)
