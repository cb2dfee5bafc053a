"""The loss: negative log-likelihood of the replies, and nothing computed where nothing is taught.

The vocabulary's projection is the largest product of a small model, so it runs on taught positions only, in chunks,
and the gradient is formed in the same pass (no logits kept, none computed twice). Equal to TRL's loss on the same
batch, which a test holds it to.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from services.trainer.training.data import Row
from services.trainer.training.hardware import Head

CHUNK = 256
"""Positions projected at once on a CPU: 256 × 49,152 logits in bfloat16 are 24 MiB."""
GPU_LOGITS = 2**26
"""Logits formed at once on a GPU: it is idle while it gets little to do, and these take 0.7 GB with their scores."""
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
        for part in chunks(len(labels), weight):
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


def chunks(count: int, head: Tensor) -> list[slice]:
    """Divide ``count`` positions into those that a head (vocabulary, d) is multiplied with at once."""
    size = CHUNK if head.device.type == "cpu" else max(CHUNK, GPU_LOGITS // len(head))
    return [slice(at, at + size) for at in range(0, count, size)]


def scored(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return each label's log-likelihood (n,) in float32, and how many labels are the first of the likeliest.

    ``logits`` (n, vocabulary) become what they are to be moved by: the likelihoods, less 1 for the label.
    """
    return (_scored_in_parts if logits.device.type == "cpu" else _scored_at_once)(logits, labels)


def _scored_at_once(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Score as a GPU likes it: few passes over all logits, and no shape that hangs on a value, which would be waited
    for.
    """
    wanted = labels[:, None]
    highest, guessed = logits.max(-1, keepdim=True)
    own = logits.gather(1, wanted)
    likely = torch.softmax(logits, -1, dtype=torch.float32)
    logs = own.float() - highest.float() + likely.gather(1, guessed).log()
    logits.copy_(likely.scatter_add_(1, wanted, -torch.ones_like(logs)))
    return logs[:, 0], (guessed == wanted).sum()


def _scored_in_parts(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Score as a CPU likes it: in parts that stay in its cache, looking for the first of the likeliest only where the
    label is one of them.
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
    taught = [at for at, label in enumerate(row.labels[1:]) if label != -100]
    conversations = row.conversations
    ids, positions, at, labels, ends = sent(
        causal.device,
        row.ids,
        row.positions,
        taught,
        [row.labels[at + 1] for at in taught],
        [0, *(part.stop for part in conversations)],
    )
    said = causal.base_model(
        input_ids=ids[None], position_ids=positions[None], use_cache=False, conversations=conversations, ends=ends.int()
    )
    return said.last_hidden_state[0].index_select(0, at), causal.get_output_embeddings().weight, labels


def sent(device: torch.device, *lists: Sequence[int]) -> tuple[Tensor, ...]:
    """Put lists of integers on a device in one copy, for which nobody waits: what a GPU is still at goes on."""
    whole = torch.tensor([number for each in lists for number in each])
    if device.type != "cpu":
        whole = whole.pin_memory().to(device, non_blocking=True)
    parts: tuple[Tensor, ...] = whole.split([len(each) for each in lists])
    return parts
