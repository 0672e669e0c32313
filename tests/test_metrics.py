"""Scores against scikit-learn's, with ties and weights, however the rows are cut into blocks."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray
from sklearn.metrics import (
    accuracy_score,
    log_loss,
    mean_absolute_error,
    mean_squared_error,
    r2_score,
    roc_auc_score,
    root_mean_squared_error,
)

from schuss.arrays import Floats, Vector
from schuss.losses import LogLoss, SquaredError
from schuss.metrics import AreaUnderCurve, ClassScores, LossScores, RegressionScores

RANDOM = np.random.default_rng(0)
COUNT = 200
WEIGHTS = RANDOM.random(COUNT) * (RANDOM.random(COUNT) < 0.8)
WEIGHTS[50:90] = 0  # some blocks have no weight at all
WEIGHTED = pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["unweighted", "weighted"])
CUTS = st.lists(st.integers(0, COUNT), max_size=8).map(sorted)
ACTUAL, PREDICTED = 10 + RANDOM.normal(size=(COUNT, 2)), 10 + RANDOM.normal(size=(COUNT, 2))
POSITIVE, SCORE = RANDOM.random(COUNT) < 0.3, RANDOM.integers(0, 8, COUNT) / 7  # 0 and 1 too


def blocks(cuts: list[int], actual: NDArray[Any], predicted: Floats, weights: Vector | None) -> list[Any]:
    """The arguments of `add` for each block; rows of predictions are on the axis behind that of epochs, if any."""
    spans = [slice(start, stop) for start, stop in zip([0, *cuts], [*cuts, COUNT], strict=True)]
    axis = predicted.shape.index(COUNT)
    return [
        (actual[span], predicted[(slice(None),) * axis + (span,)], None if weights is None else weights[span])
        for span in spans
    ]


def added(kind: Any, cuts: list[int], *arrays: Any) -> Any:
    for block in blocks(cuts, *arrays):
        kind.add(*block)
    return kind


@WEIGHTED
@given(cuts=CUTS)
def test_regression_scores_are_those_of_scikit_learn(weights: Vector | None, cuts: list[int]) -> None:
    scores = added(RegressionScores(("a", "b")), cuts, ACTUAL, PREDICTED, weights).scores()
    for name, reference in (("rmse", root_mean_squared_error), ("r2", r2_score), ("mae", mean_absolute_error)):
        assert scores[name] == pytest.approx(reference(ACTUAL, PREDICTED, sample_weight=weights), rel=1e-12)
    of_b = root_mean_squared_error(ACTUAL[:, 1], PREDICTED[:, 1], sample_weight=weights)
    assert scores["rmse of b"] == pytest.approx(of_b, rel=1e-12)


@WEIGHTED
@given(cuts=CUTS)
def test_accuracy_is_that_of_scikit_learn(weights: Vector | None, cuts: list[int]) -> None:
    actual, probabilities = (10 * SCORE).astype(int) % 3, np.stack([SCORE, 1 - SCORE, POSITIVE * 0.6], axis=1)
    scores = added(ClassScores(3), cuts, actual.astype(float), probabilities, weights).scores()
    expected = accuracy_score(actual, probabilities.argmax(axis=1), sample_weight=weights)
    assert scores == {"accuracy": pytest.approx(expected, rel=1e-12)}


@WEIGHTED
@given(cuts=CUTS)
def test_area_under_the_curve_counts_ties_half(weights: Vector | None, cuts: list[int]) -> None:
    area, bound = added(AreaUnderCurve(), cuts, POSITIVE, SCORE, weights).areas()
    assert area == pytest.approx(roc_auc_score(POSITIVE, SCORE, sample_weight=weights), rel=1e-12)
    assert bound == 0


@WEIGHTED
@given(cuts=CUTS)
def test_losses_are_those_of_scikit_learn(weights: Vector | None, cuts: list[int]) -> None:
    squares = added(LossScores(SquaredError()), cuts, ACTUAL[:, :1], PREDICTED[np.newaxis, :, :1], weights).scores()
    expected = mean_squared_error(ACTUAL[:, 0], PREDICTED[:, 0], sample_weight=weights)
    assert squares["loss"] == pytest.approx(expected, rel=1e-12)
    assert squares["total_loss"] == pytest.approx(expected * (COUNT if weights is None else weights.sum()), rel=1e-12)
    outputs, targets = PREDICTED[np.newaxis, :, :1] - 10, POSITIVE[:, np.newaxis].astype(float)
    logs = added(LossScores(LogLoss()), cuts, targets, outputs, weights).scores()
    expected = log_loss(POSITIVE, 1 / (1 + np.exp(-outputs[0, :, 0])), sample_weight=weights)
    assert logs["loss"] == pytest.approx(expected, rel=1e-12)


@WEIGHTED
@settings(max_examples=15)
@given(cuts=CUTS, exact_rows=st.integers(0, COUNT - 1), spread=st.sampled_from([1e-4, 0.1, 3.0]))
def test_an_area_from_bins_is_off_by_less_than_its_bound(
    weights: Vector | None, cuts: list[int], exact_rows: int, spread: float
) -> None:
    score = 1 / (1 + np.exp(-spread * (PREDICTED[:, 0] - 10 + POSITIVE)))
    area, bound = added(AreaUnderCurve(exact_rows), cuts, POSITIVE, score, weights).areas()
    assert abs(area - roc_auc_score(POSITIVE, score, sample_weight=weights)) <= bound + 1e-15
    assert 0 <= bound < {1e-4: 0.5, 0.1: 1e-2, 3.0: 1e-3}[spread]
    whole = added(AreaUnderCurve(exact_rows), [], POSITIVE, score, weights).areas()
    assert whole == (area, bound)


def test_in_bins_as_in_rows_certain_predictions_lie_at_the_ends() -> None:
    score = np.array([0, 1e-320, 1e-30, 0.5, 1 - 1e-16, 1])
    for exact_rows in (0, 6):
        area = AreaUnderCurve(exact_rows)
        area.add(np.array([0, 0, 0, 1, 1, 1]) > 0, score)
        assert np.array_equal(area.areas(), (1, 0))


def test_bins_of_each_epoch_are_its_own() -> None:
    scores = np.stack([SCORE, 1 - SCORE, POSITIVE])
    area, _ = added(AreaUnderCurve(0), [70], POSITIVE, scores, WEIGHTS).areas()
    alone = [added(AreaUnderCurve(0), [], POSITIVE, score, WEIGHTS).areas()[0] for score in scores]
    assert area.tolist() == alone


@pytest.mark.parametrize("exact_rows", [0, COUNT])
@pytest.mark.parametrize("positive", [np.ones(COUNT, bool), np.zeros(COUNT, bool)])
def test_area_under_the_curve_of_one_class_is_not_a_number(positive: NDArray[np.bool_], exact_rows: int) -> None:
    assert np.isnan(added(AreaUnderCurve(exact_rows), [70], positive, SCORE, None).areas()).all()
    assert np.isnan(
        added(AreaUnderCurve(exact_rows), [70], POSITIVE, SCORE, WEIGHTS * positive * POSITIVE).areas()
    ).all()


@pytest.mark.parametrize("cuts", [[], [50, 90]], ids=["whole", "cut"])
def test_rows_of_weight_zero_do_not_count(cuts: list[int]) -> None:
    actual, counts = ACTUAL.copy(), WEIGHTS > 0
    actual[~counts] = 5  # so that only they differ from the others
    actual[counts] = 0.1
    scores = added(RegressionScores(), cuts, actual, PREDICTED, WEIGHTS).scores()
    assert np.isnan(scores["r2"])
    alone = RegressionScores()
    alone.add(actual[counts], PREDICTED[counts], WEIGHTS[counts])
    assert scores["rmse"] == pytest.approx(alone.scores()["rmse"], rel=1e-12)


def test_without_any_weight_no_average_is_a_number() -> None:
    for kind, actual, predicted in (
        (RegressionScores(), ACTUAL, PREDICTED),
        (ClassScores(2), POSITIVE, np.stack([1 - SCORE, SCORE], axis=1)),
    ):
        found = added(kind, [7], actual, predicted, np.zeros(COUNT)).scores()
        assert np.isnan(list(found.values())).all()
    losses = added(LossScores(SquaredError()), [7], ACTUAL, PREDICTED[np.newaxis], np.zeros(COUNT)).scores()
    assert np.isnan(losses["loss"])
    assert losses["total_loss"] == 0


def test_one_row_has_errors_and_no_determination() -> None:
    one = RegressionScores()
    one.add(np.array([[3.0]]), np.array([[5.0]]))
    scores = one.scores()
    assert float(scores["rmse"]) == float(scores["mae"]) == 2
    assert np.isnan(scores["r2"])


def test_the_spread_of_a_target_far_from_zero_keeps_its_digits() -> None:
    actual = (1e9 + RANDOM.normal(size=(COUNT, 1))).round(3)
    predicted = actual + 0.5 * RANDOM.normal(size=(COUNT, 1))
    scores = added(RegressionScores(), list(range(5, COUNT, 5)), actual, predicted, None).scores()
    assert scores["r2"] == pytest.approx(r2_score(actual - 1e9, predicted - 1e9), rel=1e-7)


@WEIGHTED
@pytest.mark.parametrize("cuts", [[], [60, 130]], ids=["whole", "cut"])
def test_epochs_side_by_side_are_scored_as_each_alone(weights: Vector | None, cuts: list[int]) -> None:
    shares = RANDOM.random((3, COUNT, 2))
    for make, actual, predicted in (
        (lambda: RegressionScores(("a", "b")), ACTUAL, shares + ACTUAL),
        (lambda: ClassScores(2), POSITIVE, shares),
    ):
        together = added(make(), cuts, actual, predicted, weights).scores()
        for epoch, own in enumerate(predicted):
            alone = added(make(), cuts, actual, own, weights).scores()
            assert {name: values[epoch] for name, values in together.items()} == alone
