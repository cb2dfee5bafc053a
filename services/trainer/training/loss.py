"""The loss: negative log-likelihood of the replies, and nothing computed where nothing is taught.

The vocabulary's projection is the largest product of a small model, so it runs on taught positions only, in chunks,
and the gradient is formed in the same pass (no logits kept, none computed twice). Equal to TRL's loss on the same
batch, which a test holds it to.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from services.trainer.training.data import Row
from services.trainer.training.hardware import Head

CHUNK = 256
"""Positions projected at once: 256 × 49,152 logits in bfloat16 are 24 MiB."""
PART = 64
"""Positions scored at once: their float32 numbers, 12 MiB, stay in a processor's cache. From 32 MiB on the C library
takes fresh pages for every array, which costs more than what is computed in them."""


class ReplyLoss(torch.autograd.Function):  # type: ignore[misc, unused-ignore]
    """Sum of cross-entropies and count of right guesses of a bias-free language-model head.

    ``hidden`` (n, d), ``weight`` (vocabulary, d) and ``labels`` (n,) give two scalars. The head's gradient is formed
    only where the head is trained. Products are in autocast's format where that is on, sums in float32.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Project, score and differentiate chunk by chunk."""
        total = hidden.new_zeros((), dtype=torch.float32)
        right = labels.new_zeros(())
        given, head = (product_format(each) for each in (hidden, weight))
        slopes = torch.empty_like(hidden)
        head_slopes = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        for at in range(0, len(labels), CHUNK):
            part = slice(at, at + CHUNK)
            logits = given[part] @ head.T
            logs, hits = scored(logits, labels[part])
            total -= logs.sum()
            right += hits
            if ctx.needs_input_grad[0]:
                slopes[part] = logits @ head
                if head_slopes is not None:
                    head_slopes += logits.T @ given[part]
        ctx.save_for_backward(slopes, head_slopes)
        ctx.mark_non_differentiable(right)
        return total, right

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        """Scale the gradients that the forward pass formed."""
        hidden, head = ctx.saved_tensors
        return (hidden * slopes[0]).to(hidden.dtype), None if head is None else head * slopes[0], None


def scored(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return each label's log-likelihood (n,) in float32, and how many labels are the first of the likeliest.

    ``logits`` (n, vocabulary) become what they are to be moved by: the likelihoods, less 1 for the label.
    """
    logs, hits = [], labels.new_zeros(())
    for part, right in zip(logits.split(PART), labels.split(PART), strict=True):
        exact, wanted = part.float(), right[:, None]
        highest, own = exact.amax(-1), exact.gather(1, wanted)[:, 0]
        maybe = own == highest
        hits += (exact[maybe].argmax(-1) == right[maybe]).sum()
        likely = torch.softmax(exact, -1)
        logs.append(own - highest + likely.amax(-1).log())
        part.copy_(likely.scatter_add_(1, wanted, -torch.ones_like(own)[:, None]))
    return torch.cat(logs), hits


def liger(hidden: Tensor, weight: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return what ``ReplyLoss`` does, by Liger's kernel; for GPUs."""
    from liger_kernel.transformers.functional import liger_fused_linear_cross_entropy

    said = liger_fused_linear_cross_entropy(
        product_format(hidden), product_format(weight), labels, reduction="sum", return_token_accuracy=True
    )
    return said.loss, (said.token_accuracy * len(labels)).round().long()


def cut(hidden: Tensor, weight: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return what ``ReplyLoss`` does, by Apple's cut cross-entropy; for GPUs. Right guesses cost a projection more."""
    from cut_cross_entropy import linear_cross_entropy

    given, head = product_format(hidden), product_format(weight)
    with torch.no_grad():
        right = [(part @ head.T).argmax(-1) for part in given.split(CHUNK)]
    return linear_cross_entropy(given, head, labels, reduction="sum"), (torch.cat(right) == labels).sum()


HEADS: dict[Head, Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]] = {
    "chunks": ReplyLoss.apply,
    "liger": liger,
    "cut": cut,
}


def product_format(value: Tensor) -> Tensor:
    """Return what products are to be made of: in autocast's format where that is on."""
    kind = value.device.type
    return value.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else value


def row_loss(model: Any, row: Row, head: Head = "chunks") -> tuple[Tensor, Tensor]:
    """Return the summed loss of a row's taught tokens (nats, float32) and how many were guessed right.

    ``model`` is a Hugging Face causal language model, in PEFT or bare. Packed neighbours are kept apart by
    ``attention`` where it is in use, else by the mask that transformers makes of positions that start anew.
    """
    total, right = HEADS[head](*before_the_head(model, row))
    return total, right


def before_the_head(model: Any, row: Row) -> tuple[Tensor, Tensor, Tensor]:
    """Return the hidden states (n, d) that a row's n taught tokens are guessed from, the head's weight, the tokens."""
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    device = causal.device
    ids = torch.tensor([row.ids], device=device)
    positions = torch.tensor([row.positions], device=device)
    labels = torch.tensor(row.labels[1:], device=device)
    said = causal.base_model(input_ids=ids, position_ids=positions, use_cache=False, conversations=row.conversations)
    hidden = said.last_hidden_state[0, :-1]
    taught = labels != -100
    return hidden[taught], causal.get_output_embeddings().weight, labels[taught]
