"""How much of a split is really trained, counted with the base model's own template."""

from pathlib import Path
from typing import Self

import msgspec

from libs.errors import Rejected
from libs.lm.chat import ChatError, ChatFormat
from services.dataset.domain.examples import Example
from services.dataset.domain.problems import BadRecord, Tally
from services.dataset.importer.spool import Row


class Counter:
    """Adds up tokens as training will see them, each example cut at ``max_length`` tokens."""

    def __init__(self, chat: ChatFormat, max_length: int) -> None:
        self.chat = chat
        self.max_length = max_length
        self.tokens = 0
        self.trained = 0
        self.truncated = 0

    @classmethod
    def load(cls, model_dir: Path, max_length: int) -> Self:
        """Read the base model's tokenizer and template."""
        return cls(ChatFormat.load(model_dir), max_length)

    def check(self, example: Example) -> None:
        """Raise ``BadRecord`` when the model's template cannot carry this order of roles."""
        try:
            self.chat.scaffold(tuple(turn.role for turn in example.turns), False)
        except ChatError as error:
            raise BadRecord(
                f"The base model cannot read this conversation: {error}",
                code="template_refuses",
                field="messages",
                fix="Bring the turns into an order the model knows: system, then user and assistant in turn.",
            ) from error

    def add(self, row: Row, line: int, tally: Tally) -> None:
        """Count one example of the training split, of a pair both sides; warn where cutting leaves nothing to train."""
        sides = [
            self.chat.encode(msgspec.json.decode(messages), self.max_length)
            for messages in (row.messages, row.rejected)
            if messages
        ]
        self.tokens += sum(len(each.ids) for each in sides)
        self.trained += sum(each.trained_tokens for each in sides)
        self.truncated += any(each.cut for each in sides)
        if any(each.cut_trained and not each.trained_tokens for each in sides):
            tally.warn(line, _cut_away(self.max_length))

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
