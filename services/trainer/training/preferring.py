"""The loss of direct preference optimisation: the preferred reply is to gain on the other one, compared with the base.

Both replies of a pair stand side by side in one row. The reference is the same model with its adapter switched off,
asked in the same rows, so before the first step every margin is exactly 0 and the loss ln 2. Equal to TRL's loss
(``loss_type="sigmoid"``) on the same batch, which a test holds it to. Formula: Rafailov et al. 2023, equation 7.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from services.trainer.training.data import Row
from services.trainer.training.loss import before_the_head, chunks, product_format, scored

Replies = Callable[[Any, Row], tuple[Tensor, Tensor]]
Scored = tuple[Tensor, Tensor, Tensor, Tensor]
"""Of a row: summed loss, tokens guessed right, summed margins of the rewards, and pairs whose margin is above 0."""


class Likelihoods(torch.autograd.Function):  # type: ignore[misc, unused-ignore]
    """Log-likelihood of each label and count of right guesses of a bias-free, frozen language-model head.

    ``hidden`` (n, d), ``weight`` (vocabulary, d) and ``labels`` (n,) give (n,) in float32 and a scalar. As in
    ``ReplyLoss`` the gradient is formed with the values, chunk by chunk.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Project, score and differentiate chunk by chunk."""
        found = hidden.new_empty(len(labels), dtype=torch.float32)
        right = labels.new_zeros(())
        given, head = product_format(hidden), product_format(weight)
        slopes = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        for part in chunks(len(labels), weight):
            logits = given[part] @ head.T
            found[part], hits = scored(logits, labels[part])
            right += hits
            if slopes is not None:
                slopes[part] = -(logits @ head)
        ctx.save_for_backward(slopes)
        ctx.mark_non_differentiable(right)
        return found, right

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        """Scale the gradients that the forward pass formed."""
        (slopes,) = ctx.saved_tensors
        return (slopes * given[0][:, None]).to(slopes.dtype), None, None


def pair_loss(beta: float, replies: Replies | None = None) -> Callable[[Any, Row], Scored]:
    """Return the forward of a model that learns from pairs, holding it to its base as strongly as ``beta`` says.

    ``replies`` says how likely each reply of a row is, and how many tokens were guessed right.
    """
    scored = replies or _replies

    def row_loss(model: Any, row: Row) -> Scored:
        with torch.no_grad(), model.disable_adapter():
            before, _ = scored(model, row)
        now, right = scored(model, row)
        gained = (now - before) * beta
        margins = gained[0::2] - gained[1::2]
        return -logsigmoid(margins).sum(), right, margins.detach().sum(), (margins.detach() > 0).sum()

    return row_loss


def _replies(model: Any, row: Row) -> tuple[Tensor, Tensor]:
    """Return the log-likelihood of every reply of a row, preferred and rejected in turn, and the right guesses."""
    each, right = Likelihoods.apply(*before_the_head(model, row))
    return torch.stack([reply.sum() for reply in each.split(_taught_of_each(row))]), right


def _taught_of_each(row: Row) -> list[int]:
    return [sum(label != -100 for label in row.labels[part]) for part in row.conversations]
