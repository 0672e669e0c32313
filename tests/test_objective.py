"""The Objective as a function of W, against closed forms and reference optima."""

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.linear_model import Lasso, LogisticRegression
from sklearn.preprocessing import StandardScaler

from schuss import Network, Objective, Rows
from schuss.arrays import Matrix, Vector
from schuss.errors import DataError, SettingError


def least_squares(X: Matrix, y: Vector, weights: Vector) -> Vector:
    root = np.sqrt(weights)[:, np.newaxis]
    design = np.hstack([X, np.ones((len(X), 1))])
    return np.asarray(np.linalg.lstsq(root * design, root[:, 0] * y)[0])


@pytest.mark.parametrize("weighted", [False, True])
def test_linear_network_reaches_the_least_squares_solution(weighted: bool) -> None:
    X, y = load_diabetes(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    weights = np.random.default_rng(0).random(len(y)) if weighted else np.ones(len(y))
    network = Network(inputs=X.shape[1])
    objective = Objective(network, "squared_error", Rows.from_arrays(X, y, weights if weighted else None))
    options = {"maxiter": 10_000, "ftol": 1e-15, "gtol": 1e-9}
    found = minimize(objective, network.initial(0), jac=objective.gradient, method="L-BFGS-B", options=options)
    expected = least_squares(X, y, weights)
    assert np.linalg.norm(found.x - expected) < 1e-5 * np.linalg.norm(expected)


def test_logistic_network_reaches_the_optimum_of_scikit_learn() -> None:
    X, y = load_breast_cancer(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    penalty = 0.01
    network = Network(inputs=X.shape[1])
    objective = Objective(network, "log_loss", Rows.from_arrays(X, y), l2=penalty)
    options = {"maxiter": 10_000, "ftol": 1e-16, "gtol": 1e-10}
    found = minimize(objective, network.initial(0), jac=objective.gradient, method="L-BFGS-B", options=options)
    reference = LogisticRegression(C=1 / (penalty * len(y)), tol=1e-12, max_iter=100_000).fit(X, y)
    expected = np.append(reference.coef_[0], reference.intercept_)
    assert np.linalg.norm(found.x - expected) < 1e-5 * np.linalg.norm(expected)


def test_penalty_looks_at_weights_and_never_at_biases() -> None:
    network = Network(inputs=2)
    objective = Objective(network, "squared_error", Rows.from_arrays([[0.0, 0.0]], [0.0]), l2=0.5, l1=0.25)
    W = np.array([3.0, -4.0, 100.0])
    assert objective.penalty(W) == 0.25 * 25 + 0.25 * 7
    assert objective(W) == objective.average(W) + objective.penalty(W)
    assert objective.total(W) == 100.0**2


def test_an_l1_penalty_reaches_the_optimum_of_the_lasso() -> None:
    X, y = load_diabetes(return_X_y=True)
    X, y = StandardScaler().fit_transform(X), (y - y.mean()) / y.std()
    objective = Objective(Network(inputs=X.shape[1]), "squared_error", Rows.from_arrays(X, y), l1=0.1)
    W = np.zeros(X.shape[1] + 1)
    rate = 0.05
    for step in range(4000):
        W -= rate / (1 + step / 100) * objective.gradient(W)  # steps along subgradients must become short
    expected = Lasso(alpha=0.05, tol=1e-10).fit(X, y)  # which halves the squares
    np.testing.assert_allclose(W[:-1], expected.coef_, atol=1e-3)
    assert (expected.coef_ == 0).sum() > 2


def test_float64_rows_are_kept_in_float64() -> None:
    rows = Rows.from_arrays([[1.0 + 1e-12]], [2.0])
    total = Objective(Network(inputs=1), "squared_error", rows).total(np.array([1.0, 0.0]))
    assert total == pytest.approx((1 - 1e-12) ** 2, rel=1e-15)


@pytest.mark.parametrize(
    ("X", "y", "weight"),
    [
        ([[np.nan]], [1.0], None),
        ([[1.0]], [np.inf], None),
        ([[1.0], [2.0]], [1.0], None),
        ([], [], None),
        ([["a"]], [1.0], None),
        ([[1.0]], [1.0], [-1.0]),
        ([[1.0]], [1.0], [0.0]),
        ([[1.0]], [1.0], [1.0, 2.0]),
    ],
)
def test_rows_that_cannot_be_used_are_refused(X: object, y: object, weight: object) -> None:
    with pytest.raises(DataError):
        Rows.from_arrays(X, y, weight)  # type: ignore[arg-type]


def test_rows_that_do_not_fit_the_network_are_refused() -> None:
    rows = Rows.from_arrays([[1.0, 2.0]], [1.0])
    with pytest.raises(DataError, match=r"\(1, 2\)"):
        Objective(Network(inputs=3), "squared_error", rows)
    with pytest.raises(DataError, match="2 columns"):
        Objective(Network(inputs=2, outputs=2), "squared_error", rows)
    with pytest.raises(DataError, match="0 or 1"):
        Objective(Network(inputs=2), "log_loss", Rows.from_arrays([[1.0, 2.0]], [-1.0]))
    with pytest.raises(DataError, match="from 0 to 2"):
        Objective(Network(inputs=2, outputs=3), "cross_entropy", Rows.from_arrays([[1.0, 2.0]], [3.0]))
    with pytest.raises(DataError, match="2 levels"):
        Objective(Network(inputs=1, categories=(2,)), "squared_error", Rows.from_arrays([[1.0]], [1.0], codes=[[2]]))
    with pytest.raises(SettingError, match="shape"):
        Objective(Network(inputs=2), "squared_error", rows)(np.zeros(5))
