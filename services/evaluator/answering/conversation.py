"""One conversation while its reply is being made: a turn reads a stretch of the prompt, or speaks one token."""

import torch

from contracts.chat import Alternative, AskChat, ChatPiece, TokenSaid
from libs.lm.sampling import drawn, likelihoods
from services.evaluator.answering.models import Model
from services.evaluator.answering.shapes import TOO_LONG
from services.evaluator.domain.recalling import BLOCK
from services.evaluator.domain.speech import Speech
from services.evaluator.scoring.failures import Failed
from services.evaluator.scoring.shapes import Failure


class Conversation:
    """A question, the model that answers it, and how far the reply is. ``done`` after the last piece.

    ``said`` are the tokens of the reply, the one that ends it included.
    """

    def __init__(self, question: AskChat, model: Model, reply_limit: int) -> None:
        self._question = question
        self._model = model
        self._prompt = model.chat.prompt([{"role": each.role, "content": each.content} for each in question.messages])
        self._prompt_tokens = len(self._prompt)
        if self._prompt_tokens >= model.context:
            raise Failed(_too_long(self._prompt_tokens, model.context))
        self._limit = min(question.max_tokens or reply_limit, model.context - self._prompt_tokens)
        self._cache, self._recalled = model.recall(self._prompt)
        self._unread = self._prompt[self._recalled :]
        self._speech: Speech[TokenSaid] = Speech(question.stop)
        self._chance = torch.Generator()
        if question.seed is None:
            self._chance.seed()
        else:
            self._chance.manual_seed(question.seed)
        self._spoken = 0
        self.said: list[int] = []
        self.done = False

    def turn(self) -> ChatPiece | None:
        """Go on by a stretch of the prompt or by a token; return what is to be told, if anything."""
        part, self._unread = self._unread[:BLOCK], self._unread[BLOCK:]
        logits = self._model.read(part, self._cache)
        if self._unread:
            return None
        if not self.said:
            self._model.remember(self._prompt, self._cache)
        question = self._question
        token = drawn(logits.cpu(), temperature=question.temperature, top_p=question.top_p, chance=self._chance)
        self.said.append(token)
        return self._end("stop") if token == self._model.chat.end_token else self._say(token, logits)

    def accepted(self) -> ChatPiece:
        """Return the first piece: the question can be answered."""
        return self._piece("", ())

    def _say(self, token: int, logits: torch.Tensor) -> ChatPiece | None:
        octets = self._model.chat.octets(token, first=self._spoken == 0)
        self._spoken += 1
        self._unread = [token]
        heard = self._speech.say(octets, self._said(token, logits))
        if self._speech.stopped:
            self.done = True
            return self._piece(heard.text, heard.tokens, "stop")
        if self._spoken == self._limit:
            rest = self._end("length")
            return self._piece(heard.text + rest.text, (*heard.tokens, *rest.tokens), rest.finish)
        return self._piece(heard.text, heard.tokens) if heard.text or heard.tokens else None

    def _end(self, finish: str) -> ChatPiece:
        self.done = True
        heard = self._speech.end()
        return self._piece(heard.text, heard.tokens, "stop" if self._speech.stopped else finish)

    def _said(self, token: int, logits: torch.Tensor) -> TokenSaid:
        if not self._question.logprobs:
            return TokenSaid(b"", 0.0)
        chat = self._model.chat
        logprob, top = likelihoods(logits, token, self._question.top_logprobs)
        return TokenSaid(
            chat.spelled(token), logprob, tuple(Alternative(chat.spelled(other), each) for other, each in top)
        )

    def _piece(self, text: str, tokens: "list[TokenSaid] | tuple[TokenSaid, ...]", finish: str = "") -> ChatPiece:
        return ChatPiece(
            text=text,
            tokens=tuple(tokens) if self._question.logprobs else (),
            prompt_tokens=self._prompt_tokens,
            completion_tokens=self._spoken,
            recalled_tokens=self._recalled,
            finish=finish,
            fingerprint=self._model.fingerprint,
        )


def _too_long(tokens: int, context: int) -> Failure:
    return Failure(
        TOO_LONG,
        f"The conversation is {tokens:,} tokens long and the model reads {context:,}, its reply included. Shorten it.",
    )
