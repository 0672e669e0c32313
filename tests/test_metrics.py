"""Scores against scikit-learn's, with ties and weights, however the rows are cut into blocks."""

from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    explained_variance_score,
    f1_score,
    log_loss,
    matthews_corrcoef,
    max_error,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_gamma_deviance,
    mean_poisson_deviance,
    mean_squared_error,
    mean_tweedie_deviance,
    precision_score,
    r2_score,
    recall_score,
    roc_auc_score,
    root_mean_squared_error,
)

from schuss.arrays import Floats, Vector
from schuss.errors import SettingError
from schuss.losses import LogLoss, SquaredError
from schuss.metrics import METRICS, Metric, greater_is_better, metric_named, metrics_for
from schuss.metrics.ranking import Ranking
from schuss.metrics.sums import LossScores

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
    spans = [slice(start, stop) for start, stop in zip([0, *cuts], [*cuts, len(actual)], strict=True)]
    axis = predicted.shape.index(len(actual))
    return [
        (actual[span], predicted[(slice(None),) * axis + (span,)], None if weights is None else weights[span])
        for span in spans
    ]


def added(kind: Any, cuts: list[int], *arrays: Any) -> Any:
    for block in blocks(cuts, *arrays):
        kind.add(*block)
    return kind


def score(name: str, cuts: list[int], actual: NDArray[Any], predicted: Floats, weights: Vector | None) -> Floats:
    metric = metric_named(name)
    return metric.score(added(metric.sums()(), cuts, actual, predicted, weights))


def near_half(actual: NDArray[Any], predicted: Floats, sample_weight: Any = None) -> Any:
    """scikit-learn's weighted median is the lower one of two in the middle."""
    sizes = np.abs(actual - predicted)
    return np.asarray([np.median(np.repeat(own, repeats(sample_weight))) for own in sizes.T]).mean()


def repeats(weights: Vector | None) -> Any:
    return 1 if weights is None else weights.astype(int)


def calibration(actual: NDArray[Any], probabilities: Floats, sample_weight: Any = None) -> float:
    """Bin by bin, as in the paper."""
    weight = np.ones(COUNT) if sample_weight is None else sample_weight
    confidence, hit = probabilities.max(axis=1), probabilities.argmax(axis=1) == actual
    total = 0.0
    for edge in range(15):
        inside = (confidence > edge / 15) & (confidence <= (edge + 1) / 15)
        if weight[inside].sum():
            gap = np.average(hit[inside], weights=weight[inside]) - np.average(
                confidence[inside], weights=weight[inside]
            )
            total += weight[inside].sum() / weight.sum() * abs(gap)
    return total


def by_target(function: Any) -> Any:
    """Of functions of one target."""
    return lambda actual, predicted, sample_weight=None: np.mean(
        [function(own, other, sample_weight=sample_weight) for own, other in zip(actual.T, predicted.T, strict=True)]
    )


def counted(function: Any) -> Any:
    """Of functions without weights, rows of weight 0 left out."""
    return lambda actual, predicted, sample_weight=None: function(
        *(values if sample_weight is None else values[sample_weight > 0] for values in (actual, predicted))
    )


def of_labels(function: Any, **others: Any) -> Any:
    return lambda actual, probabilities, sample_weight=None: function(
        actual, probabilities.argmax(axis=1), sample_weight=sample_weight, **others
    )


