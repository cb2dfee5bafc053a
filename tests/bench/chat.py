"""First token and tokens a second of a chat, beside plain transformers with the same adapter, in one run.

    python -m tests.bench.chat [--tokens 64] [--rounds 5] [--threads 2]

The shipped model with a LoRA of rank 16 answers greedily. Contenders take turns: transformers + PEFT as their
documentation shows them (``generate`` with a streamer), our answering process with transformers and with llama.cpp
(what the evaluator chooses here), then llama.cpp with eight conversations at once, over one adapter, over three, over
three and over one again, so that a machine that grows slower or faster meanwhile favours neither; then plain and
llama.cpp with a session's next turn, whose first turn was answered before. No two sessions begin alike. Plain
transformers waits as OpenMP does where nobody says otherwise, spinning, with which it is almost twice as fast as with
threads that sleep at once; our process waits as an installation's does. A round that is not counted warms everybody up.

Prints one JSON line for each contender: medians with the least and the most; ``first_ms`` is from the question to the
first text (of eight, their mean), ``tokens_per_second`` counts what comes after it, ``tokens_per_second_in_all`` every
token from the question to the last one. Of a crowd ``tokens_per_second`` holds all conversations' later tokens against
the time from first to last text of the one that took longest, in which others' prompts are read too, more of them or
fewer by chance. ``first_of_plain`` and ``speed_of_plain`` are the rounds' ratios to transformers' figures,
``three_of_one_in_all`` and ``three_of_one`` those of eight sessions over three adapters to eight over one, by all
tokens and by the later ones. Eight people wait for the first of the two; at the beginning there was only the second.
"""

import argparse
import asyncio
import itertools
import json
import os
import statistics
import tempfile
import threading
import time
from contextlib import aclosing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors.numpy import save_file

from contracts.chat import AskChat, Turn
from contracts.recipes import SHIPPED_MODEL
from libs.embedded.home import Home
from libs.lm.adapters import TARGETS, WEIGHTS, AdapterConfig, write_config
from libs.storage import Storage
from services.evaluator.asking import Asker
from services.evaluator.settings import Settings
from tests.bench import figures

PROMPT = "I have 3,000 in debt on two cards, a steady job and no savings, and I feel ashamed of it. " * 3
CROWD = 8
ADAPTERS = 3
_asked = itertools.count(100)
RANK = 16
ONE, THREE = "llama.cpp, eight on one", "llama.cpp, eight on three"
CONTENDERS = ("plain", "transformers", "llama.cpp", ONE, THREE, "plain, next turn", "llama.cpp, next turn")


class Timed(NamedTuple):
    """When the first text came after the question, and how many tokens came how long after it, in seconds.

    ``whole`` tokens are the reply, and ``took`` seconds all of it.
    """

    first: float
    tokens: int
    rest: float
    whole: int
    took: float

    @property
    def speed(self) -> float:
        """Tokens a second after the first."""
        return self.tokens / self.rest

    @property
    def speed_in_all(self) -> float:
        """Tokens a second from the question on."""
        return self.whole / self.took

    def and_then(self, other: "Timed") -> "Timed":
        """Return both after each other as if they were one; the first text comes after their mean."""
        first = (self.first + other.first) / 2
        return Timed(first, *(one + more for one, more in zip(self[1:], other[1:], strict=True)))


