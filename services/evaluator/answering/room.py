"""Everybody who is speaking, taking turns: a token each, so that nobody waits for another's whole reply.

Where their engine can, as many as there are cores take their turns at the same time: two by a thread each take less
than one after the other by two threads, which wait for each other, and while one reads a long prompt others speak. What
a reply says does not depend on it. Whoever is alone has every core.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial

from contracts.chat import ChatPiece
from services.evaluator.answering.conversation import Conversation
from services.evaluator.answering.models import Key, Models
from services.evaluator.answering.shapes import Begin, Said, Spec, Stop
from services.evaluator.domain.keeping import Full
from services.evaluator.scoring.failures import classified

Say = Callable[[Said], None]


class Room:
    """Conversations by their id, in the order they began; those whose model has no place yet wait."""

    def __init__(self, spec: Spec, models: Models, say: Say) -> None:
        self._spec = spec
        self._models = models
        self._say = say
        self._pool = ThreadPoolExecutor(spec.threads)
        self._waiting: dict[int, Begin] = {}
        self._speaking: dict[int, tuple[Key, Conversation]] = {}
        self._turns: dict[int, Future[ChatPiece | None]] = {}

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do until somebody begins."""
        return not self._waiting and not self._speaking

    def hear(self, order: Begin | Stop) -> None:
        """Take in what was ordered."""
        if isinstance(order, Begin):
            self._waiting[order.id] = order
        else:
            self._waiting.pop(order.id, None)
            self._speaking.pop(order.id, None)
            if turn := self._turns.pop(order.id, None):
                turn.cancel()

    def round(self) -> None:
        """Let one more begin, then everybody go on, those of one model after each other, until somebody has."""
        for each in list(self._waiting):
            self._attempt(each, self._admit)
            if each not in self._waiting:
                break
        order = sorted(self._speaking, key=lambda each: self._speaking[each][0])
        together = self._together(order)
        self._begin_turns(together)
        for each in order:
            if each not in self._turns:
                self._attempt(each, self._turn)
        self._end_turns()

    def _together(self, order: Sequence[int]) -> list[int]:
        """Return those who may take this turn at the same time, if there are cores for two."""
        able = [each for each in order if self._speaking[each][1].side_by_side]
        return able if len(able) > 1 and self._spec.threads > 1 else []

    def _begin_turns(self, together: Sequence[int]) -> None:
        """Let everybody take a turn who takes none, in a queue; more threads than there are people are shared out."""
        for each in together:
            if each not in self._turns:
                share = max(1, self._spec.threads // len(together))
                self._turns[each] = self._pool.submit(self._speaking[each][1].turn, share)

    def _end_turns(self) -> None:
        """Wait until one of the turns is over, and tell what was said in those that are."""
        if self._turns:
            wait(self._turns.values(), return_when=FIRST_COMPLETED)
        for each in [each for each, turn in self._turns.items() if turn.done()]:
            self._attempt(each, partial(self._taken, self._turns.pop(each)))

    def _admit(self, each: int) -> None:
        begin = self._waiting[each]
        key = Key(begin.base, begin.adapter, begin.engine)
        try:
            model = self._models.get(key, {speaking for speaking, _ in self._speaking.values()})
        except Full:
            return
        conversation = Conversation(begin.question, model, self._spec.reply_limit)
        del self._waiting[each]
        self._speaking[each] = key, conversation
        self._say(Said(id=each, piece=conversation.reply.accepted()))

    def _turn(self, each: int) -> None:
        self._tell(each, self._speaking[each][1].turn())

    def _taken(self, turn: Future[ChatPiece | None], each: int) -> None:
        self._tell(each, turn.result())

    def _tell(self, each: int, piece: ChatPiece | None) -> None:
        conversation = self._speaking[each][1]
        conversation.remember()
        if piece is not None:
            self._say(Said(id=each, piece=piece))
        if conversation.reply.done:
            del self._speaking[each]

    def _attempt(self, each: int, step: Callable[[int], None]) -> None:
        """Take a step of a conversation; what is the matter with it ends it alone, a bug ends the process."""
        try:
            step(each)
        except Exception as error:
            failure = classified(error)
            if failure is None:
                raise
            self.hear(Stop(id=each))
            self._say(Said(id=each, failure=failure))
