"""Whatever a table is like, default settings end no worse than the best constant on validation rows, without a NaN."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

import schuss

RANDOM = np.random.default_rng(5)


def numbers(rows: int, columns: int) -> pd.DataFrame:
    return pd.DataFrame(RANDOM.normal(size=(rows, columns)), columns=[f"x{place}" for place in range(columns)])


def noise(rows: int, columns: int) -> pd.DataFrame:
    return numbers(rows, columns).assign(y=RANDOM.normal(size=rows))


def linear(rows: int, columns: int) -> pd.DataFrame:
    frame = numbers(rows, columns)
    return frame.assign(y=frame["x0"] + RANDOM.normal(size=rows))


def mostly_missing() -> pd.DataFrame:
    frame = linear(600, 8)
    return frame.mask(RANDOM.random(frame.shape) < 0.99).assign(y=frame["y"])


def rare() -> pd.DataFrame:
    frame = numbers(40_000, 3)
    return frame.assign(y=np.where(np.arange(40_000) % 10_000 == 0, "yes", "no"))


def far_out() -> pd.DataFrame:
    frame = pd.DataFrame(RANDOM.standard_cauchy(size=(500, 3)) ** 3, columns=["a", "b", "c"])
    return frame.assign(y=RANDOM.standard_cauchy(500))


def names() -> pd.DataFrame:
    """Each text stands four times, and says nothing."""
    return pd.DataFrame({"name": [f"n{place % 250}" for place in range(1000)], "y": RANDOM.integers(0, 2, 1000) > 0})


TABLES: dict[str, Callable[[], pd.DataFrame]] = {
    "20 rows": lambda: linear(20, 3),
    "20 rows of noise": lambda: noise(20, 3),
    "one column": lambda: linear(200, 1),
    "2,000 columns": lambda: linear(240, 2000),
    "99 % missing": mostly_missing,
    "1:10,000": rare,
    "noise": lambda: noise(500, 10),
    "far outliers": far_out,
    "names": names,
    "three values": lambda: noise(300, 2).round(0).assign(y=lambda frame: frame["y"].clip(-1, 1)),
}


@pytest.mark.parametrize("name", TABLES)
def test_no_table_ends_worse_than_the_best_constant(name: str) -> None:
    frame = TABLES[name]()
    held_out = RANDOM.random(len(frame)) < 0.4
    training, validation = frame[~held_out], frame[held_out]
    model = schuss.train(training, "y", validation=validation, test=0, effort="fast")
    if model.classes:
        probabilities = model.predict_proba(validation)
        assert np.isfinite(probabilities).all()
        shares = training["y"].value_counts(normalize=True)
        constant = -np.mean([np.log(shares[label]) for label in validation["y"]])
        reached = model.evaluate(validation)["loss"]
    else:
        predicted = model.predict(validation)
        assert np.isfinite(predicted).all()
        constant = float(np.mean((validation["y"] - training["y"].mean()) ** 2))
        reached = float(np.mean((validation["y"] - predicted) ** 2))
    assert reached <= constant * (1 + 1e-5)
