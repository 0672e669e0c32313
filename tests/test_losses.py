"""Losses: values, derivatives, links."""

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.metrics import mean_pinball_loss, mean_tweedie_deviance

from schuss import Network, Objective, Rows
from schuss.arrays import Matrix, Vector
from schuss.descent import GradientDescent
from schuss.engine import make_engine
from schuss.engine.protocol import Cost
from schuss.errors import DataError, SettingError
from schuss.losses import LOSSES, Gaussian, SquaredError, loss_named

RANDOM = np.random.default_rng(0)
OUTPUTS = RANDOM.normal(size=(30, 3)) * 3
NUMBERS = RANDOM.normal(size=(30, 3))
COUNTS = RANDOM.poisson(1.5, (30, 3)).astype(float)
AMOUNTS = RANDOM.gamma(2.0, 3.0, (30, 3))
ZERO_ONE = RANDOM.integers(0, 2, (30, 1)).astype(float)
CLASSES = RANDOM.integers(0, 3, (30, 1)).astype(float)
# Outputs and targets of each loss; a new one needs an entry.
CASES: dict[str, tuple[Matrix, Matrix]] = {
    "squared_error": (OUTPUTS, NUMBERS),
    "absolute_error": (OUTPUTS, NUMBERS),
    "huber(delta=0.7)": (OUTPUTS, NUMBERS),
    "quantile(levels=[0.1, 0.5, 0.8])": (OUTPUTS, NUMBERS[:, :1]),
    "quantile(levels=[0.3])": (OUTPUTS[:, :1], NUMBERS[:, :1]),
    "gaussian": (OUTPUTS[:, :2], NUMBERS[:, :1]),
    "poisson": (OUTPUTS, COUNTS),
    "gamma": (OUTPUTS, AMOUNTS),
    "tweedie(power=1.3)": (OUTPUTS, COUNTS * AMOUNTS),
    "log_loss": (OUTPUTS[:, :1], ZERO_ONE),
    "log_loss(smoothing=0.1)": (OUTPUTS[:, :1], ZERO_ONE),
    "cross_entropy": (OUTPUTS, CLASSES),
    "cross_entropy(smoothing=0.1)": (OUTPUTS, CLASSES),
    "focal": (OUTPUTS, CLASSES),
    "focal(gamma=0.5)": (OUTPUTS, CLASSES),
}


def test_every_loss_has_a_case() -> None:
    assert {name.partition("(")[0] for name in CASES} == set(LOSSES)


@pytest.mark.parametrize("name", CASES)
def test_derivative_agrees_with_central_differences(name: str) -> None:
    outputs, targets = CASES[name]
    loss, step = loss_named(name), 1e-6
    for k in range(outputs.shape[1]):
        move = np.zeros_like(outputs)
        move[:, k] = step
        expected = (loss.value(outputs + move, targets) - loss.value(outputs - move, targets)) / (2 * step)
        found = loss.derivative(outputs, targets)[:, k]
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8 * max(1, np.abs(found).max()))


@pytest.mark.parametrize("name", CASES)
def test_the_constant_has_the_least_loss_among_its_neighbours(name: str) -> None:
    if name.startswith("focal"):
        return  # there it is the shares of the classes
    loss, (outputs, targets) = loss_named(name), CASES[name]
    weights = np.random.default_rng(1).random(len(targets)) + 0.1
    constant = loss.constant(targets, weights)
    assert constant.shape == (outputs.shape[1],)

    def cost(at: Vector) -> float:
        return float(weights @ loss.value(np.tile(at, (len(targets), 1)), targets))

    for k in range(len(constant)):
        for step in (0.01, -0.01):
            assert cost(constant) < cost(constant + step * (np.arange(len(constant)) == k)) + 1e-9


