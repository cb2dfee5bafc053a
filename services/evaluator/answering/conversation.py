"""One conversation in this process: a turn reads a stretch of the prompt, or speaks one token."""

import time

import numpy as np

from contracts.chat import AskChat, ChatPiece
from libs.lm.sampling import drawn, likelihoods
from services.evaluator.answering.models import Model
from services.evaluator.answering.reply import Reply
from services.evaluator.answering.shapes import merged
from services.evaluator.domain.recalling import BLOCK

PAUSE = 0.025
"""Seconds between pieces: who is told each token takes cores from the next one, and nobody reads faster than this."""


class Conversation:
    """A question, the model that answers it, and its ``reply``."""

    def __init__(self, question: AskChat, model: Model, reply_limit: int) -> None:
        self.reply = Reply(question, model.chat, model.context, reply_limit)
        self._question = question
        self._model = model
        self._memory, self.reply.recalled = model.recall(self.reply.prompt)
        self.reply.fingerprint = model.fingerprint
        self._unread = self.reply.prompt[self.reply.recalled :]
        self._held: list[ChatPiece] = []
        self._told = 0.0
        self._chance = np.random.default_rng(None if question.seed is None else question.seed % 2**64)

    @property
    def side_by_side(self) -> bool:
        """Whether turns may be taken while others take theirs."""
        return self._model.side_by_side

    def turn(self, share: int = 0) -> ChatPiece | None:
        """Go on by a stretch of the prompt or by a token; return what is to be told, if anything.

        ``share`` is how many threads it may take while others take their turns; 0: it is alone.
        """
        part, self._unread = self._unread[:BLOCK], self._unread[BLOCK:]
        scores = self._model.read(part, self._memory, share)
        if self._unread:
            return None
        question = self._question
        token = drawn(scores, temperature=question.temperature, top_p=question.top_p, chance=self._chance)
        self._unread = [token]
        known = likelihoods(scores, token, question.top_logprobs) if question.logprobs else (0.0, [])
        return self._due(self.reply.add(token, *known))

    def remember(self) -> None:
        """After a turn, and never during another's: keep what was read of the prompt, if this was the end of it."""
        if len(self.reply.said) == 1:
            self._model.remember(self.reply.prompt, self._memory)

    def _due(self, piece: ChatPiece | None) -> ChatPiece | None:
        """Hold a piece back if one was told a moment ago; the first and the last never wait."""
        self._held += [piece] if piece else []
        if not self._held or (time.monotonic() - self._told < PAUSE and not self.reply.done):
            return None
        found, self._held, self._told = merged(self._held), [], time.monotonic()
        return found
