"""One conversation in this process: a turn reads a stretch of the prompt, or speaks one token."""

import numpy as np

from contracts.chat import AskChat, ChatPiece
from libs.lm.sampling import drawn, likelihoods
from services.evaluator.answering.models import Model
from services.evaluator.answering.reply import Reply
from services.evaluator.domain.recalling import BLOCK


class Conversation:
    """A question, the model that answers it, and its ``reply``."""

    def __init__(self, question: AskChat, model: Model, reply_limit: int) -> None:
        self.reply = Reply(question, model.chat, model.context, reply_limit)
        self._question = question
        self._model = model
        self._memory, self.reply.recalled = model.recall(self.reply.prompt)
        self.reply.fingerprint = model.fingerprint
        self._unread = self.reply.prompt[self.reply.recalled :]
        self._chance = np.random.default_rng(None if question.seed is None else question.seed % 2**64)

    def turn(self) -> ChatPiece | None:
        """Go on by a stretch of the prompt or by a token; return what is to be told, if anything."""
        part, self._unread = self._unread[:BLOCK], self._unread[BLOCK:]
        scores = self._model.read(part, self._memory)
        if self._unread:
            return None
        if not self.reply.said:
            self._model.remember(self.reply.prompt, self._memory)
        question = self._question
        token = drawn(scores, temperature=question.temperature, top_p=question.top_p, chance=self._chance)
        self._unread = [token]
        known = likelihoods(scores, token, question.top_logprobs) if question.logprobs else (0.0, [])
        return self.reply.add(token, *known)
