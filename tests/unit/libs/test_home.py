"""The folder of an installation keeps its secrets to its owner."""

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
