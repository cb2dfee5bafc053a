"""How many tokens a conversation becomes, without making them: exact, and some ten times faster than tokenising.

Serves imports, which count millions of words that are mostly the same few thousand. The tokenizers of GPT-2's family
first cut a text by a regular expression and then look at each part by itself; in none of the expressions below does a
part go on from a visible character to the blank after it. So a text may be cut before such blanks, and the counts of
what lies between them added. Each word is tokenised once and remembered.

Any other tokenizer (SentencePiece's, one with another expression, added tokens with blanks in them) is simply asked.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import msgspec
from msgspec import Struct

from libs.lm.chat import ChatFormat, Control, Message, Run

REMEMBERED = 100_000
"""Words whose counts are remembered, some 12 MB of them; beyond that it begins anew."""

LONGEST = 40
"""Characters of a word that is worth remembering."""

_LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
    r"\s+(?!\S)|\s+"
)
SEPARABLE = frozenset({_LLAMA_3, _LLAMA_3.replace("{1,3}", "")})
"""Expressions of Llama 3 and Qwen 2 (their tokenizer.json); GPT-2's own is what ByteLevel does by itself."""

_BEFORE_BLANK = re.compile(r" (?<=[!-~\w] )")
"""A blank after a character that is visible by any version of Unicode."""


class Counted(Struct, frozen=True):
    """How many ``tokens`` a conversation has within the longest length, and how many of them are ``trained``.

    ``cut``: it is longer than that. ``lost``: and all that would have been taught lies beyond.
    """

    tokens: int
    trained: int
    cut: bool = False
    lost: bool = False


class TokenCounter:
    """Counts as ``ChatFormat.encode`` would, to the token."""

    def __init__(self, chat: ChatFormat, max_length: int, *, separable: bool) -> None:
        """Take a template and the longest length; ``separable`` says that texts may be cut before blanks."""
        self.chat = chat
        self.max_length = max_length
        self._separable = separable
        self._words = _Words(chat)
        self._texts = _Texts(chat)
        self._borders = _Borders(chat)

    @classmethod
    def load(cls, model_dir: Path, max_length: int) -> Self:
        """Read a model's tokenizer and template from its folder."""
        described = msgspec.json.decode((model_dir / "tokenizer.json").read_bytes(), type=Described)
        return cls(ChatFormat.load(model_dir), max_length, separable=is_separable(described))

    def count(self, messages: Sequence[Message]) -> Counted:
        """Count a whole conversation."""
        tokens = trained = 0
        for part in self.chat.layout(messages):
            if isinstance(part, Control):
                tokens += 1
                trained += part.taught
            else:
                more, taught = self._run(part)
                tokens += more
                trained += taught
        return Counted(tokens, trained) if tokens <= self.max_length else self._cut(messages)

    def _cut(self, messages: Sequence[Message]) -> Counted:
        encoded = self.chat.encode(messages, self.max_length)
        trained = encoded.trained_tokens
        return Counted(len(encoded.ids), trained, cut=True, lost=bool(encoded.cut_trained and not trained))

    def _run(self, run: Run) -> tuple[int, int]:
        """Return the tokens of a text and how many of them are taught."""
        if not run.taught:
            return self._beginning(run.text), 0
        start, end = run.taught[0]
        if not self._separable or len(run.taught) > 1 or end < len(run.text) or run.text[-1:].isspace():
            ids, taught = self.chat.read(run)
            return len(ids), sum(taught)
        before, after = _cut_at_or_before(run.text, start), _cut_at_or_after(run.text, start)
        tokens, taught_there = self._borders[run.text[before:after], start - before]
        rest = self._rest(run.text[after:])
        return (self._beginning(run.text[:before]) if before else 0) + tokens + rest, taught_there + rest

    def _beginning(self, text: str) -> int:
        """Count a text from its beginning on."""
        if not self._separable:
            return self._texts[text]
        first = _cut_at_or_after(text, 1)
        return self._texts[text[:first]] + self._rest(text[first:])

    def _rest(self, text: str) -> int:
        """Count a text that is empty or goes on with a blank after a visible character."""
        if not text:
            return 0
        alone = text.isprintable() and "  " not in text and text[-1] != " "  # then every blank stands between words
        return sum(map(self._words.__getitem__, (text[1:].split(" ") if alone else _BEFORE_BLANK.split(text[1:]))))


