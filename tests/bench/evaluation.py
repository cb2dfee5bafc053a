"""An evaluation against the same one made one by one: ``python -m tests.bench.evaluation [--rounds 3] [--whole]``.

Four contenders take turns in one process, on two loads of the shipped model with one LoRA of rank 16: one by one in
float32 and in bfloat16, ours in both. One by one is what a careful script does: base and tuned from one load, no
gradients, one conversation, one answer of a question or one reply after the other, the vocabulary projected only for
an answer's own tokens. ``--whole`` is a default evaluation (12 conversations, 100 questions, 10 pairs of 96 tokens),
the short one about an eighth. In float32 both must find the same. Threads wait as OpenMP's default has it, spinning,
which suits the many small products of one by one; beside other work set ``OMP_WAIT_POLICY=PASSIVE`` for all.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch
from msgspec import Struct
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy
from transformers import AutoConfig, AutoModelForCausalLM

from contracts.recipes import SHIPPED_MODEL
from libs.embedded.home import Home
from libs.lm.adapters import TARGETS, WEIGHTS, AdapterConfig, write_config
from libs.lm.generate import Loaded, load
from services.evaluator.domain.owed import opening
from services.evaluator.scoring import knowledge, measure
from services.evaluator.scoring.held_out import Conversation
from services.evaluator.scoring.shapes import BATCH_TOKENS, Question
from tests.bench import figures

SAMPLE = Path(__file__).resolve().parents[2] / "libs" / "samples" / "conversations.jsonl"
RANK = 16
LONGEST = 2048
PARTS = ("held out", "knowledge", "replies")

Found = list[Any]


class Work(Struct, frozen=True):
    """What is measured, and how long replies may be."""

    conversations: list[Conversation]
    questions: list[Question]
    replies: int
    reply_tokens: int


class Contender(Struct, frozen=True):
    """One way to measure: its name, its load of the model, and its three parts."""

    name: str
    loaded: Loaded
    parts: tuple[Callable[[Loaded, Work], Found], ...]


def adapter(base: Path, folder: Path) -> Path:
    """Write a LoRA that changes the shipped model a little, everywhere."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(base))
    chance = torch.Generator().manual_seed(5)
    weights = {}
    for name, layer in model.named_modules():
        if name.rsplit(".", 1)[-1] in TARGETS:
            a, b = (RANK, layer.in_features), (layer.out_features, RANK)
            weights[f"base_model.model.{name}.lora_A.weight"] = torch.randn(a, generator=chance) * a[1] ** -0.5
            weights[f"base_model.model.{name}.lora_B.weight"] = torch.randn(b, generator=chance) * 0.005
    save_file(weights, folder / WEIGHTS)
    write_config(folder, AdapterConfig(base_model_name_or_path=SHIPPED_MODEL, r=RANK, lora_alpha=2 * RANK))
    return folder


def plain_held_out(loaded: Loaded, work: Work) -> Found:
    """Sum the losses of each conversation's taught tokens, for both models."""
    found = []
    for each in work.conversations:
        encoded = loaded.chat.encode(each.messages, LONGEST)
        ids, labels = torch.tensor([encoded.ids]), torch.tensor(encoded.labels)
        for tuned in (False, True):
            with loaded.tuned(tuned) as model:
                logits = model(input_ids=ids, use_cache=False).logits[0, :-1]
                found.append(float(cross_entropy(logits.float(), labels[1:], reduction="sum")))
    return found


def plain_knowledge(loaded: Loaded, work: Work) -> Found:
    """Read each answer after its question; return the likeliest of each question, for both models."""
    found = []
    for each in work.questions:
        asked = loaded.chat.prompt([{"role": "user", "content": each.question}])
        for tuned in (False, True):
            scores = [_mean(loaded, asked, loaded.chat.plain(choice), tuned) for choice in each.choices]
            found.append(scores.index(max(scores)))
    return found


def _mean(loaded: Loaded, asked: list[int], answer: list[int], tuned: bool) -> float:
    with loaded.tuned(tuned) as model:
        said = model(input_ids=torch.tensor([asked + answer]), use_cache=False, logits_to_keep=len(answer) + 1)
        return -float(cross_entropy(said.logits[0, :-1].float(), torch.tensor(answer)))


def plain_replies(loaded: Loaded, work: Work) -> Found:
    """Let both models answer one opening after the other, greedily."""
    chat = loaded.chat
    found = []
    for each in work.conversations[: work.replies]:
        ids = torch.tensor([chat.prompt(opening(each.messages)[0])])
        for tuned in (False, True):
            with loaded.tuned(tuned) as model:
                said = model.generate(
                    input_ids=ids,
                    attention_mask=torch.ones_like(ids),
                    max_new_tokens=work.reply_tokens,
                    do_sample=False,
                    eos_token_id=chat.end_token,
                    pad_token_id=chat.end_token,
                )
            found.append(chat.text(said[0, ids.shape[1] :].tolist()).strip())
    return found


def our_held_out(loaded: Loaded, work: Work) -> Found:
    """Measure the same as an evaluation does."""
    found = measure.likelihoods(loaded, work.conversations, LONGEST, BATCH_TOKENS, _quiet)
    return [figure for each in found for figure in (each.base, each.tuned)]


