"""The retention suite: a hundred questions written for this project (CC0), and how they are put to a model."""

from pathlib import Path

import msgspec

from services.evaluator.scoring.shapes import Question

SUITE = Path(__file__).parent.parent / "suites" / "knowledge.jsonl"
CHOICES = 4


def load(path: Path = SUITE) -> list[Question]:
    """Read the questions; ``ValueError`` names a line that is none, or an id or question that stands twice."""
    found: list[Question] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            found.append(msgspec.json.decode(line, type=Question))
        except msgspec.MsgspecError as error:
            raise ValueError(f"{path.name}, line {number}: {error}") from error
    _check(found)
    return found


def _check(questions: list[Question]) -> None:
    ids = [each.id for each in questions]
    asked = [each.question.casefold() for each in questions]
    if len(set(ids)) < len(ids) or len(set(asked)) < len(asked):
        raise ValueError("an id or a question stands twice in the knowledge suite")
    torn = next((each.id for each in questions if len(set(map(str.casefold, each.choices))) < CHOICES), None)
    if torn:
        raise ValueError(f"question {torn} has the same choice twice")
