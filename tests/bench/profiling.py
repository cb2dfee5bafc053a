"""Where every second and megabyte of one job goes: ``python -m tests.bench.profiling [--write]``.

Three looks, in one run, beside what the machine can do at most (``limits``): a job on a fresh platform by its facts,
from submitting to the report; a step of training by kinds of operation; memory, of the idle platform by program and of
the training process as it grows. ``--write`` makes ``docs/explanation/profile.md`` of them; without it the page is
printed. ``--only steps`` leaves the platform out.
"""

import argparse
import asyncio
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from contracts.recipes import SHIPPED_MODEL, Recipe
from tests.bench import limits
from tests.bench.training import EXAMPLES, ROOT, THREADS, conversations

PAGE = ROOT / "docs" / "explanation" / "profile.md"
STEPS = 3
LEAST_SHOWN = 0.005
KINDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("matrix products", ("aten::mm", "aten::addmm", "aten::bmm", "mkldnn::", "aten::_addmm", "aten::linear")),
    ("attention", ("aten::_scaled_dot_product", "aten::_flash_attention")),
    ("masks of dropout", ("aten::random_", "aten::bitwise_", "aten::__rshift__", "aten::threshold_backward")),
    ("loss: softmax and choice", ("aten::_softmax", "aten::amax", "aten::argmax", "aten::gather", "aten::scatter")),
    ("copies and changes of number format", ("aten::copy_", "aten::cat", "aten::clone", "aten::fill_", "aten::zero_")),
    ("optimiser and clipping", ("aten::_fused_adamw", "aten::_foreach", "aten::linalg_vector_norm")),
    ("norms, gates, rotations, sums: element by element", ("aten::",)),
)
"""By the beginning of the operation's name; the first that fits."""


def inside() -> dict[str, Any]:
    """Train some steps in this process and say what they took; nothing heavy may have been imported before."""
    sys.modules["bitsandbytes"] = None  # type: ignore[assignment]  # the child hides it too
    grown = [("Python and our own modules", _rss())]
    import torch

    grown.append(("torch", _rss()))
    from libs.embedded.home import Home
    from libs.lm.chat import ChatFormat
    from services.trainer.training import model as models
    from services.trainer.training import tuner as _  # noqa: F401  # what the child imports: transformers, PEFT, TRL
    from services.trainer.training.data import pack, read_split
    from services.trainer.training.hardware import CPU_TOKENS, dtype_for

    grown.append(("transformers, PEFT and TRL", _rss()))
    torch.set_num_threads(THREADS)
    folder = Home.default().models / SHIPPED_MODEL
    recipe = Recipe(base_model=SHIPPED_MODEL, batch_size=EXAMPLES)
    model = models.load(folder, recipe, dtype_for("cpu"), "cpu")
    grown.append(("the base model in bfloat16 and the LoRA", _rss()))
    with tempfile.TemporaryDirectory() as temporary:
        split = read_split(conversations(Path(temporary) / "t.parquet"), ChatFormat.load(folder), recipe.max_length)
    trained = [each for each in model.parameters() if each.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=1e-5, fused=True)
    batches = [pack(split.examples[at * EXAMPLES : (at + 1) * EXAMPLES], CPU_TOKENS) for at in range(STEPS + 2)]
    times: dict[str, float] = defaultdict(float)
    model.train()
    _step(model, optimiser, trained, batches[0], defaultdict(float))
    grown.append(("the first step: activations, gradients, moments (peak)", _peak()))
    for rows in batches[1:-1]:
        _step(model, optimiser, trained, rows, times)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], with_flops=True) as watched:
        began = time.perf_counter()
        _step(model, optimiser, trained, batches[-1], defaultdict(float))
        seconds = time.perf_counter() - began
    tokens = sum(len(row.ids) for rows in batches[1:-1] for row in rows)
    return {
        "grown": grown,
        "phases": {name: taken / STEPS for name, taken in times.items()},
        "tokens": tokens / STEPS,
        "taught": sum(row.taught for rows in batches[1:-1] for row in rows) / STEPS,
        "profiled": _kinds(watched, seconds),
        "profiled_tokens": sum(len(row.ids) for row in batches[-1]),
    }


