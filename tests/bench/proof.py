"""How long the default evaluation of a demonstration takes, part by part: ``python -m tests.bench.proof [--rounds 3]``.

The two processes that the evaluator starts, one after the other, with its settings' defaults: 12 held-out
conversations of the sample, 100 questions, 10 pairs of 96 tokens, the chat engine's comparison (its file of the base
is made anew in each round, as on a first day) and the report. The shipped model has a LoRA of rank 16 that changes it a
little everywhere. Goal: at most 60 s on two cores.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Struct

from contracts.recipes import SHIPPED_MODEL
from contracts.runs import RunFinished
from libs.db.database import now
from libs.embedded.home import Home
from libs.lm.sharing import SHARED_CORES
from services.evaluator.domain.owed import EVERY
from services.evaluator.report.build import ReportSpec
from services.evaluator.scoring.knowledge import SUITE
from services.evaluator.scoring.shapes import Measured, ScoringSpec
from tests.bench import figures
from tests.bench.evaluation import SAMPLE, adapter

GOAL = 60.0
HELD_OUT = 12
DIGEST = "0" * 64
RUN = RunFinished(
    tenant="bench", at=now(), run_id="run-bench", job_id="job-bench", fence=1, base_model=SHIPPED_MODEL,
    dataset_id="ds-bench", dataset_digest=DIGEST, dataset_uri="bench/datasets", adapter_uri="bench/adapter",
    sha256=DIGEST, size=9_800_000, steps=70, tokens=43_520, trained_tokens=27_501, device_seconds=200.0,
    train_seconds=190.0, memory_bytes=2 * 10**9, train_loss=4.2, interruptions=0, seed=42,
)  # fmt: skip


def scoring(folder: Path) -> ScoringSpec:
    """Write what an evaluation reads into a folder, and say what it is asked."""
    base = Home.default().models / SHIPPED_MODEL
    tuned = folder / "adapter"
    tuned.mkdir()
    rows = [json.loads(line) for line in SAMPLE.read_text(encoding="utf-8").splitlines()[:HELD_OUT]]
    talks = {"id": [row["metadata"]["id"] for row in rows], "messages": [json.dumps(row["messages"]) for row in rows]}
    pq.write_table(pa.table(talks), folder / "test.parquet")
    return ScoringSpec(
        base=str(base),
        adapter=str(adapter(base, tuned)),
        split=str(folder / "test.parquet"),
        split_name="test",
        knowledge=str(SUITE),
        result=str(folder / "measured.json"),
        suites=EVERY,
        seed=42,
        threads=len(os.sched_getaffinity(0)),
        cache=str(folder / "gguf"),
    )


def process(module: str, spec: Struct, path: Path) -> float:
    """Let a process of the evaluator do its work; return the seconds from its start to its end."""
    path.write_bytes(msgspec.json.encode(spec))
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", module, str(path)],
        env=os.environ | SHARED_CORES,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - began


def measured() -> dict[str, float]:
    """Evaluate once; return the seconds of each part, ``start`` being what comes before anything is loaded."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        asked = scoring(folder)
        whole = process("services.evaluator.scoring", asked, folder / "scoring.json")
        parts = msgspec.json.decode((folder / "measured.json").read_bytes(), type=Measured).seconds
        report = ReportSpec(
            evaluation_id="eval-bench", made_at=now(), run=RUN, scoring=asked, out=str(folder / "report")
        )
        written = process("services.evaluator.report", report, folder / "report.json")
    return {"start": whole - sum(parts.values()), **parts, "report": written}


def table(rounds: Sequence[dict[str, float]]) -> str:
    """Return the medians of the parts with their spread, in Markdown."""
    rows = ["| part | seconds, median (least–most) |", "|---|---|"]
    for part, found in {part: [each[part] for each in rounds] for part in rounds[0]}.items():
        rows.append(f"| {part} | {statistics.median(found):.1f} ({min(found):.1f}–{max(found):.1f}) |")
    sums = [sum(each.values()) for each in rounds]
    rows.append(f"| **all** | **{statistics.median(sums):.1f}** ({min(sums):.1f}–{max(sums):.1f}), goal {GOAL:.0f} |")
    return "\n".join(rows)


def main() -> None:
    """Evaluate several times and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = [measured() for _ in range(parser.parse_args().rounds)]
    print(table(rounds))
    sums = [sum(each.values()) for each in rounds]
    figures.note("proof", "a default evaluation", sums, "s", goal=GOAL, less_is_better=True)


if __name__ == "__main__":
    main()
