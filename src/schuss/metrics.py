"""Metrics: predictions and actual values -> named scores. All weighted, all in float64.

Predictions may have axes in front, such as one of epochs: each score then is an array of these axes.
"""

from collections.abc import Callable

import numpy as np

from schuss.arrays import Floats, Mask, Matrix, Vector


def regression_scores(actual: Matrix, predicted: Floats, weights: Vector | None = None) -> dict[str, Floats]:
    """RMSE, R² and MAE; with several targets each is the mean over targets.

    R² = 1 − Σ w (actual − predicted)² / Σ w (actual − mean)², not a number where the actual values are all the same.

    Arguments:
        actual: [N, T] in the target's units.
        predicted: [..., N, T], likewise.
        weights: [N] or None.
    """
    residual, average = actual - predicted, _averaging(weights)
    spread = average((actual - average(actual)) ** 2)
    mse = average(residual**2)
    with np.errstate(divide="ignore", invalid="ignore"):
        varies = actual.max(axis=0) > actual.min(axis=0)
        determination = np.where(varies & (spread > 0), 1 - mse / spread, np.nan)
    by_target = {"rmse": np.sqrt(mse), "r2": determination, "mae": average(np.abs(residual))}
    return {name: np.asarray(values.mean(axis=-1)) for name, values in by_target.items()}


def class_scores(actual: Vector, probabilities: Floats, weights: Vector | None = None) -> dict[str, Floats]:
    """Accuracy, and the area under the ROC curve where there are two classes.

    Arguments:
        actual: [N] class numbers.
        probabilities: [..., N, classes].
        weights: [N] or None.
    """
    number = actual.astype(np.int64)
    hit = (probabilities.argmax(axis=-1) == number)[..., np.newaxis]
    scores = {"accuracy": _averaging(weights)(hit)[..., 0]}
    if probabilities.shape[-1] == 2:
        positive, shares = number == 1, probabilities[..., 1]
        areas = [area_under_curve(positive, each, weights) for each in shares.reshape(-1, len(number))]
        scores["auc"] = np.array(areas).reshape(shares.shape[:-1])
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


def _averaging(weights: Vector | None) -> Callable[[Floats | Mask], Floats]:
    """The weighted mean of each column, [..., columns] float64, as a function of [..., N, columns]."""
    if weights is None:
        return lambda values: np.asarray(values.mean(axis=-2, dtype=np.float64))
    weight = weights.astype(np.float64)[:, np.newaxis]
    total = weight.sum(axis=0)
    return lambda values: np.asarray((values * weight).sum(axis=-2) / total)
