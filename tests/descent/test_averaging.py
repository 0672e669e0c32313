"""Averages of W: each against its definition, written out over the steps."""

from collections.abc import Callable

import numpy as np
import pytest

from schuss.descent import EMA, SWA
from schuss.descent.averaging import AVERAGINGS, Averaging, Last, averaging_named
from schuss.errors import SettingError
from schuss.groups import in_words

STEPS = 40
W = np.random.default_rng(0).normal(size=STEPS + 1)  # the starting W, then W after each step


def _ema() -> float:
    average = W[0]
    for t in range(1, STEPS + 1):
        decay = min(0.7, (1 + t) / (10 + t))
        average = decay * average + (1 - decay) * W[t]
    return float(average)


# An average with numbers of its own, and what it is after all steps; a new one needs an entry.
EXPECTED: dict[str, tuple[Averaging, Callable[[], float]]] = {
    "ema": (EMA(decay=0.7), _ema),
    "swa": (SWA(start=0.75), lambda: float(W[31:].mean())),
    "none": (Last(), lambda: float(W[-1])),
}


@pytest.mark.parametrize("name", AVERAGINGS)
def test_the_average_follows_its_definition(name: str) -> None:
    averaging, expected = EXPECTED[name]
    average = W[0]
    for t, rate in enumerate(averaging.rates(0, STEPS, STEPS), start=1):
        average += rate * (W[t] - average)
    assert average == pytest.approx(expected(), rel=1e-12)


@pytest.mark.parametrize("name", AVERAGINGS)
def test_rates_are_shares_and_do_not_depend_on_the_chunks_they_are_asked_in(name: str) -> None:
    averaging = EXPECTED[name][0]
    whole = averaging.rates(0, 50, 50)
    assert (whole == np.concatenate([averaging.rates(0, 20, 50), averaging.rates(20, 30, 50)])).all()
    assert ((whole > 0) & (whole <= 1)).all()


def test_until_swa_starts_its_average_is_W() -> None:
    assert SWA(start=0.5).rates(0, 8, 8).tolist() == [1, 1, 1, 1, 1, 1 / 2, 1 / 3, 1 / 4]


@pytest.mark.parametrize("name", AVERAGINGS)
def test_an_average_is_found_by_its_words(name: str) -> None:
    averaging = EXPECTED[name][0]
    assert averaging_named(in_words(averaging)) == averaging
    assert averaging_named(averaging) is averaging


@pytest.mark.parametrize("words", ["ema(decay=1)", "ema(decay=-0.1)", "swa(start=1)", "swa(start=-1)", "mean"])
def test_what_is_out_of_range_or_unknown_is_refused(words: str) -> None:
    with pytest.raises(SettingError, match=r"must be at least 0 and below 1|choose one of ema, swa, none"):
        averaging_named(words)