REGRESSION: dict[str, Any] = {
    "rmse": root_mean_squared_error,
    "mse": mean_squared_error,
    "mae": mean_absolute_error,
    "r2": r2_score,
    "explained_variance": explained_variance_score,
    "median_absolute_error": near_half,
    "max_error": counted(by_target(lambda actual, predicted, sample_weight: max_error(actual, predicted))),
    "mape": mean_absolute_percentage_error,
    "poisson_deviance": by_target(mean_poisson_deviance),
    "gamma_deviance": by_target(mean_gamma_deviance),
    "tweedie_deviance": by_target(partial(mean_tweedie_deviance, power=1.5)),
    "tweedie_deviance(power=3)": by_target(partial(mean_tweedie_deviance, power=3)),
}
BINARY: dict[str, Any] = {
    "accuracy": of_labels(accuracy_score),
    "balanced_accuracy": of_labels(balanced_accuracy_score),
    "log_loss": lambda *arrays, **others: log_loss(*arrays, labels=range(arrays[1].shape[1]), **others),
    "brier": lambda actual, shares, **others: brier_score_loss(actual, shares[:, 1], **others),
    "f1": of_labels(f1_score),
    "f1(average=macro)": of_labels(f1_score, average="macro"),
    "precision": of_labels(precision_score),
    "recall": of_labels(recall_score),
    "auc": lambda actual, shares, **others: roc_auc_score(actual, shares[:, 1], **others),
    "average_precision": lambda actual, shares, **others: average_precision_score(actual, shares[:, 1], **others),
    "mcc": of_labels(matthews_corrcoef),
    "ece": calibration,
}
SEVERAL: dict[str, Any] = {
    **BINARY,
    "brier": lambda actual, shares, **others: sum(
        brier_score_loss(actual == place, shares[:, place], **others) for place in range(3)
    ),
    "f1": of_labels(f1_score, average="macro"),
    "precision": of_labels(precision_score, average="macro"),
    "recall": of_labels(recall_score, average="macro"),
    "auc": lambda actual, shares, **others: np.mean(
        [roc_auc_score(actual == place, shares[:, place], **others) for place in range(3)]
    ),
    "average_precision": lambda actual, shares, **others: np.mean(
        [average_precision_score(actual == place, shares[:, place], **others) for place in range(3)]
    ),
}
WHOLE = np.random.default_rng(1).integers(0, 4, COUNT).astype(float)  # so that a median can be made of repetitions
PROBABILITIES = {
    classes: np.random.default_rng(2).dirichlet(np.full(classes, 0.7), COUNT).round(2) for classes in (2, 3)
}
for _shares in PROBABILITIES.values():
    _shares[:, 0] = 1 - _shares[:, 1:].sum(axis=1)
CASES = [
    *(("regression", name, ACTUAL, PREDICTED, reference) for name, reference in REGRESSION.items()),
    *(("binary", name, RANDOM.integers(0, 2, COUNT), PROBABILITIES[2], own) for name, own in BINARY.items()),
    *(("multiclass", name, RANDOM.integers(0, 3, COUNT), PROBABILITIES[3], own) for name, own in SEVERAL.items()),
]
EACH = pytest.mark.parametrize(
    ("task", "name", "actual", "predicted", "reference"), CASES, ids=[f"{task} {name}" for task, name, *_ in CASES]
)


@EACH
@pytest.mark.parametrize("weights", [None, WHOLE], ids=["unweighted", "weighted"])
def test_metrics_are_those_of_scikit_learn(
    task: str, name: str, actual: NDArray[Any], predicted: Floats, reference: Any, weights: Vector | None
) -> None:
    expected = reference(actual, predicted, sample_weight=weights)
    for cuts in ([], [0, 7, 7, 64, 190]):
        assert score(name, cuts, actual, predicted, weights) == pytest.approx(expected, rel=1e-12)


@EACH
def test_a_weight_is_a_repetition(
    task: str, name: str, actual: NDArray[Any], predicted: Floats, reference: Any
) -> None:
    times = WHOLE.astype(int)
    metric = metric_named(name)
    sums = metric.sums()()
    sums.add(actual.repeat(times, axis=0), predicted.repeat(times, axis=0))
    assert score(name, [50], actual, predicted, WHOLE) == pytest.approx(float(metric.score(sums)), rel=1e-12)


@EACH
def test_metrics_of_epochs_side_by_side_are_those_of_each(
    task: str, name: str, actual: NDArray[Any], predicted: Floats, reference: Any
) -> None:
    epochs = np.stack([predicted, predicted[::-1]])
    together = score(name, [60], actual, epochs, WHOLE)
    alone = [score(name, [60], actual, own, WHOLE) for own in epochs]
    assert together.tolist() == pytest.approx([float(own) for own in alone], rel=1e-14)