@pytest.mark.parametrize("name", CASES)
def test_a_loss_of_standardised_targets_becomes_that_of_the_target(name: str) -> None:
    loss, (outputs, targets) = loss_named(name), CASES[name]
    if loss.support != "real" or "regression" not in loss.tasks:
        assert loss.unit(3.0) == (1.0, 0.0)
        assert loss.standardised((3.0,)) == loss
        return
    if loss.several:
        outputs, targets = outputs[:, :1], targets[:, :1]
    factor, shift = loss.unit(3.0)
    found = factor * loss.standardised((3.0,)).value(outputs, targets) + shift
    if name == "gaussian":
        mean, spread = loss.prediction(outputs) * 3, Gaussian().spread(outputs) * 3
        expected = -norm.logpdf(3 * targets, mean, spread)[:, 0]
    elif name.startswith("quantile"):
        expected = pinball(3 * targets, 3 * loss.prediction(outputs), loss.numbers(0))
    else:
        expected = loss.value(3 * outputs, 3 * targets)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def pinball(targets: Matrix, predicted: Matrix, levels: Sequence[float]) -> Vector:
    """Σ_k mean_pinball_loss of each row."""
    return np.array(
        [
            sum(mean_pinball_loss(row, [found], alpha=level) for found, level in zip(own, levels, strict=True))
            for row, own in zip(targets, predicted, strict=True)
        ]
    )


def torch_losses() -> dict[str, Callable[[Any, Any], Any]]:
    """The average loss of each case, as PyTorch computes it, of a leaf with the outputs."""
    F = torch.nn.functional

    def gaussian(o: Any, t: Any) -> Any:
        return F.gaussian_nll_loss(o[:, :1], t, (1e-3 + F.softplus(o[:, 1:])) ** 2, full=True)

    def focal(o: Any, t: Any) -> Any:
        logs = F.log_softmax(o, 1).gather(1, t.long())
        return -((1 - logs.exp()) ** 2.0 * logs).mean()

    def poisson(o: Any, t: Any) -> Any:  # plus what depends on targets alone
        rest = torch.xlogy(t, t) - t
        return 2 * 3 * (F.poisson_nll_loss(o, t) + rest.mean())

    return {
        "squared_error": lambda o, t: 3 * F.mse_loss(o, t),
        "absolute_error": lambda o, t: 3 * F.l1_loss(o, t),
        "huber(delta=0.7)": lambda o, t: 3 * F.huber_loss(o, t, delta=0.7),
        "gaussian": gaussian,
        "poisson": poisson,
        "log_loss": F.binary_cross_entropy_with_logits,
        "log_loss(smoothing=0.1)": lambda o, t: F.binary_cross_entropy_with_logits(o, 0.9 * t + 0.05),
        "cross_entropy": lambda o, t: F.cross_entropy(o, t[:, 0].long()),
        "cross_entropy(smoothing=0.1)": lambda o, t: F.cross_entropy(o, t[:, 0].long(), label_smoothing=0.1),
        "focal": focal,
    }


