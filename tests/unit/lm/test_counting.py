"""Counting gives what tokenising would, to the token, for every family of tokenizers and any text."""

from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Digits, Metaspace, Sequence, Split
from tokenizers.trainers import BpeTrainer

from libs.lm import counting
from libs.lm.chat import ChatFormat
from libs.lm.counting import Counted, Described, TokenCounter, is_separable

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
BRACKETS = (
    "<|im_start|>{% for message in messages %}{% if message.role == 'assistant' %} {{ message.content | trim }}"
    "<|im_end|>{% else %}[INST] {{ message.content | trim }} [/INST]{% endif %}{% endfor %}"
)
"""What is asked and what is answered stand in one text, as with Mistral and Llama 2."""

SAID = "It isn't the 12 bars' fault, they'll say: “play” café naïve... 1,000 times\n\nand   then    3.5 more!\tWell—yes"
TRAINED_ON = [SAID, SAID.upper(), "the then they say play bars times more and more fault yes well"] * 3


def smollm() -> Tokenizer:
    return _made(Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)]))


def gpt2() -> Tokenizer:
    tokenizer = _made(ByteLevel(add_prefix_space=False))
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    return tokenizer


def llama3() -> Tokenizer:
    pattern = max(counting.SEPARABLE, key=len)
    return _made(Sequence([Split(Regex(pattern), "isolated"), ByteLevel(add_prefix_space=False, use_regex=False)]))


def qwen2() -> Tokenizer:
    pattern = min(counting.SEPARABLE, key=len)
    tokenizer = _made(Sequence([Split(Regex(pattern), "isolated"), ByteLevel(add_prefix_space=False, use_regex=False)]))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.add_tokens([AddedToken("<think>", special=False)])
    return tokenizer


def sentencepiece() -> Tokenizer:
    return _made(Metaspace())


def _made(cutter: Any) -> Tokenizer:
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = cutter
    trainer = BpeTrainer(vocab_size=400, initial_alphabet=ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(TRAINED_ON, trainer)
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in ("<|im_start|>", "<|im_end|>")])
    return tokenizer


@cache
def counter(make: Callable[[], Tokenizer], template: str, max_length: int = 100_000) -> TokenCounter:
    tokenizer = make()
    described = msgspec.json.decode(tokenizer.to_str(), type=Described)
    chat = ChatFormat(tokenizer, template, {"eos_token": "<|im_end|>"})
    return TokenCounter(chat, max_length, separable=is_separable(described))


SEPARATED = (smollm, gpt2, llama3, qwen2)
VISIBLE = [
    "the",
    "say",
    "isn't",
    "'ll",
    "'S",
    ".",
    ",",
    "12",
    "½",
    "²",
    "é",
    "e\u0301",
    "\u0301",
    "“",
    "—",
    "日本",
    "Ж",
]
VISIBLE += ["🎸", "ſ", "_", "\u200b", "<think>", "<|im_end|>"]
BETWEEN = [" ", "  ", "\n", "\t", "\r\n", "\u00a0", "\u2003", "\u3000", "\x1c", "\x85"]
words = st.sampled_from([*VISIBLE, *BETWEEN])
texts = st.lists(words, max_size=25).map(lambda parts: "".join(parts)) | st.lists(words, max_size=25).map(" ".join)
talks = st.lists(st.tuples(texts, texts, st.integers(0, 1)), min_size=1, max_size=3)


def messages(talk: list[tuple[str, str, int]]) -> list[dict[str, Any]]:
    return [
        message
        for asked, answered, weight in talk
        for message in (
            {"role": "user", "content": asked},
            {"role": "assistant", "content": answered, "weight": weight},
        )
    ]


@settings(max_examples=400)
@given(talks, st.sampled_from([*SEPARATED, sentencepiece]), st.sampled_from([CHATML, BRACKETS]))
def test_counts_are_those_of_the_tokenizer(talk: list[tuple[str, str, int]], make: Any, template: str) -> None:
    counting = counter(make, template)
    encoded = counting.chat.encode(messages(talk))
    assert counting.count(messages(talk)) == Counted(len(encoded.ids), encoded.trained_tokens)


@settings(max_examples=60)
@given(talks, st.integers(1, 40))
def test_what_exceeds_the_longest_length_is_cut(talk: list[tuple[str, str, int]], max_length: int) -> None:
    counting = counter(smollm, CHATML, max_length)
    encoded = counting.chat.encode(messages(talk), max_length)
    lost = bool(encoded.cut_trained and not encoded.trained_tokens)
    expected = Counted(len(encoded.ids), encoded.trained_tokens, bool(encoded.cut), lost)
    assert counting.count(messages(talk)) == expected


def test_families_whose_words_stand_alone_are_known_and_others_are_asked() -> None:
    assert [counter(make, CHATML)._separable for make in (*SEPARATED, sentencepiece)] == [True] * 4 + [False]


def described(change: Callable[[Tokenizer], object]) -> Described:
    tokenizer = smollm()
    change(tokenizer)
    return msgspec.json.decode(tokenizer.to_str(), type=Described)


def strange_split(tokenizer: Tokenizer) -> None:
    tokenizer.pre_tokenizer = Split(Regex(r"\w+ \w+"), "isolated")


def replaced(tokenizer: Tokenizer) -> None:
    tokenizer.normalizer = normalizers.Replace("  ", "\n")


def blanks_in_a_token(tokenizer: Tokenizer) -> None:
    tokenizer.add_tokens([AddedToken("as well", special=False)])


def greedy_token(tokenizer: Tokenizer) -> None:
    tokenizer.add_tokens([AddedToken("<x>", rstrip=True, special=False)])


def nothing_cuts(tokenizer: Tokenizer) -> None:
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=False)


def prefixed(tokenizer: Tokenizer) -> None:
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)


@pytest.mark.parametrize("change", [strange_split, replaced, blanks_in_a_token, greedy_token, nothing_cuts, prefixed])
def test_whatever_may_tie_words_together_is_not_cut(change: Callable[[Tokenizer], object]) -> None:
    assert is_separable(described(lambda tokenizer: None))
    assert not is_separable(described(change))


def test_memory_of_words_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "REMEMBERED", 50)
    fresh = TokenCounter(counter(smollm, CHATML).chat, 100_000, separable=True)
    said = " ".join(f"w{number}" for number in range(500))
    talk = messages([("Hello", f"{said} {said} {'x' * 80}", 1)])
    assert fresh.count(talk).tokens == len(fresh.chat.encode(talk).ids)
    assert len(fresh._words) <= 50
    assert max(map(len, fresh._words)) <= counting.LONGEST
