"""Scores against scikit-learn's, with ties and weights."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, mean_absolute_error, r2_score, roc_auc_score, root_mean_squared_error

from schuss.arrays import Vector
from schuss.metrics import area_under_curve, class_scores, regression_scores

RANDOM = np.random.default_rng(0)
WEIGHTS = RANDOM.random(200) * (RANDOM.random(200) < 0.8)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["unweighted", "weighted"])
def test_area_under_the_curve_counts_ties_half(weights: Vector | None) -> None:
    positive, score = RANDOM.random(200) < 0.3, RANDOM.integers(0, 8, 200).astype(float)
    expected = roc_auc_score(positive, score, sample_weight=weights)
    assert area_under_curve(positive, score, weights) == pytest.approx(expected, rel=1e-12)


def test_area_under_the_curve_of_one_class_is_not_a_number() -> None:
    assert np.isnan(area_under_curve(np.ones(3, bool), np.arange(3.0)))


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["unweighted", "weighted"])
def test_regression_scores_are_those_of_scikit_learn(weights: Vector | None) -> None:
    actual, predicted = RANDOM.normal(size=(200, 2)), RANDOM.normal(size=(200, 2))
    scores = regression_scores(actual, predicted, weights)
    for name, reference in (("rmse", root_mean_squared_error), ("r2", r2_score), ("mae", mean_absolute_error)):
        assert scores[name] == pytest.approx(reference(actual, predicted, sample_weight=weights), rel=1e-12)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["unweighted", "weighted"])
def test_accuracy_is_that_of_scikit_learn(weights: Vector | None) -> None:
    actual, probabilities = RANDOM.integers(0, 3, 200), RANDOM.random((200, 3))
    expected = accuracy_score(actual, probabilities.argmax(axis=1), sample_weight=weights)
    assert class_scores(actual.astype(float), probabilities, weights)["accuracy"] == pytest.approx(expected, rel=1e-12)
