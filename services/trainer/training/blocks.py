"""Causal attention for CPUs, in blocks of queries: what a block may not see is not computed, and nothing of it is kept.

Scores are formed from a block's queries and the keys up to its end, so almost half of the square falls away, and the
backward pass forms them again from queries and keys (FlashAttention: Dao et al. 2022, algorithm 4): memory grows with
the tokens, not with their square. A key's queries from all heads that share it are one matrix, so keys and values are
never repeated and their gradients sum by themselves.

Scores, softmax and its gradient are in float32, products otherwise in the inputs' format. Equal inputs and threads give
equal bytes. torch's own kernel takes about twice as long in bfloat16 on Zen 5 (decision 0034).
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

BLOCK = 128
"""Queries of a block at most: its scores stay near the processor, and few calls are made."""
STEP = 16
"""A block's queries are a multiple of this: the products then have few shapes, and oneDNN makes a kernel for each."""


class InBlocks(torch.autograd.Function):  # type: ignore[misc, unused-ignore]
    """Attend causally inside each conversation.

    ``query`` (1, heads, tokens, size), ``key`` and ``value`` (1, fewer heads, tokens, size) and where each conversation
    lies give (1, tokens, heads, size). The conversations cover all tokens. In float32 it is right, too, and no faster
    than torch.
    """

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float, conversations: Sequence[slice]
    ) -> Tensor:
        """Attend block by block and keep only what was given."""
        ctx.save_for_backward(query, key, value)
        ctx.scale, ctx.conversations = scale, conversations
        _, heads, tokens, size = query.shape
        found = query.new_empty(1, tokens, heads, size)
        with _exact_products(query.dtype):
            for part in conversations:
                _attend(query[0, :, part], key[0, :, part], value[0, :, part], found[0, part].transpose(0, 1), scale)
        return found

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator, unused-ignore]
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        """Form the scores again and differentiate block by block."""
        slopes = tuple(torch.empty_like(side) for side in ctx.saved_tensors)
        with _exact_products(slope.dtype):
            for part in ctx.conversations:
                query, key, value = (side[0, :, part] for side in ctx.saved_tensors)
                made = tuple(side[0, :, part] for side in slopes)
                _differentiate(query, key, value, slope[0, part].transpose(0, 1), made, ctx.scale)
        return *slopes, None, None


def _attend(query: Tensor, key: Tensor, value: Tensor, found: Tensor, scale: float) -> None:
    """Write what one conversation finds into ``found``; all are (heads, tokens, size)."""
    blocks, width = _in_blocks("query", query, len(key)), _width(query.shape[1])
    results = _taken("results", query.dtype, *blocks.shape)
    for at, block in enumerate(blocks):
        end = (at + 1) * width
        weights = _as("weights", _weights(block, _until("key", key, end), scale, width), query.dtype)
        torch.bmm(weights, _as("plain value", _until("value", value, end), query.dtype), out=results[at])
    _out_of_blocks(results, found, len(key))


def _differentiate(
    query: Tensor, key: Tensor, value: Tensor, slope: Tensor, made: tuple[Tensor, ...], scale: float
) -> None:
    """Write into ``made`` the gradients of one conversation's query, key and value; all are (heads, tokens, size)."""
    form, width = query.dtype, _width(query.shape[1])
    queries, slopes = _in_blocks("query", query, len(key)), _in_blocks("slope", slope, len(key))
    plain_queries, plain_slopes = _as("plain query", queries, form), _as("plain slope", slopes, form)
    results = _taken("results", form, *queries.shape)
    sums = (len(key), len(queries) * width, key.shape[2])
    of_keys = _taken("slopes of keys", torch.float32, *sums).zero_()
    of_values = _taken("slopes of values", torch.float32, *sums).zero_()
    for at, block in enumerate(queries):
        end = (at + 1) * width
        product = _taken("product", form, len(key), end, key.shape[2])
        keys = _until("key", key, end)
        weights = _weights(block, keys, scale, width)
        rounded = _as("weights", weights, form)
        of_values[:, :end] += torch.bmm(rounded.mT, plain_slopes[at], out=product)
        scores = _taken("slopes of scores", torch.float32, *weights.shape)
        torch.bmm(slopes[at], _until("value", value, end).mT, out=scores)
        torch._softmax_backward_data(scores, weights, -1, torch.float32, grad_input=scores)
        rounded = _as("weights", scores, form)
        torch.bmm(rounded, _as("plain key", keys, form), out=results[at])
        of_keys[:, :end] += torch.bmm(rounded.mT, plain_queries[at], out=product)
    _out_of_blocks(results.mul_(scale), made[0], len(key))
    made[1].copy_(of_keys[:, : key.shape[1]].mul_(scale))
    made[2].copy_(of_values[:, : key.shape[1]])


