"""Who may import whom, how large a room may grow, and what a process may drag in."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("contracts", "libs", "services", "deploy")
WITHOUT_TORCH = ("gateway", "dataset", "scheduler", "notifier", "cli")
HEAVY = {"torch", "transformers", "peft", "trl", "bitsandbytes", "accelerate"}
LONGEST = 500


def sources() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def test_the_import_rules_hold() -> None:
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run(
        [sys.executable, "-c", command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]


@pytest.mark.parametrize("service", WITHOUT_TORCH)
def test_a_service_that_does_not_train_never_loads_torch(service: str) -> None:
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in sources()
        if path.is_relative_to(ROOT / "services" / service) and path.name != "__main__.py"
    ]
    script = f"import importlib, sys\nfor name in {modules!r}: importlib.import_module(name)\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert modules
    assert not HEAVY & set(done.stdout.split())


@pytest.mark.parametrize("entry", ["services.trainer.app", "services.evaluator.app"])
def test_the_control_processes_load_torch_only_in_their_workers(entry: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import {entry}, sys; print(*sys.modules)"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert not HEAVY & set(done.stdout.split())


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_says_what_it_is_for_and_stays_a_room(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= LONGEST
    assert ast.get_docstring(ast.parse(text)), "a module opens with what it decides and for whom"


def test_nothing_committed_names_this_workplace() -> None:
    words = "(/work/" + "shared|/work/" + "main|/tmp/" + "w/)"
    done = subprocess.run(
        ["git", "grep", "-nIE", words, "--", ".", ":!*.lock"],
        cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ | {"GIT_OPTIONAL_LOCKS": "0"},
    )  # fmt: skip
    assert done.stdout == ""
