"""The table of failures, held to texts that were really printed: each leads to its row, and none is lost."""

import re
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.jobs import Overrides
from contracts.recipes import SHIPPED_MODEL, Recipe
from services.trainer.domain.classifying import classified
from services.trainer.domain.failure_table import RULES
from services.trainer.domain.failures import evidence_of, explained
from services.trainer.domain.recovery import BUDGETS, GoOn, History, after_loss
from services.trainer.domain.remedies import LONGEST_SECONDS, SHORTEST, SMALLEST_RANK, with_settings
from services.trainer.runner.machine import memory_kills

CORPUS = Path(__file__).parent / "corpus"
DECIDED_ELSEWHERE = {"no_progress", "time_limit", "hung"}
RECIPE = Recipe(base_model=SHIPPED_MODEL, rank=16, learning_rate=2e-4, max_length=2048, time_limit=1800.0)


class Printed(NamedTuple):
    """What was left of a process, and the row it belongs to."""

    row: str
    exit_code: int | None
    said: str
    killed: bool
    words: str


def corpus() -> list[Printed]:
    found = []
    for file in sorted(CORPUS.glob("*.txt")):
        for entry in re.split(r"^== ", file.read_text(), flags=re.MULTILINE)[1:]:
            head, _, words = entry.partition("\n")
            facts = re.fullmatch(r"(\w+) exit=(none|-?\d+)(?: said=([\w ]+?))?( killed=yes)?", head)
            assert facts, head
            code = None if facts[2] == "none" else int(facts[2])
            found.append(Printed(facts[1], code, facts[3] or "", bool(facts[4]), words.strip("\n")))
    return found


PRINTED = corpus()


@pytest.mark.parametrize("each", PRINTED, ids=lambda each: f"{each.row}: {each.words.splitlines()[-1:]}"[:100])
def test_a_text_that_was_really_printed_leads_to_its_row(each: Printed) -> None:
    runners = each.said == "infrastructure"
    stderr, said = ("Loading weights", each.words) if runners else (each.words, "")
    assert classified(each.said, each.exit_code, stderr, said, killed_for_memory=each.killed) == each.row


def test_the_corpus_holds_a_text_for_every_row() -> None:
    assert {each.row for each in PRINTED} == set(RULES) - DECIDED_ELSEWHERE


def test_what_nobody_knows_stays_unknown_and_keeps_its_evidence() -> None:
    kind = classified("", 3, "zxq: strange\nblorp 17")
    failure = explained(kind, evidence_of(3, "zxq: strange\nblorp 17"), "")
    assert failure.reason == "unknown"
    assert failure.evidence == "exit code 3\nzxq: strange\nblorp 17"
    assert failure.remedy.kind == "report_bug"


@given(said=st.text(max_size=20), code=st.none() | st.integers(-64, 255), words=st.text(max_size=300))
def test_anything_is_classified_and_explained(said: str, code: int | None, words: str) -> None:
    kind = classified(said, code, words)
    assert explained(kind, "", "").remedy.title == RULES[kind].button


def test_a_warning_is_no_reason_and_the_last_exception_is() -> None:
    words = "OSError: [Errno 28] No space left on device\nTraceback (most recent call last):\nKeyError: 'ids'"
    assert classified("bug", 1, words) == "disk_full"
    assert classified("bug", 1, f"{words}\n\nDuring handling of it:\n\nMemoryError") == "out_of_memory"


@pytest.mark.parametrize("kind", RULES)
def test_every_row_says_what_happened_and_what_to_do(kind: str) -> None:
    rule = RULES[kind]
    for sentence in (rule.message, rule.fix):
        assert sentence.endswith(".")
        assert sentence[0].isupper()
    assert 5 < len(rule.button) < 50
    assert not rule.button.endswith(".")
    assert rule.cause is None or rule.cause in BUDGETS


