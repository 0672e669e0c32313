"""Losses: values, derivatives, links."""

import numpy as np
import pytest

from schuss import Network, Objective, Rows
from schuss.arrays import Matrix
from schuss.errors import SettingError
from schuss.losses import LOSSES, CrossEntropy, LogLoss, Loss, SquaredError, loss_named

OUTPUTS = np.random.default_rng(0).normal(size=(30, 3)) * 3
NUMBERS = np.random.default_rng(1).normal(size=(30, 3))
ZERO_ONE = np.random.default_rng(2).integers(0, 2, (30, 1)).astype(float)
CLASSES = np.random.default_rng(3).integers(0, 3, (30, 1)).astype(float)
CASES: dict[str, tuple[Matrix, Matrix]] = {
    "squared_error": (OUTPUTS, NUMBERS),
    "log_loss": (OUTPUTS[:, :1], ZERO_ONE),
    "cross_entropy": (OUTPUTS, CLASSES),
}


@pytest.mark.parametrize("name", LOSSES)
def test_derivative_agrees_with_central_differences(name: str) -> None:
    outputs, targets = CASES[name]
    loss, step = loss_named(name), 1e-6
    for k in range(outputs.shape[1]):
        move = np.zeros_like(outputs)
        move[:, k] = step
        expected = (loss.value(outputs + move, targets) - loss.value(outputs - move, targets)) / (2 * step)
        np.testing.assert_allclose(loss.derivative(outputs, targets)[:, k], expected, rtol=1e-6, atol=1e-8)


def test_squared_error_is_actual_minus_output_squared() -> None:
    assert SquaredError().value(np.array([[1.0, 5.0]]), np.array([[4.0, 3.0]])).tolist() == [13.0]


@pytest.mark.parametrize("name", ["log_loss", "cross_entropy"])
def test_class_losses_are_minus_the_logarithm_of_the_probability_of_the_class(name: str) -> None:
    outputs, targets = CASES[name]
    probabilities = loss_named(name).prediction(outputs)
    of_class = np.take_along_axis(probabilities, targets.astype(int), axis=1)[:, 0]
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    np.testing.assert_allclose(loss_named(name).value(outputs, targets), -np.log(of_class))


@pytest.mark.parametrize("loss", [LogLoss(), CrossEntropy()])
def test_extreme_outputs_do_not_overflow(loss: Loss) -> None:
    outputs = np.array([[-1e4], [1e4]]) if isinstance(loss, LogLoss) else np.array([[-1e4, 1e4], [1e4, -1e4]])
    with np.errstate(over="raise"):
        value = loss.value(outputs, np.array([[1.0], [0.0]]))
    assert np.isfinite(value).all()


def test_an_unknown_loss_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SettingError, match="squared_error"):
        loss_named("squared")


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("weighted", [False, True])
def test_total_loss_is_the_sum_of_row_losses_whatever_the_batches(name: str, weighted: bool) -> None:
    outputs, targets = CASES[name]
    network = Network(inputs=3, hidden=(7,), outputs=outputs.shape[1])
    random = np.random.default_rng(4)
    count = 2500
    rows = Rows.from_arrays(
        random.normal(size=(count, 3)),
        np.resize(targets, (count, targets.shape[1])),
        random.random(count) * (random.random(count) < 0.8) if weighted else None,
    )
    W = network.initial(0)
    whole = Objective(network, name, rows)
    weights = np.ones(count) if rows.weights is None else rows.weights
    for size in (1, 7, 1000, count):
        by_batch = sum(
            Objective(network, name, batch).total(W) for batch in rows.batches(size) if batch.total_weight >= 0
        )
        assert by_batch == pytest.approx(whole.total(W), rel=1e-12)
    by_row = np.array(
        [Objective(network, name, Rows(r.features, r.codes, r.targets)).total(W) for r in rows.batches(1)]
    )
    assert whole.total(W) == pytest.approx(weights @ by_row, rel=1e-12)
    assert whole.average(W) == pytest.approx(whole.total(W) / weights.sum(), rel=1e-12)
