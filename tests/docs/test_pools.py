"""Pools that the how-tos show are pools the trainer takes."""

import re
from pathlib import Path

import pytest

from services.trainer.providers import pools

GUIDES = Path(__file__).resolve().parents[2] / "docs" / "how-to"
EXAMPLES = [
    pytest.param(example, id=f"{page.stem}-{number}")
    for page in sorted(GUIDES.glob("*.md"))
    for number, example in enumerate(re.findall(r"```toml\n(.*?)```", page.read_text(), re.DOTALL))
]


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_taken(example: str, tmp_path: Path) -> None:
    (tmp_path / "pools.toml").write_text(example)
    assert pools.read(str(tmp_path / "pools.toml"))


def test_every_provider_has_a_guide_with_an_example() -> None:
    shown = {name for example in EXAMPLES for name in re.findall(r'provider = "(\w+)"', str(example.values[0]))}
    assert shown == {"local", "spot", "kubernetes", "runpod"}


def test_the_keys_that_every_pool_has_are_explained() -> None:
    explained = set(re.findall(r"`(\w+)`", (GUIDES / "rent-machines.md").read_text()))
    assert set(pools.Pool.__struct_fields__) <= explained