class Described(Struct):
    """What a ``tokenizer.json`` says of how it cuts texts; the vocabulary is stepped over."""

    normalizer: Any = None
    pre_tokenizer: Any = None
    model: "Model | None" = None
    added_tokens: list[dict[str, Any]] = []


class Model(Struct):
    """Of the model only what may tie neighbouring words together."""

    type: str = ""
    dropout: float | None = None


def is_separable(described: Described) -> bool:
    """Whether this tokenizer treats what lies between blanks by itself."""
    model, cutters = described.model, _cutters(described.pre_tokenizer)
    return (
        model is not None
        and model.type == "BPE"
        and not model.dropout
        and described.normalizer in (None, {"type": "NFC"})
        and any(_cuts(each) for each in cutters)
        and all(_cuts(each) or _is_harmless(each) for each in cutters)
        and not any(_may_span(each) for each in described.added_tokens)
    )


def _cutters(found: Any) -> list[dict[str, Any]]:
    if not isinstance(found, dict):
        return []
    return list(found["pretokenizers"]) if found.get("type") == "Sequence" else [found]


def _cuts(step: dict[str, Any]) -> bool:
    if step["type"] == "ByteLevel":
        return bool(step.get("use_regex", True)) and not step.get("add_prefix_space", True)
    pattern = step.get("pattern")
    isolates = step["type"] == "Split" and step.get("behavior") == "Isolated" and not step.get("invert")
    return isolates and isinstance(pattern, dict) and pattern.get("Regex") in SEPARABLE


def _is_harmless(step: dict[str, Any]) -> bool:
    return step["type"] == "Digits" or (step["type"] == "ByteLevel" and not step.get("add_prefix_space", True))


def _may_span(token: dict[str, Any]) -> bool:
    """Whether an added token that is found in plain text may reach over a blank."""
    if token.get("special"):
        return False
    return " " in token["content"] or any(token.get(flag) for flag in ("lstrip", "rstrip", "single_word"))


def _cut_at_or_before(text: str, at: int) -> int:
    while at > 0 and not _may_cut(text, at):
        at -= 1
    return at


def _cut_at_or_after(text: str, at: int) -> int:
    while (at := text.find(" ", at)) >= 0 and not _may_cut(text, at):
        at += 1
    return at if at >= 0 else len(text)


def _may_cut(text: str, at: int) -> bool:
    return at > 0 and _BEFORE_BLANK.match(text, at) is not None


class _Words(dict[str, int]):
    """Word → tokens of a blank and the word."""

    def __init__(self, chat: ChatFormat) -> None:
        super().__init__()
        self.chat = chat

    def __missing__(self, word: str) -> int:
        tokens = self.chat.count(f" {word}")
        _remember(self, word, tokens, len(word))
        return tokens


class _Texts(dict[str, int]):
    """Text → its tokens."""

    def __init__(self, chat: ChatFormat) -> None:
        super().__init__()
        self.chat = chat

    def __missing__(self, text: str) -> int:
        tokens = self.chat.count(text)
        _remember(self, text, tokens, len(text))
        return tokens


class _Borders(dict[tuple[str, int], tuple[int, int]]):
    """Text and where what is taught begins in it → its tokens, and those that are taught."""

    def __init__(self, chat: ChatFormat) -> None:
        super().__init__()
        self.chat = chat

    def __missing__(self, border: tuple[str, int]) -> tuple[int, int]:
        text, start = border
        ids, taught = self.chat.read(Run(text, [(start, len(text))]))
        counts = len(ids), sum(taught)
        _remember(self, border, counts, len(text))
        return counts


def _remember(memory: dict[Any, Any], key: Any, value: Any, length: int) -> None:
    if length <= LONGEST:
        if len(memory) >= REMEMBERED:
            memory.clear()
        memory[key] = value
