"""The chat engine and the trained adapter answer the same prompts: what the release gate decides on.

The fastest engine speaks first and leaves memory before the evaluation loads the adapter its own way. Where it is
transformers, the reference is transformers' own greedy ``generate``: both read a prompt in the same blocks and go on
token by token, so on one machine in one precision their arithmetic is the same. Any other engine is followed by the
adapter in float32, token by token of what it said; where it says something else, the next engine is tried.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import GenerationConfig

from contracts.evaluations import Engine
from libs.lm.generate import Loaded, load
from services.evaluator.domain.engines import TRANSFORMERS
from services.evaluator.domain.recalling import BLOCK
from services.evaluator.domain.serving import Compared, Step, compare
from services.evaluator.scoring.shapes import ScoringSpec
from services.evaluator.scoring.speaking import REPLY_TOKENS, Served


def compared(spec: ScoringSpec, loaded: Loaded, precision: str, engine: Engine, served: Sequence[Served]) -> Compared:
    """Let the adapter, loaded as the evaluation loads it in ``precision``, answer the same prompts, and compare.

    Engines with an arithmetic of their own are held against float32.
    """
    if engine == TRANSFORMERS:
        return compare([_steps(each, _trained(loaded, each)) for each in served], precision)
    exact = loaded if precision == "float32" else load(Path(spec.base), Path(spec.adapter), dtype="float32")
    return compare([_steps(each, _followed(exact, each)) for each in served], "float32", engine)


def _steps(served: Served, trained: Sequence[torch.Tensor]) -> list[Step]:
    """Compare one reply up to the first token on which both part; the engine may tell no figure for an ending one."""
    steps = []
    for token, logprob, logs in zip(served.tokens, [*served.logprobs, None], trained, strict=False):
        best, known = int(logs.argmax()), float(logs[token])
        steps.append(Step(served=known if logprob is None else logprob, trained=known, best=float(logs[best])))
        if best != token:
            break
    return steps


def _followed(loaded: Loaded, served: Served) -> list[torch.Tensor]:
    """Return what the adapter would say after the prompt, and after each token that the engine said."""
    if not served.tokens:
        return []
    with loaded.tuned(True) as model:
        ids = torch.tensor([[*served.prompt, *served.tokens[:-1]]], device=model.device)
        made = model(input_ids=ids, logits_to_keep=len(served.tokens))
    return [logits.float().log_softmax(-1) for logits in made.logits[0]]


def _trained(loaded: Loaded, served: Served) -> list[torch.Tensor]:
    end = loaded.chat.end_token
    settings = GenerationConfig(
        max_new_tokens=REPLY_TOKENS,
        do_sample=False,
        eos_token_id=end,
        pad_token_id=end,
        prefill_chunk_size=BLOCK,
        return_dict_in_generate=True,
        output_logits=True,
    )
    with loaded.tuned(True) as model:
        ids = torch.tensor([served.prompt], device=model.device)
        made = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=settings)
    return [logits[0].float().log_softmax(-1) for logits in made.logits]
