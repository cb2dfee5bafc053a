"""The service stays small: what is heavy lives in its children."""

import subprocess
import sys

HEAVY = {"torch", "transformers", "peft", "typst", "vl_convert", "pyarrow", "numpy"}


def test_the_service_loads_nothing_heavy() -> None:
    show = "import sys, services.evaluator.app; print(*{name.split('.')[0] for name in sys.modules})"
    said = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True).stdout
    assert not HEAVY & set(said.split())
