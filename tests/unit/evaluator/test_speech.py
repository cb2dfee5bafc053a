"""What may be told of a reply while it is being made: whole characters, and nothing of a stop string."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.evaluator.domain.speech import Speech


def told(octets: list[bytes], stops: tuple[str, ...] = ()) -> tuple[list[str], list[int], bool]:
    """Say all, then end; return the texts told, the numbers of the tokens told, and whether a stop string came."""
    speech: Speech[int] = Speech(stops)
    heard = []
    for number, each in enumerate(octets):
        heard.append(speech.say(each, number))
        if speech.stopped:
            break
    heard.append(speech.end())
    return [each.text for each in heard], [token for each in heard for token in each.tokens], speech.stopped


def test_half_a_character_waits_for_its_other_half() -> None:
    face = "😅".encode()
    texts, tokens, _ = told([b"ok ", face[:2], face[2:3], face[3:] + b"!"])
    assert texts == ["ok ", "", "", "😅!", ""]
    assert tokens == [0, 1, 2, 3]


def test_a_character_that_is_never_whole_is_told_as_unreadable_at_the_end() -> None:
    assert told([b"a", "é".encode()[:1]])[0] == ["a", "", "�"]


def test_a_stop_string_across_tokens_is_not_told_and_ends_the_reply() -> None:
    texts, tokens, stopped = told([b"one", b" two", b" S", b"TO", b"P three", b" four"], ("STOP",))
    assert ("".join(texts), stopped) == ("one two ", True)
    assert tokens == [0, 1, 2], "a token is told if any of its text is"


def test_what_only_looks_like_a_stop_string_is_told_once_it_is_clear() -> None:
    texts, tokens, stopped = told([b"a", b"\n", b"b", b"\n", b"\n"], ("\n\n",))
    assert texts == ["a", "", "\nb", "", "", ""]
    assert (tokens, stopped) == ([0, 1, 2], True)


def test_what_was_held_back_is_told_when_the_reply_ends_by_itself() -> None:
    texts, tokens, stopped = told([b"Hello", b" ST"], ("STOP",))
    assert (texts, tokens, stopped) == (["Hello", " ", "ST"], [0, 1], False)


def test_the_first_of_several_stop_strings_counts() -> None:
    assert told([b"abcdef"], ("ef", "cd"))[0] == ["ab", ""]


def test_a_token_without_text_is_told_with_what_follows_it() -> None:
    assert told([b"a", b"", b"b"])[1] == [0, 1, 2]


TEXT = st.text(st.sampled_from("ab\nSTOPé😅 "), max_size=30)


@given(text=TEXT, stop=st.text(st.sampled_from("abSTOP\n"), min_size=1, max_size=4), cuts=st.data())
def test_however_a_text_is_cut_into_tokens_the_same_is_told(text: str, stop: str, cuts: st.DataObject) -> None:
    octets, tokens = text.encode(), []
    while octets:
        size = cuts.draw(st.integers(1, 5))
        tokens.append(octets[:size])
        octets = octets[size:]
    texts, numbers, stopped = told(tokens, (stop,))
    assert "".join(texts) == text.split(stop, 1)[0]
    assert stopped == (stop in text)
    assert numbers == list(range(len(numbers)))


@pytest.mark.parametrize("stops", [(), ("x",)])
def test_nothing_said_is_nothing_told(stops: tuple[str, ...]) -> None:
    assert told([], stops) == ([""], [], False)
