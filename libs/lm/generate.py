"""Replies of a base model and of the same model with an adapter, from one load.

Serves the evaluator's before/after samples and whoever asks a trained model something. Imports torch: only for worker
processes. Adapters are rebuilt from our own closed configuration (``adapters.check``); PEFT's loader, which may follow
what a configuration names, is never called, and no remote code is trusted.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from msgspec import Struct
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, GenerationConfig, StoppingCriteria, StoppingCriteriaList

from libs.lm.adapters import WEIGHTS, WHOLE, AdapterConfig, BadAdapter, check
from libs.lm.chat import ChatFormat, Message

Found = TypeVar("Found")


class Reply(Struct, frozen=True):
    """What the model said; ``tokens`` generated, the ending one included; ``finished`` unless cut at the limit."""

    text: str
    tokens: int
    finished: bool


class Loaded:
    """A base model in memory, with or without what was trained on it, and its chat format.

    ``model`` is the tuned one, ``base`` the one it was: two trees of modules that share the base's weights, unless it
    was trained as a whole. So both may be asked at once, each by one thread.
    """

    def __init__(self, model: Any, chat: ChatFormat, base: Any = None) -> None:
        """Take the base alone, or the tuned model and its base, in evaluation mode."""
        self.model = model
        self.chat = chat
        self.base = model if base is None else base

    @contextmanager
    def tuned(self, wanted: bool) -> Iterator[Any]:
        """Give the tuned model, or the base alone; ``BadAdapter`` when there is none to use."""
        if wanted and self.base is self.model:
            raise BadAdapter("The model was loaded without an adapter: there is nothing tuned to ask.")
        with torch.inference_mode():
            yield self.model if wanted else self.base

    def both(self, measure: Callable[[bool], Found]) -> tuple[Found, Found]:
        """Return what ``measure`` finds of the base and of the tuned model (it is told which).

        On a processor of several cores both are measured at once, each on half of them: the many small steps between
        products gain nothing from a second core. Both halves are alike, so equal models find the same.
        """
        threads = torch.get_num_threads()
        if threads < 2 or self.model.device.type != "cpu":
            return measure(False), measure(True)
        half = threads // 2
        with ThreadPoolExecutor(2, initializer=torch.set_num_threads, initargs=(half,)) as pool:
            base, tuned = pool.submit(measure, False), pool.submit(measure, True)
        torch.set_num_threads(threads)
        return base.result(), tuned.result()


def load(model_dir: Path, adapter_dir: Path | None = None, *, dtype: str = "bfloat16", device: str = "cpu") -> Loaded:
    """Load a base model and, when given, one adapter on it, or beside it what the whole base became.

    ``dtype`` is torch's name of the weights' format. ``BadAdapter`` when the adapter is not of our shape, does not fit
    the model, or holds numbers that are none.
    """
    base: Any = AutoModelForCausalLM.from_pretrained(model_dir, dtype=getattr(torch, dtype)).to(device).eval()
    base.get_output_embeddings().register_forward_pre_hook(_contiguous)
    chat = ChatFormat.load(model_dir)
    if adapter_dir is None:
        return Loaded(base, chat)
    if (adapter_dir / WHOLE).is_file():
        return Loaded(become(copy.deepcopy(base), adapter_dir).eval(), chat, base)
    return Loaded(attach(_beside(base), adapter_dir).eval(), chat, base)


def _beside(model: Any) -> Any:
    """Return the same model once more, its modules new and its weights the same ones."""
    weights = (*model.parameters(), *model.buffers())
    return copy.deepcopy(model, {id(each): each for each in weights})


def _contiguous(head: Any, given: tuple[Tensor]) -> tuple[Tensor]:
    """Give the head its rows side by side.

    ``generate`` hands it the last position of several prompts as a view, for which torch copies the whole head once a
    prompt: 3 of 4.7 processor seconds of ten short replies.
    """
    return (given[0].contiguous(),)


def replies(
    loaded: Loaded,
    conversations: Sequence[Sequence[Message]],
    *,
    tuned: bool,
    max_new_tokens: int = 128,
    temperature: float = 0.0,
    seed: int = 0,
    batch: int = 8,
    report: Callable[[float], None] = lambda _: None,
) -> list[Reply]:
    """Continue each conversation with one reply, in the order given.

    Greedy at ``temperature`` 0, else sampled with ``seed`` (the caller's random state is left as it was). Batches of
    ``batch`` conversations of similar length, padded on the left. ``report`` hears after each token what part is made.
    """
    prompts = [loaded.chat.prompt(each) for each in conversations]
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    said: dict[int, Reply] = {}
    with loaded.tuned(tuned) as model, torch.random.fork_rng():
        torch.manual_seed(seed)
        for at in range(0, len(order), batch):
            part = order[at : at + batch]
            heard = _Heard(report, at / len(order), len(part) / len(order) / max_new_tokens)
            ids = _generate(model, loaded.chat, [prompts[index] for index in part], max_new_tokens, temperature, heard)
            said.update(zip(part, (_reply(loaded.chat, each) for each in ids), strict=True))
    return [said[index] for index in range(len(prompts))]


class _Heard(StoppingCriteria):  # type: ignore[no-any-unimported,misc,unused-ignore]
    """Counts the tokens of a batch of replies, and stops nothing."""

    def __init__(self, report: Callable[[float], None], done: float, token: float) -> None:
        self._report = report
        self._done = done
        self._token = token

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:
        self._done += self._token
        self._report(self._done)
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


def _generate(
    model: Any, chat: ChatFormat, prompts: list[list[int]], max_new_tokens: int, temperature: float, heard: _Heard
) -> list[list[int]]:
    width = max(len(each) for each in prompts)
    ids = torch.tensor([[chat.end_token] * (width - len(each)) + each for each in prompts], device=model.device)
    mask = torch.tensor([[0] * (width - len(each)) + [1] * len(each) for each in prompts], device=model.device)
    sampling = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature > 0 else {"do_sample": False}
    settings = GenerationConfig(
        max_new_tokens=max_new_tokens, eos_token_id=chat.end_token, pad_token_id=chat.end_token, **sampling
    )
    generated: Tensor = model.generate(
        input_ids=ids, attention_mask=mask, generation_config=settings, stopping_criteria=StoppingCriteriaList([heard])
    )
    return [list(map(int, each)) for each in generated[:, width:].tolist()]


def _reply(chat: ChatFormat, ids: list[int]) -> Reply:
    finished = chat.end_token in ids
    spoken = ids[: ids.index(chat.end_token)] if finished else ids
    return Reply(chat.text(spoken).strip(), len(spoken) + finished, finished)


def become(model: Any, folder: Path) -> Any:
    """Give a model the weights of what was made of it as a whole; of the folder only they are read.

    ``BadAdapter`` when they do not fit, or hold numbers that are none.
    """
    weights = _finite(load_file(folder / WHOLE))
    tied = {"lm_head.weight"} if model.config.tie_word_embeddings else set()
    shapes = {name: tuple(each.shape) for name, each in model.state_dict().items() if name not in tied}
    _same({name: tuple(each.shape) for name, each in weights.items()}, shapes)
    model.load_state_dict(weights, strict=not tied)
    return model


def attach(model: Any, folder: Path, name: str = "default") -> Any:
    """Put an adapter on a model, beside those that are on it already; return the model with its adapters.

    The adapter takes the model's number format, in which training multiplied it too (autocast): PEFT's default, float32
    beside bfloat16, casts back and forth at every layer. ``BadAdapter`` leaves the model as it was.
    """
    from peft import LoraConfig, PeftModel, get_peft_model, set_peft_model_state_dict

    config = check(folder)
    weights = _finite(load_file(folder / WEIGHTS))
    _same({key: tuple(tensor.shape) for key, tensor in weights.items()}, _wanted(model, config))
    settings = LoraConfig(**_fields(config))
    if isinstance(model, PeftModel):
        model.add_adapter(name, settings, autocast_adapter_dtype=False)
    else:
        model = get_peft_model(model, settings, adapter_name=name, autocast_adapter_dtype=False)
    set_peft_model_state_dict(model, weights, adapter_name=name)
    return model


def _wanted(model: Any, config: AdapterConfig) -> dict[str, tuple[int, ...]]:
    """Return the tensors that an adapter of this configuration has for this model, by name, with their shapes."""
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    shapes: dict[str, tuple[int, ...]] = {}
    for name, module in causal.named_modules():
        if name.rsplit(".", 1)[-1] in config.target_modules:
            inputs, outputs = _sides(module)
            shapes[f"base_model.model.{name}.lora_A.weight"] = (config.r, inputs)
            shapes[f"base_model.model.{name}.lora_B.weight"] = (outputs, config.r)
    return shapes


def _sides(module: Any) -> tuple[int, int]:
    """Return how many numbers go into a linear layer and come out; GPT-2 keeps its weights the other way round."""
    return (module.nx, module.nf) if hasattr(module, "nf") else (module.in_features, module.out_features)


def _fields(config: AdapterConfig) -> dict[str, Any]:
    return {
        "r": config.r,
        "lora_alpha": config.lora_alpha,
        "lora_dropout": config.lora_dropout,
        "target_modules": list(config.target_modules),
        "task_type": config.task_type,
        "inference_mode": True,
    }


def _finite(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    wrong = next((name for name, tensor in weights.items() if not torch.isfinite(tensor).all()), None)
    if wrong is not None:
        raise BadAdapter(f"{wrong} holds numbers that are none (NaN or infinite): the adapter is damaged.")
    return weights


def _same(given: dict[str, tuple[int, ...]], wanted: dict[str, tuple[int, ...]]) -> None:
    wrong = next((name for name in sorted(wanted | given) if wanted.get(name) != given.get(name)), None)
    if wrong is not None:
        raise BadAdapter(f"{wrong} is {given.get(wrong)} in the adapter and {wanted.get(wrong)} in the base model.")
