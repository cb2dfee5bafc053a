"""The three measurements on a loaded model: likelihood of held-out replies, knowledge, before/after replies.

Base and tuned come from one load and read identical batches: in bfloat16 the batching alone moves a perplexity by
0.07 %, and an adapter that does nothing must show exactly nothing.
"""

from collections.abc import Callable, Sequence
from threading import Lock

from libs.lm.chat import Encoded
from libs.lm.choose import Choice, choice_scores
from libs.lm.generate import Loaded, replies
from libs.lm.score import Losses, batches, room, token_losses
from services.evaluator.domain.owed import opening
from services.evaluator.domain.statistics import Likelihood, Preference
from services.evaluator.domain.verdicts import Answer
from services.evaluator.scoring.held_out import Conversation
from services.evaluator.scoring.shapes import BATCH_TOKENS, Pair, Question, Turn

Report = Callable[[int, int], None]
"""Called with how many items are done, of how many."""

QUESTIONS_AT_A_TIME = 25
REPLIES_AT_A_TIME = 10


def likelihoods(
    loaded: Loaded, conversations: Sequence[Conversation], max_length: int, batch_tokens: int, report: Report
) -> list[Likelihood]:
    """Score the taught tokens of each conversation with both models; those with none are left out."""
    longest = room(loaded.base, max_length)
    encoded = [loaded.chat.encode(each.messages, longest) for each in conversations]
    kept = [index for index, each in enumerate(encoded) if any(each.trained[1:])]
    found: dict[int, Likelihood] = {}
    for part in batches([len(encoded[index].ids) for index in kept], batch_tokens):
        indices = [kept[place] for place in part]
        scored = _both(loaded, [encoded[index] for index in indices], batch_tokens)
        for index, (tokens, base, tuned) in zip(indices, scored, strict=True):
            found[index] = Likelihood(conversations[index].id, tokens, base, tuned)
        report(len(found), len(kept))
    return [found[index] for index in kept]


def preferences(
    loaded: Loaded,
    conversations: Sequence[Conversation],
    preferred: Sequence[Likelihood],
    max_length: int,
    batch_tokens: int,
    report: Report,
) -> list[Preference]:
    """Score the other reply of each pair too; ``preferred`` are the likelihoods of the preferred ones."""
    others = [Conversation(each.id, each.rejected) for each in conversations if each.rejected]
    rejected = {each.id: each for each in likelihoods(loaded, others, max_length, batch_tokens, report)}
    return [
        Preference(each.id, each.base, each.tuned, rejected[each.id].base, rejected[each.id].tuned)
        for each in preferred
        if each.id in rejected
    ]


def _both(loaded: Loaded, encoded: list[Encoded], batch_tokens: int) -> list[tuple[int, float, float]]:
    base, tuned = loaded.both(lambda each: token_losses(loaded, encoded, tuned=each, batch_tokens=batch_tokens))
    return [
        (len(before), float(before.sum(dtype="float64")), float(after.sum(dtype="float64")))
        for before, after in zip(base, tuned, strict=True)
    ]


def knowledge(loaded: Loaded, questions: Sequence[Question], batch_tokens: int, report: Report) -> list[Answer]:
    """Put each question to both models; the choice with the highest mean log-likelihood a token is the answer."""
    found: list[Answer] = []
    for start in range(0, len(questions), QUESTIONS_AT_A_TIME):
        asked = questions[start : start + QUESTIONS_AT_A_TIME]
        put = [Choice([{"role": "user", "content": each.question}], list(each.choices)) for each in asked]
        found += [
            Answer(each.id, each.topic, each.answer, int(before.argmax()), int(after.argmax()))
            for each, before, after in zip(asked, *_answered(loaded, put, batch_tokens), strict=True)
        ]
        report(len(found), len(questions))
    return found


def _answered(loaded: Loaded, put: list[Choice], batch_tokens: int) -> tuple[list[Losses], list[Losses]]:
    return loaded.both(lambda each: choice_scores(loaded, put, tuned=each, batch_tokens=batch_tokens))


def pairs(
    loaded: Loaded,
    conversations: Sequence[Conversation],
    wanted: int,
    max_tokens: int,
    batch_tokens: int,
    report: Report,
) -> list[Pair]:
    """Let both models answer the first ``wanted`` openings, greedily."""
    openings = [(each, *opening(each.messages)) for each in conversations]
    asked = [(each, prompt, written) for each, prompt, written in openings if prompt][:wanted]
    prompts = [prompt for _, prompt, _ in asked]
    batch = max(1, REPLIES_AT_A_TIME * batch_tokens // BATCH_TOKENS)
    count = _Count(2 * len(asked), report)
    said = loaded.both(
        lambda tuned: replies(
            loaded, prompts, tuned=tuned, max_new_tokens=max_tokens, batch=batch, report=count.of(tuned)
        )
    )
    count.all()
    return [
        Pair(
            each.id,
            tuple(Turn(turn["role"], turn["content"]) for turn in prompt),
            written,
            base.text,
            tuned.text,
            base_cut=not base.finished,
            tuned_cut=not tuned.finished,
        )
        for (each, prompt, written), base, tuned in zip(asked, *said, strict=True)
    ]


class _Count:
    """Adds up what two sides, each in its thread, have done of ``total`` items, half of them each."""

    def __init__(self, total: int, report: Report) -> None:
        self._total = total
        self._report = report
        self._parts = {False: 0.0, True: 0.0}
        self._said = 0
        self._one_at_a_time = Lock()

    def of(self, side: bool) -> Callable[[float], None]:
        """Return a function that hears what part of its half a side has done."""

        def hear(part: float) -> None:
            with self._one_at_a_time:
                self._parts[side] = part
                self._say(int(self._total * sum(self._parts.values()) / 2))

        return hear

    def all(self) -> None:
        """Say that everything is done, which replies that end early never do."""
        self._say(self._total)

    def _say(self, done: int) -> None:
        if done > self._said:
            self._said = done
            self._report(done, self._total)