def adapter(base: Path, folder: Path, seed: int) -> Path:
    """Write a LoRA that changes replies a little; speed does not depend on its numbers."""
    config = json.loads((base / "config.json").read_text())
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    keys = config["num_key_value_heads"] * hidden // config["num_attention_heads"]
    sizes = {"q": (hidden, hidden), "k": (hidden, keys), "v": (hidden, keys), "o": (hidden, hidden)}
    sizes |= {"gate": (hidden, inner), "up": (hidden, inner), "down": (inner, hidden)}
    chance, weights = np.random.default_rng(seed), {}
    for layer in range(config["num_hidden_layers"]):
        for target in TARGETS:
            inputs, outputs = sizes[target.split("_")[0]]
            part = "mlp" if inner in (inputs, outputs) else "self_attn"
            name = f"base_model.model.model.layers.{layer}.{part}.{target}"
            weights[f"{name}.lora_A.weight"] = chance.normal(0, 0.01, (RANK, inputs)).astype(np.float32)
            weights[f"{name}.lora_B.weight"] = chance.normal(0, 0.01, (outputs, RANK)).astype(np.float32)
    folder.mkdir()
    save_file(weights, folder / WEIGHTS)
    write_config(folder, AdapterConfig(base_model_name_or_path=SHIPPED_MODEL, r=RANK, lora_alpha=2 * RANK))
    return folder


def opening() -> list[Turn]:
    """Return a first question that begins as no other did: what was read of one helps with none."""
    return [Turn("user", f"{next(_asked)} is my number. {PROMPT}")]


def session() -> tuple[list[Turn], list[Turn]]:
    """Return the questions of two turns of a longer session."""
    first = [Turn("system", f"{next(_asked)} is your number. {PROMPT * 3}"), *opening()]
    return first, [*first, Turn("assistant", "Thank you for telling me. " * 8), Turn("user", "And what comes then?")]