def _weights(block: Tensor, keys: Tensor, scale: float, width: int) -> Tensor:
    """Return the float32 attention (kv heads, queries, keys) of a block of the last ``width`` tokens of its keys."""
    end = keys.shape[1]
    scores = _taken("scores", torch.float32, *block.shape[:2], end)
    torch.baddbmm(scores, block, keys.mT, beta=0, alpha=scale, out=scores)
    scores.view(len(keys), -1, width, end)[..., end - width :] += _future(width)
    return torch._softmax(scores, -1, False, out=scores)


@cache
def _future(width: int) -> Tensor:
    """Return what hides from each token those after it."""
    return torch.full((width, width), -torch.inf).triu(1)


def _width(tokens: int) -> int:
    """Return how many queries make a block, for blocks of about one size."""
    count = -(-tokens // BLOCK)
    return -(-tokens // (count * STEP)) * STEP


def _in_blocks(name: str, side: Tensor, shared: int) -> Tensor:
    """Return (blocks, kv heads, heads to each × width, size) in float32 of (heads, tokens, size), zeros at the end."""
    heads, tokens, size = side.shape
    width = _width(tokens)
    whole, rest = divmod(tokens, width)
    blocks = _taken(name, torch.float32, -(-tokens // width), shared, heads // shared, width, size)
    for block, part in _pairs(blocks, side, whole, rest):
        block.copy_(part)
    blocks[whole:, ..., rest:, :] = 0
    return blocks.view(len(blocks), shared, -1, size)


def _out_of_blocks(blocks: Tensor, side: Tensor, shared: int) -> None:
    """Write (blocks, kv heads, heads to each × width, size) back into (heads, tokens, size)."""
    heads, tokens, size = side.shape
    width = _width(tokens)
    for block, part in _pairs(blocks.view(-1, shared, heads // shared, width, size), side, *divmod(tokens, width)):
        part.copy_(block)


def _pairs(blocks: Tensor, side: Tensor, whole: int, rest: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Pair whole blocks, and what is filled of a last one, with where their tokens lie in (heads, tokens, size)."""
    shared, group, width, size = blocks.shape[1:]
    if whole:
        yield blocks[:whole], side[:, : whole * width].view(shared, group, whole, width, size).permute(2, 0, 1, 3, 4)
    if rest:
        yield blocks[whole, ..., :rest, :], side[:, whole * width :].view(shared, group, rest, size)


def _until(name: str, side: Tensor, end: int) -> Tensor:
    """Return the first ``end`` tokens of (heads, tokens, size) in float32, zeros where there are fewer."""
    heads, tokens, size = side.shape
    copied = _taken(name, torch.float32, heads, end, size)
    copied[:, :tokens].copy_(side[:, :end])
    copied[:, tokens:] = 0
    return copied


def _as(name: str, values: Tensor, form: torch.dtype) -> Tensor:
    return values if values.dtype == form else _taken(name, form, *values.shape).copy_(values)


@contextmanager
def _exact_products(form: torch.dtype) -> Iterator[None]:
    """Let float32 numbers that came from bfloat16 be multiplied as such: the products are exact, sums stay float32."""
    if form == torch.float32:
        yield
        return
    matmul: Any = torch.backends.mkldnn.matmul
    usual, matmul.fp32_precision = matmul.fp32_precision, "bf16"
    try:
        yield
    finally:
        matmul.fp32_precision = usual


class _Scratch(threading.local):
    """Memory that is taken again by every call: fresh pages for each would cost as much as a product."""

    def __init__(self) -> None:
        self.held: dict[tuple[str, torch.dtype], Tensor] = {}


_SCRATCH = _Scratch()


def _taken(name: str, form: torch.dtype, *shape: int) -> Tensor:
    """Return scratch memory of a shape, with anything in it, until the same name is taken again."""
    size = prod(shape)
    held = _SCRATCH.held.get((name, form))
    if held is None or len(held) < size:
        with torch.inference_mode(False):
            held = _SCRATCH.held[name, form] = torch.empty(size, dtype=form)
    return held[:size].view(shape)
