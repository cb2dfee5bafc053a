"""The release gate: what counts as served as trained, and what is said when it is not."""

from services.evaluator.domain.serving import Step, compare, objection


def step(served: float = -1.0, trained: float = -1.0, best: float | None = None) -> Step:
    return Step(served=served, trained=trained, best=trained if best is None else best)


def test_equal_replies_are_released() -> None:
    found = compare([[step(), step(-2.0, -2.0)], [step(-0.5, -0.5)]], "float32")
    assert (found.same, found.prompts, found.tokens, found.differing, found.difference) == (True, 2, 3, 0, 0.0)
    assert objection(found) == ""


def test_a_log_probability_that_is_off_withholds_a_model_though_its_text_is_the_same() -> None:
    found = compare([[step(served=-1.01)]], "float32")
    assert (found.same, found.differing) == (False, 0)
    assert "differ by up to 0.01 (0.001 is allowed)" in objection(found)
    assert compare([[step(served=-1.01)]], "bfloat16").same


def test_another_text_withholds_a_model_unless_both_tokens_were_as_likely() -> None:
    assert compare([[step(best=-1.0005)], [step()]], "float32").same
    found = compare([[step(trained=-1.0, served=-1.0, best=-0.2)], [step()]], "float32")
    assert (found.same, found.differing) == (False, 1)
    assert objection(found).count("1 of 2 replies") == 1


def test_an_engine_that_says_nothing_is_not_the_same() -> None:
    assert not compare([[]], "float32").same