def test_every_metric_is_compared_with_a_reference() -> None:
    compared = {metric_named(name).name: metric_named(name) for name in (*REGRESSION, *SEVERAL)}
    assert set(compared) == set(METRICS)
    for name in METRICS:
        assert compared[name].tasks == (("regression",) if name in REGRESSION else ("binary", "multiclass"))


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_without_any_weight_is_not_a_number(name: str) -> None:
    metric = metric_named(name)
    for shares in PROBABILITIES.values():
        actual, predicted = (ACTUAL, PREDICTED) if "regression" in metric.tasks else (WHOLE.astype(int) % 2, shares)
        assert np.isnan(score(name, [7], actual, predicted, np.zeros(COUNT)))


@pytest.mark.parametrize("name", METRICS)
def test_a_better_prediction_has_the_better_score(name: str) -> None:
    metric = metric_named(name)
    if "regression" in metric.tasks:
        good, bad = (score(name, [], ACTUAL, ACTUAL + off * (PREDICTED - 10) + off, None) for off in (0.01, 0.5))
    else:
        actual = (np.arange(COUNT) % 2).astype(int)
        right = np.eye(2)[actual]
        wrong = right.copy()
        wrong[::3] = wrong[::3, ::-1]
        good, bad = score(name, [], actual, right, None), score(name, [], actual, 0.9 * wrong + 0.05, None)
    assert (good > bad) == greater_is_better(name)
    assert good != bad


def test_directions_are_known_of_every_score() -> None:
    assert not any(map(greater_is_better, ("loss", "total_loss", "rmse of price", "tweedie_deviance(power=2)")))
    assert greater_is_better("f1(average=macro)")
    own = Metric(lambda actual, predicted, weight: 0.0, "profit", greater_is_better=True)
    assert greater_is_better("profit", [own])
    with pytest.raises(SettingError, match="no metric 'profit'"):
        greater_is_better("profit")


