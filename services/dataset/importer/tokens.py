"""How much of a split is really trained, added up from what was counted with the base model's own template."""

from libs.errors import Rejected
from libs.lm.counting import Counted
from services.dataset.domain.problems import BadRecord, Tally, problem_of


class Totals:
    """Adds up the tokens of the training split, each example cut at ``max_length`` tokens."""

    def __init__(self, max_length: int) -> None:
        self.max_length = max_length
        self.tokens = 0
        self.trained = 0
        self.truncated = 0

    def add(self, counted: Counted, line: int, tally: Tally) -> None:
        """Add one example; warn where cutting leaves nothing to train."""
        self.tokens += counted.tokens
        self.trained += counted.trained
        self.truncated += bool(counted.cut)
        if counted.lost:
            tally.warn(problem_of(line, _cut_away(self.max_length), "warning"))

    def refuse_nothing_trained(self) -> None:
        """Raise ``Rejected`` (``nothing_trained``) when no token of the whole split carries the loss."""
        if self.trained:
            return
        fix = "Give answers a weight other than 0, shorten what stands before them, or raise max_length."
        raise Rejected(
            f"No token would be trained: no answer counts within {self.max_length:,} tokens. {fix}",
            code="nothing_trained",
            fix=fix,
        )


def _cut_away(max_length: int) -> BadRecord:
    return BadRecord(
        f"No answer begins within the first {max_length:,} tokens: nothing is learned from this conversation.",
        code="cut_away",
        fix="Shorten what stands before the answer, split the conversation, or raise max_length.",
    )