@pytest.mark.parametrize("name", torch_losses())
def test_value_and_derivative_are_those_of_pytorch(name: str) -> None:
    outputs, targets = CASES[name]
    leaf = torch.tensor(outputs, requires_grad=True)
    average = torch_losses()[name](leaf, torch.tensor(targets))
    average.backward()
    assert loss_named(name).value(outputs, targets).mean() == pytest.approx(average.item(), rel=1e-9)
    assert leaf.grad is not None
    found = loss_named(name).derivative(outputs, targets) / len(outputs)
    np.testing.assert_allclose(found, leaf.grad.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("power", [1.0, 1.05, 1.5, 1.95, 2.0])
def test_deviances_are_those_of_scikit_learn(power: float) -> None:
    loss = {1.0: "poisson", 2.0: "gamma"}.get(power, f"tweedie(power={power})")
    targets = AMOUNTS if power == 2 else COUNTS
    expected = sum(
        mean_tweedie_deviance(actual, np.exp(output), power=power)
        for actual, output in zip(targets.T, OUTPUTS.T, strict=True)
    )
    assert loss_named(loss).value(OUTPUTS, targets).mean() == pytest.approx(expected, rel=1e-12)


# Targets of a loss with this support, as far out as its products with outputs of 1e30 are numbers in float32.
FAR = {"real": [-1e30, 7.0, 1e30], "from 0 on": [0.0, 1e-30, 0.5, 1.0, 1e6], "above 0": [1e-30, 0.5, 1.0, 1e6]}


@pytest.mark.parametrize("name", CASES)
def test_extreme_outputs_and_targets_give_the_same_finite_losses_and_derivatives_in_both_engines(name: str) -> None:
    loss, (outputs, targets) = loss_named(name), CASES[name]
    K, T = outputs.shape[1], targets.shape[1]
    far = FAR[loss.support] if "regression" in loss.tasks else np.unique(targets)
    network = Network(inputs=1, outputs=K)
    engines = [make_engine(network, Cost(loss), GradientDescent(), engine) for engine in ("native", "reference")]
    for size in (80.0, 1e4, 1e10, 1e18 if name == "squared_error" else 1e30):  # its square must be a number in float32
        for signs, target in product(product((1, -1), repeat=K), far):
            W = np.concatenate([np.zeros(K), size * np.array(signs)]).astype(np.float32)
            rows = Rows.from_arrays(np.zeros(1), np.full((1, T), np.clip(target, -size, size), np.float32))
            (total, slope), (expected, expected_slope) = (engine.gradient(W, rows) for engine in engines)
            assert np.isfinite(slope).all()
            assert 0 <= total < np.inf or name == "gaussian"
            np.testing.assert_allclose(total, expected, rtol=1e-4, atol=1e-30)
            np.testing.assert_allclose(slope, expected_slope, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_an_output_that_is_not_a_number_gives_none(name: str) -> None:
    loss, (outputs, targets) = loss_named(name), CASES[name]
    spoilt = outputs.copy()
    spoilt[3, 0] = np.nan
    for found, clean in ((f(spoilt, targets), f(outputs, targets)) for f in (loss.value, loss.derivative)):
        assert np.isnan(found[3]).any()
        np.testing.assert_array_equal(np.delete(found, 3, axis=0), np.delete(clean, 3, axis=0))


@pytest.mark.parametrize("name", CASES)
def test_a_weight_counts_as_many_rows(name: str) -> None:
    loss, (outputs, targets) = loss_named(name), CASES[name]
    weights = np.random.default_rng(5).integers(0, 4, len(targets))
    network, X = Network(inputs=2, hidden=(3,), outputs=outputs.shape[1]), OUTPUTS[:, :2]
    many = np.repeat(np.arange(len(targets)), weights)
    weighted = Objective(network, loss, Rows.from_arrays(X, targets, weights))
    repeated = Objective(network, loss, Rows.from_arrays(X[many], targets[many]))
    W = network.initial(0)
    assert weighted(W) == pytest.approx(repeated(W), rel=1e-12)
    np.testing.assert_allclose(weighted.gradient(W), repeated.gradient(W), rtol=1e-9, atol=1e-12)


def test_quantiles_do_not_cross() -> None:
    predicted = loss_named("quantile(levels=[0.1, 0.2, 0.9])").prediction(100 * OUTPUTS)
    assert (np.diff(predicted, axis=1) >= 0).all()


@pytest.mark.parametrize(
    "words",
    ["huber(delta=0)", "huber(delta=none)", "quantile(levels=[0.5, 0.1])", "quantile(levels=[0.5, 0.5])",
     "quantile(levels=[])", "quantile(1)", "tweedie(power=1)", "tweedie(2)", "log_loss(smoothing=1)",
     "cross_entropy(smoothing=-0.1)", "focal(gamma=-1)", "poisson(2)"],
)  # fmt: skip
def test_impossible_numbers_are_refused_by_name(words: str) -> None:
    with pytest.raises(SettingError, match=words.partition("(")[0]):
        loss_named(words)


@pytest.mark.parametrize(("name", "bad"), [("poisson", -1.0), ("gamma", 0.0), ("tweedie", -0.5)])
def test_impossible_targets_are_refused_with_their_row(name: str, bad: float) -> None:
    with pytest.raises(DataError, match="row 1 "):
        loss_named(name).check(np.array([[1.0], [bad]]), 1)


def test_squared_error_is_actual_minus_output_squared() -> None:
    assert SquaredError().value(np.array([[1.0, 5.0]]), np.array([[4.0, 3.0]])).tolist() == [13.0]


@pytest.mark.parametrize("name", ["log_loss", "cross_entropy"])
def test_class_losses_are_minus_the_logarithm_of_the_probability_of_the_class(name: str) -> None:
    outputs, targets = CASES[name]
    probabilities = loss_named(name).prediction(outputs)
    of_class = np.take_along_axis(probabilities, targets.astype(int), axis=1)[:, 0]
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    np.testing.assert_allclose(loss_named(name).value(outputs, targets), -np.log(of_class))


def test_an_unknown_loss_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SettingError, match="squared_error"):
        loss_named("squared")


@pytest.mark.parametrize("name", CASES)
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
