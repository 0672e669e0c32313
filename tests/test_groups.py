"""Typed groups in words: what is said comes back, and what cannot be meant is refused."""

import pytest
from hypothesis import given, strategies as some

from schuss.descent import Adam, Cosine
from schuss.descent.optimizers import OPTIMIZERS
from schuss.descent.schedules import SCHEDULES
from schuss.errors import SettingError
from schuss.groups import from_words, in_words


@given(some.floats(0, 0.999), some.none() | some.floats(1e-9, 1e9))
def test_what_is_said_in_words_is_the_same_group_again(beta1: float, limit: float | None) -> None:
    rule = Adam(beta1=beta1, clip_value=limit)
    assert from_words(in_words(rule), OPTIMIZERS, "optimizer") == rule


def test_a_group_is_its_name_and_what_differs_from_its_defaults() -> None:
    assert in_words(Adam()) == "adam"
    assert in_words(Cosine(final=0.1)) == "cosine(final=0.1)"


@pytest.mark.parametrize("words", ["cosine(0.5)", "cosine(final=0.5)", " cosine( final = 5e-1 ) "])
def test_numbers_may_be_given_in_order_or_by_name(words: str) -> None:
    assert from_words(words, SCHEDULES, "schedule") == Cosine(final=0.5)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("cosin", "no schedule 'cosin': choose one of constant"),
        ("cosine(", "cannot be read"),
        ("cosine(final=__import__('os'))", "cannot be read"),
        ("cosine(1, 2, 3, 4, 5)", "does not fit: cosine has final, cycles, growth, warmup"),
        ("cosine(0.5, final=0.5)", "does not fit"),
        ("cosine(end=0.5)", "does not fit"),
        ("cosine(2)", "must lie between 0 and 1"),
        ("(" * 300, "cannot be read"),
        ("", "cannot be read"),
    ],
)
def test_words_that_cannot_be_meant_are_refused(words: str, said: str) -> None:
    with pytest.raises(SettingError, match=said.replace("(", r"\(")):
        from_words(words, SCHEDULES, "schedule")
