"""The folder of an installation keeps its secrets to its owner."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from contracts.catalogue import SERVICES
from libs.embedded.home import Home, free_port, listening


def test_secrets_are_made_once_for_everybody_and_readable_by_the_owner_alone(tmp_path: Path) -> None:
    home = Home(tmp_path / "new" / "home")
    made = home.secrets()
    assert {*SERVICES, "admin", "runner", "postgres", "pepper"} <= set(made)
    assert len(set(made.values())) == len(made)
    assert min(map(len, made.values())) >= 32
    assert Home(tmp_path / "new" / "home").secrets() == made
    assert (home.folder / "secrets.json").stat().st_mode & 0o777 == 0o600


def test_the_environment_says_where_home_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WOODSHED_HOME", str(tmp_path / "elsewhere"))
    assert Home.default().models == tmp_path / "elsewhere" / "models"


def test_a_free_port_is_free() -> None:
    assert not listening(free_port())


DRAW = """
import itertools, secrets, sys
from libs.embedded.home import free_port
draws = itertools.count(int(sys.argv[1]))
secrets.randbelow = lambda most: next(draws) // 2 % most
print(*(free_port() for _ in range(50)), flush=True)
sys.stdin.read()
"""


def test_nobody_is_given_a_port_that_another_process_was_given() -> None:
    """All draw the same ports in the same order, each twice."""
    command = [sys.executable, "-c", DRAW, str(2 * random.randrange(12_000))]
    others = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)]
    given = [port for other in others if other.stdout for port in other.stdout.readline().split()]
    for other in others:
        other.communicate()
    assert len(given) == len(set(given)) == 100
