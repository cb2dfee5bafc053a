"""Commands that pages show are ones the programs know."""

import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WRITTEN = [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), ROOT / "deploy" / "README.md"]
PAGES = sorted(page for page in WRITTEN if "node_modules" not in page.parts)
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def commands(program: str) -> list[str]:
    """Every use of a program in fenced blocks and inline code of all pages; two words in a sentence only name it."""
    found = set()
    for page in PAGES:
        text = page.read_text()
        code = [*re.findall(r"```sh\n(.*?)```", text, re.DOTALL), *re.findall(r"`([^`\n]+)`", text)]
        lines = [line.partition(" #")[0].strip() for block in code for line in block.splitlines()]
        found |= {line for line in lines if line.startswith(f"{program} ")}
    return sorted(line for line in found if program != "woodshed" or len(line.split()) > 2 or line.endswith("presets"))


@pytest.mark.parametrize("command", commands("make"))
def test_a_make_target_exists(command: str) -> None:
    assert {word for word in command.split()[1:] if "=" not in word} <= TARGETS


@pytest.mark.parametrize("command", commands("python -m"))
def test_a_module_exists(command: str) -> None:
    module = command.split()[2]
    assert find_spec(module) or find_spec(f"{module}.__main__")


@pytest.mark.parametrize("command", commands("woodshed"))
def test_the_command_line_understands(command: str) -> None:
    """Its options and arguments are parsed; it then finds no server, and says so."""
    words = shlex.split(command)[1:]
    done = subprocess.run(
        [sys.executable, "-m", "services.cli", "--url", "http://127.0.0.1:9", "--key", "none", *words],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    said = " ".join(done.stderr.split())
    assert "Traceback" not in said
    assert done.returncode == 0 or "127.0.0.1:9" in said or "no file" in said.lower(), said