def our_knowledge(loaded: Loaded, work: Work) -> Found:
    """Put the same questions as an evaluation does."""
    found = measure.knowledge(loaded, work.questions, BATCH_TOKENS, _quiet)
    return [choice for each in found for choice in (each.base, each.tuned)]


def our_replies(loaded: Loaded, work: Work) -> Found:
    """Make the same replies as an evaluation does."""
    found = measure.pairs(loaded, work.conversations, work.replies, work.reply_tokens, BATCH_TOKENS, _quiet)
    return [text for each in found for text in (each.base, each.tuned)]


def _quiet(done: int, total: int) -> None:
    """Hear of progress and say nothing."""


PLAIN = (plain_held_out, plain_knowledge, plain_replies)
OURS = (our_held_out, our_knowledge, our_replies)


def contenders(base: Path, folder: Path) -> list[Contender]:
    """Load the model with its adapter in both precisions."""
    exact, fast = (load(base, folder, dtype=dtype) for dtype in ("float32", "bfloat16"))
    return [
        Contender("one by one, float32", exact, PLAIN),
        Contender("Woodshed, float32", exact, OURS),
        Contender("one by one, bfloat16", fast, PLAIN),
        Contender("Woodshed, bfloat16", fast, OURS),
    ]


def compare(everybody: list[Contender], work: Work, rounds: int) -> tuple[dict[str, list[list[float]]], list[str]]:
    """Let everybody take turns; return the seconds of each part by round, and what float32 disagrees about."""
    seconds: dict[str, list[list[float]]] = {each.name: [] for each in everybody}
    found: dict[str, list[Found]] = {}
    for number in range(rounds):
        for each in everybody:
            times, found[each.name] = [], []
            for part in each.parts:
                began = time.perf_counter()
                found[each.name].append(part(each.loaded, work))
                times.append(time.perf_counter() - began)
            seconds[each.name].append(times)
            print(f"round {number + 1}  {each.name:22} {sum(times):7.1f} s", flush=True)
    return seconds, differences(*(found[each.name] for each in everybody[:2]))


def differences(plain: list[Found], ours: list[Found]) -> list[str]:
    """Say where two measurements in float32 part: sums of losses by more than 0.01 %, answers and replies at all."""
    far = [abs(ours - plain) > 1e-4 * plain for plain, ours in zip(plain[0], ours[0], strict=True)]
    apart = [
        [one != other for one, other in zip(plain[part], ours[part], strict=True)] for part in range(1, len(PARTS))
    ]
    return [f"{name}: {sum(each)} of {len(each)} differ" for name, each in zip(PARTS, [far, *apart], strict=True)]


def table(seconds: dict[str, list[list[float]]]) -> str:
    """Return medians, spread, and ratios to one by one in float32 and in the same precision, in Markdown."""
    totals = {name: [sum(times) for times in rounds] for name, rounds in seconds.items()}
    middle = {name: statistics.median(each) for name, each in totals.items()}
    rows = [f"| | {' | '.join(PARTS)} | all, seconds (least–most) | × one by one, float32 | × in its own precision |"]
    rows.append("|---|---|---|---|---|---|---|")
    for name, rounds in seconds.items():
        parts = " | ".join(f"{statistics.median(times):.1f}" for times in zip(*rounds, strict=True))
        own = middle[f"one by one, {name.split(', ')[1]}"] / middle[name]
        spread = f"{middle[name]:.1f} ({min(totals[name]):.1f}–{max(totals[name]):.1f})"
        rows.append(f"| {name} | {parts} | {spread} | {middle['one by one, float32'] / middle[name]:.2f} | {own:.2f} |")
    return "\n".join(rows)


def note(seconds: dict[str, list[list[float]]]) -> None:
    """Keep how many times as fast as one by one in float32 an evaluation is, round by round."""
    plain = [sum(times) for times in seconds["one by one, float32"]]
    for precision, goal in (("float32", 1.15), ("bfloat16", 2.5)):
        ours = [sum(times) for times in seconds[f"Woodshed, {precision}"]]
        ratios = [slow / fast for slow, fast in zip(plain, ours, strict=True)]
        figures.note("evaluation", f"{precision} against one by one", ratios, "×", goal=goal)


def work_of(whole: bool) -> Work:
    """Return a default evaluation of the samples, or about an eighth of it."""
    rows = [json.loads(line) for line in SAMPLE.read_text(encoding="utf-8").splitlines()]
    talks = [Conversation(row["metadata"]["id"], row["messages"]) for row in rows]
    questions = knowledge.load(knowledge.SUITE)
    return Work(talks[:12], questions, 10, 96) if whole else Work(talks[:2], questions[::8], 2, 24)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--whole", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(psutil.cpu_count() or 2)
    base = Home.default().models / SHIPPED_MODEL
    with tempfile.TemporaryDirectory() as folder:
        everybody = contenders(base, adapter(base, Path(folder)))
    seconds, parted = compare(everybody, work_of(asked.whole), asked.rounds)
    note(seconds)
    print(f"\n{table(seconds)}\n\nfloat32, ours against one by one: {'; '.join(parted)}")


if __name__ == "__main__":
    main()
