"""A LoRA on a base in four bits, on the CPU: it goes on learning, and an interruption changes no byte."""

import json
import subprocess
import sys
from pathlib import Path

from tests.integration.training.four_bits import Seen

ROOT = Path(__file__).parents[3]


def test_a_base_in_four_bits_teaches_after_evaluations_too_and_resumes_to_the_same_bytes(
    tiny: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "tests.integration.training.four_bits", str(tiny), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    seen = Seen(**json.loads(done.stdout.splitlines()[-1]))
    assert len(seen.losses) == 6
    assert min(seen.norms) > 0.1
    assert seen.losses[-1] < seen.losses[0]
    assert seen.remarks == ["four_bit"]
    assert seen.fine, "TRL rounds what is trained to bfloat16 where it knows that the base is quantised"
    assert len(seen.digests) == 2
    assert len(set(seen.digests)) == 1, "bitsandbytes packs weights for CPUs in the first evaluation, if it may"
