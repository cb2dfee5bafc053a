"""One reply while it is being made, whichever engine makes it: token by token in, pieces that may be told out."""

from collections.abc import Sequence

from contracts.chat import Alternative, AskChat, ChatPiece, TokenSaid
from libs.lm.chat import ChatFormat
from services.evaluator.answering.shapes import TOO_LONG
from services.evaluator.domain.speech import Speech
from services.evaluator.scoring.failures import Failed
from services.evaluator.scoring.shapes import Failure


class Reply:
    """A question, the ids of its ``prompt``, and how far the reply is. ``done`` after the last piece.

    ``said`` are the tokens of the reply, the one that ends it included; ``limit`` is the most there may be.
    """

    def __init__(self, question: AskChat, chat: ChatFormat, context: int, reply_limit: int) -> None:
        """Take a model's format and its context in tokens. ``Failed`` where the prompt leaves no room for a reply."""
        self.prompt = chat.prompt([{"role": each.role, "content": each.content} for each in question.messages])
        if len(self.prompt) >= context:
            raise Failed(_too_long(len(self.prompt), context))
        self.limit = min(question.max_tokens or reply_limit, context - len(self.prompt))
        self.recalled = 0
        self.fingerprint = ""
        self.said: list[int] = []
        self.done = False
        self._question = question
        self._chat = chat
        self._speech: Speech[TokenSaid] = Speech(question.stop)
        self._spoken = 0

    def accepted(self) -> ChatPiece:
        """Return the first piece: the question can be answered."""
        return self._piece("", ())

    def add(self, token: int, logprob: float, top: Sequence[tuple[int, float]]) -> ChatPiece | None:
        """Take the next token, its log-probability and the likeliest there were; return what is to be told."""
        self.said.append(token)
        if token == self._chat.end_token:
            return self.end("stop")
        octets = self._chat.octets(token, first=self._spoken == 0)
        self._spoken += 1
        heard = self._speech.say(octets, self._told(token, logprob, top))
        if self._speech.stopped:
            self.done = True
            return self._piece(heard.text, heard.tokens, "stop")
        if self._spoken == self.limit:
            rest = self.end("length")
            return self._piece(heard.text + rest.text, (*heard.tokens, *rest.tokens), rest.finish)
        return self._piece(heard.text, heard.tokens) if heard.text or heard.tokens else None

    def end(self, finish: str) -> ChatPiece:
        """Return the last piece: nothing comes any more."""
        self.done = True
        heard = self._speech.end()
        return self._piece(heard.text, heard.tokens, "stop" if self._speech.stopped else finish)

    def _told(self, token: int, logprob: float, top: Sequence[tuple[int, float]]) -> TokenSaid:
        if not self._question.logprobs:
            return TokenSaid(b"", 0.0)
        others = tuple(Alternative(self._chat.spelled(other), each) for other, each in top)
        return TokenSaid(self._chat.spelled(token), logprob, others)

    def _piece(self, text: str, tokens: Sequence[TokenSaid], finish: str = "") -> ChatPiece:
        return ChatPiece(
            text=text,
            tokens=tuple(tokens) if self._question.logprobs else (),
            prompt_tokens=len(self.prompt),
            completion_tokens=self._spoken,
            recalled_tokens=self.recalled,
            finish=finish,
            fingerprint=self.fingerprint,
        )


def _too_long(tokens: int, context: int) -> Failure:
    return Failure(
        TOO_LONG,
        f"The conversation is {tokens:,} tokens long and the model reads {context:,}, its reply included. Shorten it.",
    )
