"""Metrics: predictions and actual values -> named scores. All weighted, all in float64."""

from collections.abc import Callable

import numpy as np

from schuss.arrays import Mask, Matrix, Vector


def regression_scores(actual: Matrix, predicted: Matrix, weights: Vector | None = None) -> dict[str, float]:
    """RMSE, R² and MAE; with several targets each is the mean over targets.

    R² = 1 − Σ w (actual − predicted)² / Σ w (actual − mean)², not a number where the actual values are all the same.

    Arguments:
        actual, predicted: [N, T] in the target's units.
        weights: [N] or None.
    """
    residual, average = actual - predicted, _averaging(weights)
    spread = average((actual - average(actual)) ** 2)
    mse = average(residual**2)
    with np.errstate(divide="ignore", invalid="ignore"):
        varies = actual.max(axis=0) > actual.min(axis=0)
        determination = np.where(varies & (spread > 0), 1 - mse / spread, np.nan)
    return {
        "rmse": float(np.sqrt(mse).mean()),
        "r2": float(determination.mean()),
        "mae": float(average(np.abs(residual)).mean()),
    }


def class_scores(actual: Vector, probabilities: Matrix, weights: Vector | None = None) -> dict[str, float]:
    """Accuracy, and the area under the ROC curve where there are two classes.

    Arguments:
        actual: [N] class numbers.
        probabilities: [N, classes].
        weights: [N] or None.
    """
    number = actual.astype(np.int64)
    hit = (probabilities.argmax(axis=1) == number)[:, np.newaxis]
    scores = {"accuracy": float(_averaging(weights)(hit)[0])}
    if probabilities.shape[1] == 2:
        scores["auc"] = area_under_curve(number == 1, probabilities[:, 1], weights)
    return scores


def area_under_curve(positive: Mask, score: Vector, weights: Vector | None = None) -> float:
    """The share of (positive, negative) pairs in which the positive row has the higher score, ties count half.

    Not a number where one of the two is absent. Exact, by one sort (Hanley & McNeil 1982).
    """
    weight = np.ones(len(score)) if weights is None else weights.astype(np.float64)
    _, place = np.unique(score, return_inverse=True)
    above = np.bincount(place, np.where(positive, weight, 0.0))
    below = np.bincount(place, np.where(positive, 0.0, weight))
    pairs = above.sum() * below.sum()
    return float(above @ (np.cumsum(below) - 0.5 * below) / pairs) if pairs > 0 else float("nan")


def _averaging(weights: Vector | None) -> Callable[[Matrix | Mask], Vector]:
    """The weighted mean of each column, [columns] float64, as a function of [N, columns]."""
    if weights is None:
        return lambda values: np.asarray(values.mean(axis=0, dtype=np.float64))
    weight = weights.astype(np.float64)[:, np.newaxis]
    total = weight.sum(axis=0)
    return lambda values: np.asarray((values * weight).sum(axis=0) / total)