class Plain:
    """transformers + PEFT, as their documentation shows them."""

    def __init__(self, base: Path, folder: Path, threads: int) -> None:
        import torch
        from peft import PeftModel
        from transformers import AutoModelForCausalLM, AutoTokenizer

        from services.evaluator.scoring.machine import precision_for

        torch.set_num_threads(threads)
        dtype = getattr(torch, precision_for("auto", "cpu"))
        self.tokenizer: Any = AutoTokenizer.from_pretrained(base)
        model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=dtype)
        self.model: Any = PeftModel.from_pretrained(model, folder).eval()

    def reply(self, tokens: int, said: list[Turn]) -> Timed:
        from transformers import TextIteratorStreamer

        asked = [{"role": each.role, "content": each.content} for each in said]
        began = time.perf_counter()
        given = self.tokenizer.apply_chat_template(
            asked, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        streamer = TextIteratorStreamer(self.tokenizer, skip_prompt=True)
        length = {"max_new_tokens": tokens, "min_new_tokens": tokens}
        options = {**given, **length, "do_sample": False, "streamer": streamer}
        speaking = threading.Thread(target=self.model.generate, kwargs=options)
        speaking.start()
        first = 0.0
        for text in streamer:
            first = first or (time.perf_counter() if text else 0.0)
        speaking.join()
        ended = time.perf_counter()
        return Timed(first - began, tokens - 1, ended - first, tokens, ended - began)


class Ours:
    """The answering process, asked as the evaluator asks it."""

    def __init__(self, base: Path, folders: list[Path], threads: int, engine: str) -> None:
        settings = Settings(
            models_dir=str(base.parent),
            data_dir=str(folders[0].parent),
            threads=threads,
            engine=engine,
            nats_password="-",
            database_url="-",
        )
        self.asker = Asker(settings, Storage.open(f"file://{base.parent}"))
        self.base = base
        self.folders = folders

    async def crowd(self, tokens: int, adapters: int) -> Timed:
        on = itertools.islice(itertools.cycle(self.folders[:adapters]), CROWD)
        began = time.perf_counter()
        found = await asyncio.gather(*(self.reply(tokens, opening(), folder) for folder in on))
        took = time.perf_counter() - began
        first = statistics.mean(each.first for each in found)
        later, whole = sum(each.tokens for each in found), sum(each.whole for each in found)
        return Timed(first, later, max(each.rest for each in found), whole, took)

    async def crowds(self, tokens: int) -> tuple[Timed, Timed]:
        """Return eight over one adapter and over three, each twice: one, three, three, one."""
        one, three = await self.crowd(tokens, 1), await self.crowd(tokens, ADAPTERS)
        three = three.and_then(await self.crowd(tokens, ADAPTERS))
        return one.and_then(await self.crowd(tokens, 1)), three

    async def reply(self, tokens: int, said: list[Turn], folder: Path) -> Timed:
        question = AskChat(
            tenant="acme",
            base_model=SHIPPED_MODEL,
            messages=tuple(said),
            max_tokens=tokens,
            temperature=0.0,
        )
        began, first, at_first, spoken = time.perf_counter(), 0.0, 0, 0
        async with aclosing(self.asker.talk(question, str(self.base), str(folder))) as pieces:
            async for piece in pieces:
                spoken = piece.completion_tokens
                if piece.text and not first:
                    first, at_first = time.perf_counter(), spoken
        ended = time.perf_counter()
        return Timed(first - began, spoken - at_first, ended - first, spoken, ended - began)


async def bench(tokens: int, rounds: int, threads: int) -> None:
    base = Home.default().models / SHIPPED_MODEL
    with tempfile.TemporaryDirectory(prefix="woodshed-bench-") as name:
        folders = [adapter(base, Path(name) / f"coach-{seed}", seed) for seed in range(ADAPTERS)]
        plain = Plain(base, folders[0], threads)
        slow, ours = (Ours(base, folders, threads, each) for each in ("transformers", "llama.cpp"))
        leaving = [asyncio.create_task(each.asker.run()) for each in (slow, ours)]
        found: dict[str, list[Timed]] = {each: [] for each in CONTENDERS}
        try:
            for number in range(rounds + 1):
                before, then = session()
                await ours.reply(1, before, folders[0])
                timed = (
                    plain.reply(tokens, opening()),
                    await slow.reply(tokens, opening(), folders[0]),
                    await ours.reply(tokens, opening(), folders[0]),
                    *(await ours.crowds(tokens // 2)),
                    plain.reply(8, then),
                    await ours.reply(8, then, folders[0]),
                )
                if number:
                    for each, times in zip(timed, found.values(), strict=True):
                        times.append(each)
        finally:
            for each in leaving:
                each.cancel()
            await asyncio.gather(*leaving, return_exceptions=True)
    for who, times in found.items():
        beside = found["plain, next turn" if "next" in who else "plain"]
        print(json.dumps({"who": who} | _figures(times, beside)))
    crowds = list(zip(found[ONE], found[THREE], strict=True))
    later = [three.speed / one.speed for one, three in crowds]
    in_all = [three.speed_in_all / one.speed_in_all for one, three in crowds]
    print(json.dumps({"three_of_one_in_all": _spread(in_all, 2), "three_of_one": _spread(later, 2)}))
    beside = [each.speed / plain.speed for each, plain in zip(found["llama.cpp"], found["plain"], strict=True)]
    figures.note("chat", "tokens a second beside transformers + PEFT", beside, "×", goal=4)
    figures.note("chat", "eight sessions on three adapters beside one", in_all, "×", goal=0.8)
    print(json.dumps({"tokens": tokens, "threads": threads, "cpus": os.cpu_count(), "load": os.getloadavg()[0]}))


def _figures(times: list[Timed], plain: list[Timed]) -> dict[str, list[float]]:
    return {
        "first_ms": _spread([1000 * each.first for each in times]),
        "tokens_per_second": _spread([each.speed for each in times]),
        "tokens_per_second_in_all": _spread([each.speed_in_all for each in times]),
        "first_of_plain": _spread([each.first / beside.first for each, beside in zip(times, plain, strict=True)], 2),
        "speed_of_plain": _spread([each.speed / beside.speed for each, beside in zip(times, plain, strict=True)], 2),
    }


def _spread(values: list[float], digits: int = 1) -> list[float]:
    return [round(each, digits) for each in (statistics.median(values), min(values), max(values))]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    asyncio.run(bench(asked.tokens, asked.rounds, asked.threads))


if __name__ == "__main__":
    main()