@pytest.mark.parametrize(
    ("task", "chosen", "message"),
    [
        ("regression", ["nonsense"], "no metric 'nonsense'"),
        ("regression", ["auc"], "auc does not exist for the task regression: choose from rmse"),
        ("binary", ["f1(average=micro)"], "it must be auto or macro"),
        ("regression", ["tweedie_deviance(power=0)"], "a number from 1 on"),
        ("binary", ["ece(bins=0)"], "a whole number from 1 on"),
    ],
)
def test_impossible_metrics_are_refused(task: str, chosen: list[str], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        metrics_for(task, chosen)


def test_a_metric_of_ones_own_sees_all_rows_and_has_its_own_name() -> None:
    seen = []

    def bias(actual: Any, predicted: Any, weight: Any) -> float:
        seen.append((actual.shape, predicted.shape, weight.sum()))
        return float(np.average(predicted - actual, weights=weight))

    own = Metric(bias, "bias")
    sums = added(own.sums()(), [7, 60], ACTUAL[:, :1], np.stack([PREDICTED[:, :1]] * 2), WHOLE)
    expected = np.average(PREDICTED[:, 0] - ACTUAL[:, 0], weights=WHOLE)
    assert own.score(sums).tolist() == pytest.approx([expected, expected])
    assert seen == [((COUNT,), (COUNT,), WHOLE.sum())] * 2
    for name in ("", "loss", "auc"):
        with pytest.raises(SettingError, match="that no other score has"):
            Metric(bias, name)
    function: Any = lambda *rows: None  # noqa: E731
    with pytest.raises(SettingError, match="'nothing' failed"):
        Metric(function, "nothing").score(sums)
    with pytest.raises(SettingError, match="Two metrics are called 'bias'"):
        metrics_for("regression", [own, Metric(lambda *rows: 0.0, "bias")])


@WEIGHTED
@settings(max_examples=15)
@given(cuts=CUTS, exact_rows=st.integers(0, COUNT - 1), spread=st.sampled_from([1e-4, 0.1, 3.0]))
def test_a_precision_and_a_median_from_bins_are_off_by_less_than_their_bounds(
    weights: Vector | None, cuts: list[int], exact_rows: int, spread: float
) -> None:
    score = 1 / (1 + np.exp(-spread * (PREDICTED[:, 0] - 10 + POSITIVE)))
    value, bound = added(Ranking(exact_rows), cuts, POSITIVE, score, weights).precisions()
    assert abs(value - average_precision_score(POSITIVE, score, sample_weight=weights)) <= bound + 1e-15
    assert 0 <= bound < {1e-4: 1, 0.1: 0.2, 3.0: 0.1}[spread]
    exact, _ = added(Ranking(), [], POSITIVE, score, weights).medians()
    median, bound = added(Ranking(exact_rows, key=np.asarray), cuts, POSITIVE, score, weights).medians()
    assert abs(median - exact) <= bound < 1e-3


@WEIGHTED
@given(cuts=CUTS)
def test_area_under_the_curve_counts_ties_half(weights: Vector | None, cuts: list[int]) -> None:
    area, bound = added(Ranking(), cuts, POSITIVE, SCORE, weights).areas()
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
    area, bound = added(Ranking(exact_rows), cuts, POSITIVE, score, weights).areas()
    assert abs(area - roc_auc_score(POSITIVE, score, sample_weight=weights)) <= bound + 1e-15
    assert 0 <= bound < {1e-4: 0.5, 0.1: 1e-2, 3.0: 1e-3}[spread]
    whole = added(Ranking(exact_rows), [], POSITIVE, score, weights).areas()
    assert whole == (area, bound)


def test_in_bins_as_in_rows_certain_predictions_lie_at_the_ends() -> None:
    score = np.array([0, 1e-320, 1e-30, 0.5, 1 - 1e-16, 1])
    for exact_rows in (0, 6):
        area = Ranking(exact_rows)
        area.add(np.array([0, 0, 0, 1, 1, 1]) > 0, score)
        assert np.array_equal(area.areas(), (1, 0))


def test_bins_of_each_epoch_are_its_own() -> None:
    scores = np.stack([SCORE, 1 - SCORE, POSITIVE])
    area, _ = added(Ranking(0), [70], POSITIVE, scores, WEIGHTS).areas()
    alone = [added(Ranking(0), [], POSITIVE, score, WEIGHTS).areas()[0] for score in scores]
    assert area.tolist() == alone


@pytest.mark.parametrize("exact_rows", [0, COUNT])
@pytest.mark.parametrize("positive", [np.ones(COUNT, bool), np.zeros(COUNT, bool)])
def test_area_under_the_curve_of_one_class_is_not_a_number(positive: NDArray[np.bool_], exact_rows: int) -> None:
    assert np.isnan(added(Ranking(exact_rows), [70], positive, SCORE, None).areas()).all()
    assert np.isnan(added(Ranking(exact_rows), [70], POSITIVE, SCORE, WEIGHTS * positive * POSITIVE).areas()).all()


@pytest.mark.parametrize("cuts", [[], [50, 90]], ids=["whole", "cut"])
def test_rows_of_weight_zero_do_not_count(cuts: list[int]) -> None:
    actual, counts = ACTUAL.copy(), WEIGHTS > 0
    actual[~counts] = 5  # so that only they differ from the others
    actual[counts] = 0.1
    assert np.isnan(score("r2", cuts, actual, PREDICTED, WEIGHTS))
    alone = score("rmse", [], actual[counts], PREDICTED[counts], WEIGHTS[counts])
    assert score("rmse", cuts, actual, PREDICTED, WEIGHTS) == pytest.approx(alone, rel=1e-12)


def test_without_any_weight_the_average_loss_is_not_a_number() -> None:
    losses = added(LossScores(SquaredError()), [7], ACTUAL, PREDICTED[np.newaxis], np.zeros(COUNT)).scores()
    assert np.isnan(losses["loss"])
    assert losses["total_loss"] == 0


def test_one_row_has_errors_and_no_determination() -> None:
    actual, predicted = np.array([[3.0]]), np.array([[5.0]])
    assert score("rmse", [], actual, predicted, None) == score("mae", [], actual, predicted, None) == 2
    assert np.isnan(score("r2", [], actual, predicted, None))
    assert np.isnan(score("explained_variance", [], actual, predicted, None))


def test_the_spread_of_a_target_far_from_zero_keeps_its_digits() -> None:
    actual = (1e9 + RANDOM.normal(size=(COUNT, 1))).round(3)
    predicted = actual + 0.5 * RANDOM.normal(size=(COUNT, 1))
    found = score("r2", list(range(5, COUNT, 5)), actual, predicted, None)
    assert found == pytest.approx(r2_score(actual - 1e9, predicted - 1e9), rel=1e-7)
