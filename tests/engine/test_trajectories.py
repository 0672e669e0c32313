"""The way that each optimiser takes, against PyTorch's of the same name, and the optimum at which it ends."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from engine_rows import some_rows
from scipy.optimize import minimize

from schuss.arrays import Rows, Vector
from schuss.descent import Cosine
from schuss.descent.optimizers import OPTIMIZERS
from schuss.engine import make_engine
from schuss.engine.protocol import Cost, EngineState
from schuss.losses import loss_named
from schuss.network import Network
from schuss.objective import Objective

ENGINES = ("reference", "native")
STEPS = 50


class PaperLion(torch.optim.Optimizer):
    """Chen et al. 2023, algorithm 2, line by line: PyTorch has none."""

    def __init__(self, groups: Any, lr: float, beta1: float, beta2: float) -> None:
        super().__init__(groups, {"lr": lr, "beta1": beta1, "beta2": beta2})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for theta in group["params"]:
                m = self.state[theta].setdefault("m", torch.zeros_like(theta))
                c = group["beta1"] * m + (1 - group["beta1"]) * theta.grad
                theta -= group["lr"] * torch.sign(c)
                m.copy_(group["beta2"] * m + (1 - group["beta2"]) * theta.grad)


# Our numbers, and PyTorch's optimiser with the same ones; a new optimiser needs an entry. The steps are long enough for
# a mistake in any term to be seen.
RIVALS: dict[str, tuple[dict[str, float], Callable[..., torch.optim.Optimizer], dict[str, Any], float]] = {
    "gradient_descent": ({}, torch.optim.SGD, {}, 0.1),
    "momentum": ({"momentum": 0.8}, torch.optim.SGD, {"momentum": 0.8}, 0.02),
    "nesterov": ({"momentum": 0.8}, torch.optim.SGD, {"momentum": 0.8, "nesterov": True}, 0.02),
    "adagrad": ({"epsilon": 1e-3}, torch.optim.Adagrad, {"eps": 1e-3}, 0.05),
    "rmsprop": ({"decay": 0.95, "epsilon": 1e-3}, torch.optim.RMSprop, {"alpha": 0.95, "eps": 1e-3}, 0.01),
    "adam": ({"beta1": 0.8, "epsilon": 1e-3}, torch.optim.Adam, {"betas": (0.8, 0.999), "eps": 1e-3}, 0.02),
    "adamw": ({"weight_decay": 0.1, "epsilon": 1e-3}, torch.optim.AdamW, {"weight_decay": 0.1, "eps": 1e-3}, 0.02),
    "nadam": ({"beta2": 0.99, "epsilon": 1e-3}, torch.optim.NAdam, {"betas": (0.9, 0.99), "eps": 1e-3}, 0.02),
    "lion": ({}, PaperLion, {"beta1": 0.9, "beta2": 0.99}, 0.001),
}


def pytorch_way(network: Network, W: Vector, rows: Rows, rates: Vector, make: Any, options: dict[str, Any]) -> Vector:
    """W after full batches on a network with one hidden layer of tanh and squared error, all of it PyTorch's."""
    views = [view(W, name) for name in ("hidden1", "output") for view in (network.weights, network.biases)]
    tensors = [torch.tensor(part, requires_grad=True) for part in views]
    weights, biases, out, out_biases = tensors
    free = {"weight_decay": 0.0} if "weight_decay" in options else {}  # PyTorch decays biases too, we do not
    optimizer = make([{"params": [weights, out]}, {"params": [biases, out_biases], **free}], lr=1.0, **options)
    x, y = torch.from_numpy(rows.features), torch.from_numpy(rows.targets)
    for rate in rates:
        for group in optimizer.param_groups:
            group["lr"] = float(rate)
        optimizer.zero_grad()
        loss = ((torch.tanh(x @ weights + biases) @ out + out_biases - y) ** 2).sum(1).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return np.concatenate([tensor.detach().numpy().ravel() for tensor in tensors])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_way_is_that_of_pytorch(name: str, engine: str) -> None:
    network = Network(inputs=5, hidden=(11,), outputs=2, activation="tanh")
    rows = some_rows(network, 64)
    ours, rival, options, rate = RIVALS[name]
    rule, rates, W = OPTIMIZERS[name](**ours), rate * np.linspace(1.0, 0.5, STEPS), network.initial(seed=1)
    expected = pytorch_way(network, W, rows, rates, rival, options)
    found = make_engine(network, Cost(loss_named("squared_error")), rule, engine)
    found.load(EngineState.start(W, rule))
    found.train(rows, np.tile(np.arange(64), STEPS), 64, rates, STEPS)
    assert np.abs(expected - W).max() > 0.03
    np.testing.assert_allclose(found.state().W, expected, rtol=1e-4, atol=1e-4 * np.abs(expected - W).max())


# The rate with which a rule starts on the problems below.
FIRST_RATES = {"gradient_descent": 0.2, "momentum": 0.05, "nesterov": 0.05, "adagrad": 0.5, "lion": 0.02}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("loss", ["squared_error", "log_loss"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_falling_rates_end_at_the_optimum(name: str, loss: str, engine: str) -> None:
    network, l2, steps = Network(inputs=3), 0.1, 1000
    rows, rule = some_rows(network, 200, loss, seed=4), OPTIMIZERS[name](**{"weight_decay": 0.0})
    objective, W = Objective(network, loss, rows, l2), network.initial(seed=1)
    best = minimize(objective, W.astype(np.float64), jac=objective.gradient, method="BFGS", options={"gtol": 1e-9})
    found = make_engine(network, Cost(loss_named(loss), l2), rule, engine)
    found.load(EngineState.start(W, rule))
    rates = FIRST_RATES.get(name, 0.05) * Cosine(final=1e-4).shares(0, steps, steps)
    found.train(rows, np.tile(np.arange(200), steps), 200, rates, steps)
    assert np.abs(best.x - W).max() > 0.1
    np.testing.assert_allclose(found.state().W, best.x, rtol=0, atol=1e-4)
