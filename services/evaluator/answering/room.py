"""Everybody who is speaking, taking turns: a token each, so that nobody waits for another's whole reply."""

from collections.abc import Callable

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
        self._waiting: dict[int, Begin] = {}
        self._speaking: dict[int, tuple[Key, Conversation]] = {}

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

    def round(self) -> None:
        """Let one more begin, then give everybody who speaks a turn, those of one model after each other."""
        for each in list(self._waiting):
            self._attempt(each, self._admit)
            if each not in self._waiting:
                break
        for each in sorted(self._speaking, key=lambda each: self._speaking[each][0]):
            self._attempt(each, self._turn)

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
        _, conversation = self._speaking[each]
        piece = conversation.turn()
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
