"""What is told of a table that differs from the training rows, and that nothing is told of one that does not."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

import schuss
from schuss.errors import ColumnError
from schuss.table.drift import ALARMING, Drift, drift
from schuss.table.learning import learn_schema
from schuss.table.schema import Schema, find_target
from schuss.table.source import read_table


def frame(count: int, seed: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "y": random.normal(size=count),
            "age": random.integers(18, 91, count).astype(float),
            "income": random.lognormal(size=count),
            "city": random.choice(["Bern", "Rome", "Oslo"], count, p=[0.6, 0.3, 0.1]),
            "smoker": random.random(count) < 0.3,
            "height": np.where(random.random(count) < 0.2, np.nan, random.normal(170, 10, count)),
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(random.integers(0, 366, count), "D"),
        }
    )


def schema(rows: pd.DataFrame) -> Schema:
    table = read_table(rows)
    return learn_schema(table, find_target(table, ["y"]), ((block, slice(0, len(block))) for block in table.blocks()))


KNOWN = schema(frame(5000, 0))


def found(**columns: Any) -> tuple[Drift, ...]:
    """Of a thousand rows, some columns of which are others."""
    return drift(KNOWN, read_table(frame(1000, 1).assign(**columns)))


@pytest.mark.parametrize("count", [1, 10, 100, 10_000, 150_000])
def test_rows_of_the_same_kind_are_nothing_to_tell_of(count: int) -> None:
    for seed in range(2, 6 if count > 10_000 else 40):
        assert drift(KNOWN, read_table(frame(count, seed))) == ()


@pytest.mark.parametrize(
    ("columns", "kind", "words"),
    [
        ({"city": ["Bern"] * 900 + ["Rome"] * 100}, "moved", "'Bern' in 90% of the rows, "),
        ({"city": ["Bern"] * 600 + ["Rome"] * 280 + ["Paris"] * 70 + ["Nice"] * 50}, "unknown",
         "2 texts unknown to the model in 12% of the rows: 'Paris', 'Nice'"),
        ({"age": [*range(18, 91)] * 13 + [120.0] * 51}, "outside",
         "5.1% of the values above 90, the greatest seen, up to 120"),
        ({"age": [*range(18, 91)] * 13 + [50.0] * 50 + [-999.0]}, "outside",
         "0.1% of the values below 18, the least seen, down to -999"),
        ({"age": [30.0] * 999 + [np.nan]}, "moved", "100% of the values up to 30, 1"),
        ({"age": [*range(18, 91)] * 13 + [np.nan] * 51}, "missing", "5.1% of the values are missing, none in training"),
        ({"height": [170.0, 160.0, 180.0, 165.0, 175.0] * 200}, "missing", "0% of the values are missing, "),
        ({"smoker": [True, False] * 500}, "moved", "'true' in 50% of the rows, "),
        ({"day": [pd.Timestamp("2025-02-01")] * 1000}, "outside",
         "100% of the values above 2024-12-31, the greatest seen, up to 2025-02-01"),
    ],
)  # fmt: skip
def test_what_differs_is_told_with_its_figures(columns: dict[str, Any], kind: str, words: str) -> None:
    (name,) = columns
    told = found(**columns)
    assert {one.column for one in told} == {name}
    assert [one.words.startswith(words) for one in told if one.kind == kind] == [True]


def test_the_most_alarming_comes_first() -> None:
    told = found(age=[30.0] * 1000, city=["Bern"] * 580 + ["Rome"] * 300 + ["Oslo"] * 100 + ["Nice"] * 20)
    assert [one.column for one in told] == ["age", "city"]
    assert told[0].alarm > ALARMING > told[1].alarm
    assert str(told[1]) == "city: 1 text unknown to the model in 2% of the rows: 'Nice'"


def test_texts_that_were_rare_in_training_may_be_so_again() -> None:
    texts = ["often"] * 900 + [f"rare {number}" for number in range(100)]
    rows = pd.DataFrame({"y": np.arange(1000) * 0.5, "x": texts})
    known, others = schema(rows), [f"new {number}" for number in range(500)]
    assert drift(known, read_table(rows.assign(x=texts[:900] + others[:100]))) == ()
    told = drift(known, read_table(rows.assign(x=texts[:500] + others)))
    (unknown,) = (one for one in told if one.kind == "unknown")
    assert unknown.words.startswith("500 texts unknown to the model in 50% of the rows (rare or new; 10% were rare")


def test_the_largest_numbers_overflow_nothing() -> None:
    rows = pd.DataFrame({"y": np.arange(100) * 0.5, "x": 1.7e308 * np.linspace(-1, 1, 100)})
    assert drift(schema(rows), read_table(rows)) == ()


def test_a_model_compares_a_table_with_its_training_rows() -> None:
    rows = frame(300, 0)
    model = schuss.train(rows, "y", hidden=(), epochs=1)
    assert model.drift(rows) == ()
    assert [one.column for one in model.drift(rows.assign(age=200.0))] == ["age", "age"]
    with pytest.raises(ColumnError, match="'age'"):
        model.drift(rows.drop(columns="age"))