def _step(model: Any, optimiser: Any, trained: Sequence[Any], rows: Sequence[Any], times: dict[str, float]) -> None:
    """Do what ``Tuner.training_step`` and the Trainer around it do with a step's rows."""
    import torch

    units = sum(row.taught for row in rows)
    for row in rows:
        total = _timed(times, "forward", lambda row=row: model.row_loss(row)[0])
        _timed(times, "backward", (total / units).backward)
    _timed(times, "clipping", lambda: torch.nn.utils.clip_grad_norm_(trained, 1.0))
    _timed(times, "optimiser", optimiser.step)
    optimiser.zero_grad()


def _timed(times: dict[str, float], name: str, work: Callable[[], Any]) -> Any:
    began = time.perf_counter()
    found = work()
    times[name] += time.perf_counter() - began
    return found


def _kinds(watched: Any, seconds: float) -> list[dict[str, Any]]:
    """Group a profile by kinds of operation; what no operation accounts for is Python's."""
    taken: dict[str, list[float]] = {name: [0.0, 0.0] for name, _ in KINDS}
    for each in watched.key_averages():
        kind = next((name for name, begins in KINDS if each.key.startswith(begins)), None)
        if kind:
            taken[kind][0] += each.self_cpu_time_total / 1e6
            taken[kind][1] += each.flops
    rest = seconds - sum(each[0] for each in taken.values())
    taken["between operations: Python, autograd, profiling itself"] = [max(rest, 0.0), 0.0]
    return [{"kind": name, "seconds": spent, "flop": flop} for name, (spent, flop) in taken.items()]


def _rss() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


async def job() -> tuple[list[tuple[str, float]], dict[str, float]]:
    """Return what one job on a fresh platform told, with seconds after its submission, and the idle platform's MB."""
    from deploy.up import platform_up
    from libs.embedded.home import Home
    from services.cli.access import Access
    from services.cli.client import Api
    from tests.bench.overhead import idle_memory, sample, told

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        folder.chmod(0o755)
        async with platform_up(Home(folder / "home"), 0) as running:
            await asyncio.sleep(10)
            memory = idle_memory(running)
            async with Api(Access(running.url, running.key)) as api:
                heard = await told(api, sample(folder), until="evaluation.report_ready.v1")
    began = next(datetime.fromisoformat(fact["at"]) for kind, fact in heard if kind == "job.submitted.v1")
    facts, seen = [], set()
    for kind, fact in heard:
        name = f"{kind.removesuffix('.v1')} {fact.get('stage', '')}".strip()
        if "progressed" in kind and kind in seen:
            continue
        seen.add(kind)
        facts.append((name, (datetime.fromisoformat(fact["at"]) - began).total_seconds()))
    return facts, memory


def page(most: dict[str, float], found: dict[str, Any], told: tuple[list[tuple[str, float]], dict[str, float]]) -> str:
    """Write the page."""
    return "\n\n".join(
        [
            "# Profile of one job: where every second and megabyte goes",
            f"Made by `python -m tests.bench.profiling --write` on {datetime.now(UTC):%d %B %Y}: {THREADS} threads, "
            f"{_cpu()}, load {os.getloadavg()[0]:.1f} at the end. One run, so single seconds move by a tenth from run "
            "to run; the benchmarks with their spread are in [benchmarks](../reference/benchmarks.md).",
            "## What the machine can do at most",
            _limits(most),
            *(_job(told[0]) if told[0] else []),
            "## A step of training",
            _step_words(most, found),
            _step_table(most, found),
            "Number formats change where norms and LoRA's float32 masters stand beside products in bfloat16. Where "
            "attention is computed in blocks, its products count among the others.",
            "## Where the megabytes go",
            "The training process, resident memory as it grows:",
            _growth(found["grown"]),
            *(["The idle platform, proportional set size by program:", _programs(told[1])] if told[1] else []),
        ]
    )