@pytest.mark.parametrize("kind", [kind for kind, rule in RULES.items() if rule.cause])
def test_a_loss_that_may_pass_goes_on_and_ends_with_its_own_row_when_it_does_not(kind: str) -> None:
    cause = RULES[kind].cause
    assert cause
    nothing_yet = History(losses={}, barren=0, micro_tokens=768)
    assert isinstance(after_loss(kind, "", "", nothing_yet), GoOn)
    used_up = History(losses={cause: BUDGETS[cause]}, barren=0, micro_tokens=768)
    failure = after_loss(kind, "how it ended", "", used_up)
    assert not isinstance(failure, GoOn)
    assert (failure.reason, failure.evidence) == (RULES[kind].reason, "how it ended")


def settings(kind: str, recipe: Recipe = RECIPE) -> Overrides | None:
    return with_settings(kind, explained(kind, "", "").remedy, recipe).overrides


def test_a_fix_is_computed_from_the_recipe_that_failed() -> None:
    assert settings("diverged") == Overrides(learning_rate=1e-4)
    assert settings("out_of_memory") == settings("killed_for_memory") == Overrides(max_length=512, rank=8)
    assert settings("time_limit") == Overrides(time_limit=3600.0)
    assert settings("disk_full") is None


def test_a_fix_that_would_change_nothing_names_no_settings() -> None:
    small = {"rank": SMALLEST_RANK, "max_length": SHORTEST, "learning_rate": 1e-6, "time_limit": LONGEST_SECONDS}
    least = Recipe(base_model=SHIPPED_MODEL, **small)
    assert [settings(kind, least) for kind in ("diverged", "out_of_memory", "time_limit")] == [None, None, None]


@given(rank=st.integers(1, 256), length=st.integers(16, 131_072), rate=st.floats(1e-6, 1e-2))
def test_a_fix_never_asks_for_more_than_failed(rank: int, length: int, rate: float) -> None:
    recipe = Recipe(base_model=SHIPPED_MODEL, rank=rank, max_length=length, learning_rate=rate)
    less = settings("out_of_memory", recipe) or Overrides()
    assert (less.rank or 0) < rank
    assert (less.max_length or 0) < length
    half = settings("diverged", recipe)
    assert half is None or (half.learning_rate or 1.0) < rate


def test_all_changed_settings_belong_to_a_row_that_changes_settings() -> None:
    changing = {kind for kind in RULES if settings(kind)}
    assert changing == {kind for kind, rule in RULES.items() if rule.remedy == "change_settings"}


@pytest.mark.parametrize(
    ("files", "kills"),
    [
        ({"proc/vmstat": "nr_free_pages 1234\noom_kill 3\nswap_ra 0\n"}, 3),
        ({"proc/self/cgroup": "0::/pod\n", "sys/fs/cgroup/pod/memory.events": "max 7\noom_kill 2\n"}, 2),
        ({"proc/self/cgroup": "0::/host/path\n", "sys/fs/cgroup/memory.events": "oom_kill 4\n"}, 4),
        ({"proc/self/cgroup": "9:memory:/a\n", "sys/fs/cgroup/memory/a/memory.oom_control": "oom_kill 5\n"}, 5),
        ({"proc/self/cgroup": "0::/\n3:cpu:/\n", "proc/vmstat": "oom_kill 6\n"}, 6),
        ({}, 0),
    ],
)
def test_the_nearest_count_of_kills_for_memory_is_read(tmp_path: Path, files: dict[str, str], kills: int) -> None:
    for name, text in files.items() | {"proc/vmstat": files.get("proc/vmstat", "")}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert memory_kills(tmp_path) == kills


def test_a_long_line_of_evidence_is_cut() -> None:
    assert len(evidence_of(1, "x" * 10_000)) < 400


def test_much_evidence_loses_its_beginning_but_never_how_the_process_ended() -> None:
    kept = evidence_of(-9, "\n".join(f"{number:03} {'x' * 290}" for number in range(100)), killed_for_memory=True)
    assert kept.startswith("killed by SIGKILL; the kernel's count")
    assert len(kept) <= 2000
    assert "\n099 x" in kept
