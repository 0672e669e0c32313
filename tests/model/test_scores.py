"""Scores of a model on tables: scikit-learn's, whatever the blocks, and of no more than a block at a time."""

import weakref
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.metrics import (
    accuracy_score,
    log_loss,
    mean_absolute_percentage_error,
    mean_squared_error,
    r2_score,
    roc_auc_score,
)

import schuss
from schuss import Model
from schuss.errors import CellError, SettingError
from schuss.model import scores as scores_module
from schuss.model.scores import Scores, scores_of
from schuss.table import table as tables
from schuss.table.source import read_table

RANDOM = np.random.default_rng(0)
COUNT = 300
X = RANDOM.normal(size=(COUNT, 2))
FRAME = pd.DataFrame(X, columns=["a", "b"]).assign(
    w=np.arange(COUNT) % 4,
    y=1e6 + X[:, 0],
    z=RANDOM.normal(size=COUNT),
    word=np.where(X.sum(axis=1) + RANDOM.normal(size=COUNT) > 1, "much", "little"),
    kind=RANDOM.choice(["a", "b", "c"], COUNT),
)
TARGETS: dict[str, list[str]] = {"one": ["y"], "two": ["y", "z"], "binary": ["word"], "multiclass": ["kind"]}


def model_of(name: str, **settings: Any) -> Model:
    table = FRAME[["a", "b", "w", *TARGETS[name]]]
    return schuss.train(
        table, TARGETS[name], weight="w", hidden=(4,), epochs=3, members=1, validation=0.0, test=0.0, **settings
    )


@pytest.fixture(scope="module", params=TARGETS)
def model(request: pytest.FixtureRequest) -> Model:
    return model_of(request.param)


@pytest.fixture(params=[7, 64, 65_536])
def block_rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    for module in (tables, scores_module):
        monkeypatch.setattr(module, "BLOCK_ROWS", request.param)
    return int(request.param)


def expected(model: Model, weights: NDArray[Any]) -> dict[str, float]:
    actual = FRAME[list(model.encoding.schema.target.names)]
    if model.classes:
        shares = model.predict_proba(FRAME)
        loss = log_loss(actual, shares, sample_weight=weights)
        found = {"accuracy": accuracy_score(actual, model.predict(FRAME), sample_weight=weights)}
        if len(model.classes) == 2:
            found["auc"] = roc_auc_score(actual.to_numpy()[:, 0] == "much", shares[:, 1], sample_weight=weights)
    else:
        predicted = model.predict(FRAME).reshape(COUNT, -1)
        loss = mean_squared_error(actual, predicted, sample_weight=weights) * actual.shape[1]
        found = {"r2": r2_score(actual, predicted, sample_weight=weights)}
    return {"loss": loss, "total_loss": loss * weights.sum(), **found}


def test_scores_are_those_of_scikit_learn_for_any_blocks(model: Model, block_rows: int) -> None:
    for table, weights in ((FRAME, FRAME["w"].to_numpy(float)), (FRAME.drop(columns="w"), np.ones(COUNT))):
        scores = model.evaluate(table)
        for name, value in expected(model, weights).items():
            assert scores[name] == pytest.approx(value, rel=1e-6), name  # targets are float32 there


def test_scores_of_blocks_are_those_of_the_whole(
    model: Model, block_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_blocks = model.evaluate(FRAME)
    monkeypatch.undo()
    assert in_blocks == pytest.approx(model.evaluate(FRAME), rel=1e-12)


def test_metrics_are_of_the_targets_own_units() -> None:
    actual, weights = FRAME[["y", "z"]].to_numpy(), FRAME["w"].to_numpy(float)
    both = model_of("two")
    predicted = both.predict(FRAME)
    own = schuss.Metric(lambda actual, predicted, weight: weight @ predicted[:, 1] / (weight @ actual[:, 1]), "share")
    scores = both.evaluate(FRAME, metrics=["mape", "rmse", own])
    assert list(scores) == ["loss", "total_loss", "mape", "rmse", "rmse of y", "rmse of z", "share"]
    assert scores["mape"] == pytest.approx(mean_absolute_percentage_error(actual, predicted, sample_weight=weights))
    share = weights @ predicted[:, 1] / (weights @ actual[:, 1])
    assert scores["share"] == pytest.approx(share, rel=1e-6)


def test_metrics_that_share_their_sums_sum_once() -> None:
    trained = model_of("one")
    scored = Scores(trained.encoding, trained.loss, ["rmse", "mse", "mae", "r2", "mape", "explained_variance"])
    assert len(scored._of_differences) == 2
    assert len(scored._of_values) == 1


def test_a_metric_of_another_task_is_refused_before_rows_are_scored() -> None:
    with pytest.raises(SettingError, match="accuracy does not exist for the task regression"):
        model_of("one", metrics=["accuracy"])


def test_training_scores_by_the_metrics_asked_for_and_by_no_others() -> None:
    trained = schuss.train(FRAME, "y", hidden=(4,), epochs=2, metrics="mae, tweedie_deviance(power=1)")
    named = ["loss", "total_loss", "mae", "tweedie_deviance(power=1)"]
    assert [list(scores) for scores in trained.record.scores.values()] == [named, named]


def test_one_row_is_scored(model: Model) -> None:
    scores = model.evaluate(FRAME.iloc[1:2])
    assert scores["loss"] == scores["total_loss"] > 0
    assert all(np.isnan(scores[name]) for name in ("r2", "auc") if name in scores)


def test_a_table_without_any_weight_is_refused(model: Model) -> None:
    with pytest.raises(CellError, match="all weights in 'w' are 0"):
        model.evaluate(FRAME.assign(w=0))


def test_for_choosing_W_targets_count_as_in_training() -> None:
    trained = model_of("two")
    rows = trained.encoding.encode(read_table(FRAME))
    outputs = trained.outputs(FRAME)
    (scores,) = scores_of(trained.encoding, trained.loss, [(outputs[np.newaxis], rows)], as_trained=True)
    assert rows.weights is not None
    expected = np.square(outputs - rows.targets).sum(axis=1) @ rows.weights / rows.weights.sum()
    assert scores["loss"] == pytest.approx(expected, rel=1e-5)
    assert scores["total_loss"] == pytest.approx(trained.evaluate(FRAME)["total_loss"], rel=1e-12)
    (several,) = scores_of(trained.encoding, trained.loss, [(outputs[np.newaxis], rows)])
    assert several == pytest.approx(trained.evaluate(FRAME), rel=1e-12)


def test_no_more_than_two_blocks_of_outputs_are_held(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "BLOCK_ROWS", 20)
    seen: list[weakref.ref[Any]] = []
    held: list[int] = []
    kind = type(model._engine)
    outputs = kind.outputs

    def watched(self: Any, W: Any, rows: Any) -> Any:
        found = outputs(self, W, rows)
        seen.append(weakref.ref(found))
        held.append(sum(ref() is not None for ref in seen))
        return found

    monkeypatch.setattr(kind, "outputs", watched)
    model.evaluate(FRAME)
    model.predict(FRAME)
    assert len(held) >= 28  # blocks, of which one may have no row that counts
    assert max(held) <= 2