def _limits(most: dict[str, float]) -> str:
    rows = ["| | at most |", "|---|---|"]
    rows += [f"| products of 2,048³ in {name} | {most[f'flops_{name}'] / 1e12:.2f} TFLOP/s |" for name in
             ("bfloat16", "float32")]  # fmt: skip
    rows += [f"| memory, {name} | {most[f'{name}_bytes'] / 1e9:.1f} GB/s |" for name in ("read", "copy")]
    return "\n".join(rows)


def _job(facts: list[tuple[str, float]]) -> list[str]:
    rows = ["| told | seconds after submitting | since the line before |", "|---|---|---|"]
    before = 0.0
    for name, at in facts:
        rows.append(f"| {name} | {at:.2f} | {at - before:.2f} |")
        before = at
    return [
        "## One job by its facts",
        "48 conversations, four to a step, one pass, on a platform that was started ten seconds before; of repeated "
        "measurements the first stands here.",
        "\n".join(rows),
    ]


def _step_words(most: dict[str, float], found: dict[str, Any]) -> str:
    phases = found["phases"]
    seconds = sum(phases.values())
    parts = ", ".join(f"{name} {taken:.2f} s ({taken / seconds:.0%})" for name, taken in phases.items())
    return (
        f"{EXAMPLES} conversations, {found['tokens']:.0f} tokens of which {found['taught']:.0f} are taught, mean of "
        f"{STEPS} steps: {seconds:.2f} s, {found['tokens'] / seconds:.0f} tokens/s; {parts}. One more step under the "
        "profiler, by kinds of operation:"
    )


def _step_table(most: dict[str, float], found: dict[str, Any]) -> str:
    whole = sum(each["seconds"] for each in found["profiled"])
    rows = ["| | seconds | share | beside the limit |", "|---|---|---|---|"]
    for each in sorted(found["profiled"], key=lambda each: -each["seconds"]):
        if each["seconds"] < LEAST_SHOWN:
            continue
        rate = each["flop"] / each["seconds"] if each["seconds"] else 0.0
        share = rate / most["flops_bfloat16"]
        beside = f"{rate / 1e12:.2f} TFLOP/s, {share:.0%} of the products'" if rate > 1e10 else ""
        rows.append(f"| {each['kind']} | {each['seconds']:.2f} | {each['seconds'] / whole:.0%} | {beside} |")
    flop = sum(each["flop"] for each in found["profiled"])
    share = flop / whole / most["flops_bfloat16"]
    return "\n".join([*rows, f"| the step | {whole:.2f} | | {flop / whole / 1e12:.2f} TFLOP/s, {share:.0%} of it |"])


def _growth(grown: Sequence[tuple[str, float]]) -> str:
    rows, before = ["| after | MB | more |", "|---|---|---|"], 0.0
    for name, size in grown:
        rows.append(f"| {name} | {size:,.0f} | {size - before:,.0f} |")
        before = size
    return "\n".join(rows)


def _programs(memory: dict[str, float]) -> str:
    rows = [f"| {name} | {size:.0f} |" for name, size in sorted(memory.items(), key=lambda each: -each[1])]
    return "\n".join(["| | MB |", "|---|---|", *rows, f"| in all | {sum(memory.values()):.0f} |"])


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return names[0].split(":", 1)[1].strip() if names else platform.machine()


def main() -> None:
    """Look, then print or write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--only", choices=("steps",))
    parser.add_argument("--inside", action="store_true")
    asked = parser.parse_args()
    if asked.inside:
        print(json.dumps(inside()))
        return
    most = limits.measured("cpu", THREADS)
    command = [sys.executable, "-m", "tests.bench.profiling", "--inside"]
    found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT).stdout)
    written = page(most, found, ([], {}) if asked.only else asyncio.run(job())) + "\n"
    if asked.write:
        PAGE.write_text(written)
        print(f"wrote {PAGE.relative_to(ROOT)}")
    else:
        print(written)


if __name__ == "__main__":
    main()
