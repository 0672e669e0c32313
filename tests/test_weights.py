"""A row of weight 2 is a row that stands twice, in all that is computed from a table: from scales to predictions."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

import schuss
from schuss import Model
from schuss.metrics import METRICS
from schuss.table.learning import learn_schema
from schuss.table.schema import BooleanColumn, NumericColumn, find_target
from schuss.table.source import read_table

RANDOM = np.random.default_rng(0)
COUNT = 150
WEIGHTS = RANDOM.integers(0, 4, COUNT)
REPEATED = np.repeat(np.arange(COUNT), WEIGHTS)
FRAME = pd.DataFrame(RANDOM.normal(size=(COUNT, 3)), columns=list("abc"))
FRAME["a"] += WEIGHTS  # a mean without weights is another one
FRAME["flag"] = RANDOM.random(COUNT) < 0.2 + 0.2 * WEIGHTS
FRAME["kind"] = RANDOM.choice(["x", "y", "z"], COUNT)
FRAME.loc[::7, "b"] = np.nan
SCORE = FRAME.a + FRAME.flag + (FRAME.kind == "x") + 0.5 * RANDOM.normal(size=COUNT)
TARGETS: dict[str, Any] = {
    "regression": np.exp(0.3 * SCORE),  # above 0, as some metrics want it
    "binary": np.where(SCORE > 2, "high", "low"),
    "multiclass": np.digitize(SCORE, [1, 3]).astype(str),
}
FULL_BATCH: list[dict[str, Any]] = [
    {"optimizer": "lbfgs", "l2": 1e-3, "epochs": 40},
    {"optimizer": "gradient_descent", "learning_rate": 0.1, "batch_size": 10_000, "epochs": 200},
]


def weighted(task: str) -> pd.DataFrame:
    return FRAME.assign(target=TARGETS[task], weight=WEIGHTS)


def repeated(task: str) -> pd.DataFrame:
    return FRAME.assign(target=TARGETS[task]).iloc[REPEATED]


def trained(table: pd.DataFrame, **settings: Any) -> Model:
    weight = "weight" if "weight" in table else None
    plain: dict[str, Any] = {"members": 1, "numeric": "standard", "dropout": 0.0}
    return schuss.train(table, "target", weight=weight, validation=0.0, test=0.0, **plain, **settings)


@pytest.mark.parametrize("settings", FULL_BATCH)
@pytest.mark.parametrize("hidden", [(), (8,)])
@pytest.mark.parametrize("task", TARGETS)
def test_full_batch_training_reaches_the_same_predictions(task: str, hidden: Any, settings: dict[str, Any]) -> None:
    settings = {**settings, "hidden": hidden, "activation": "tanh", "precision": "float64"}
    one, other = trained(weighted(task), **settings), trained(repeated(task), **settings)
    np.testing.assert_allclose(one.outputs(FRAME), other.outputs(FRAME), atol=1e-6)


def test_full_batch_training_in_float32_is_the_same_but_for_rounding() -> None:
    one, other = (trained(made("regression"), hidden=(), **FULL_BATCH[1]) for made in (weighted, repeated))
    np.testing.assert_allclose(one.predict(FRAME), other.predict(FRAME), rtol=1e-4)


def test_scales_of_columns_and_of_the_target_are_the_same() -> None:
    one, other = (trained(made("regression"), hidden=(), epochs=1).encoding.schema for made in (weighted, repeated))
    assert one.target.mean == pytest.approx(other.target.mean, rel=1e-12)
    assert one.target.deviation == pytest.approx(other.target.deviation, rel=1e-12)
    assert [column.name for column in one.columns] == [column.name for column in other.columns]
    for column, again in zip(one.columns, other.columns, strict=True):
        if isinstance(column, NumericColumn) and isinstance(again, NumericColumn):
            assert column.mean == pytest.approx(again.mean, rel=1e-12)
            assert column.deviation == pytest.approx(again.deviation, rel=1e-12)
        if isinstance(column, BooleanColumn) and isinstance(again, BooleanColumn):
            assert column.weighted_share == pytest.approx(again.share, rel=1e-12)
            assert column.share != again.share  # it describes rows, and these are others


def test_quantiles_and_counts_are_those_of_rows_whatever_they_weigh() -> None:
    table = read_table(weighted("regression"))
    target, blocks = find_target(table, ["target"]), [(table, slice(None))]
    one = learn_schema(table, target, blocks, weight="weight")
    other = learn_schema(table, target, blocks, exclude="weight")
    for column, again in zip(one.columns, other.columns, strict=True):
        for name in ("quantiles", "counts", "share", "missing"):
            assert getattr(column, name, None) == getattr(again, name, None)


@pytest.mark.parametrize("name", METRICS)
def test_metrics_are_the_same(name: str) -> None:
    task = METRICS[name].tasks[0]
    model = trained(weighted(task), hidden=(), epochs=20, **({"loss": "poisson"} if task == "regression" else {}))
    one, other = (model.evaluate(made(task), metrics=[name]) for made in (weighted, repeated))
    assert one["loss"] == pytest.approx(other["loss"], rel=1e-6)
    assert one[name] == pytest.approx(other[name], rel=1e-6)
    without = model.evaluate(FRAME.assign(target=TARGETS[task], weight=1), metrics=[name])
    assert name == "max_error" or one[name] != pytest.approx(without[name], rel=1e-6)
