"""The way that each optimiser takes, against PyTorch's of the same name, and the optimum at which it ends."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
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
SHARES = np.linspace(1.0, 0.5, STEPS)  # of the learning rate


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


NETWORK = Network(inputs=5, hidden=(11,), outputs=2, activation="tanh")
RANDOM = np.random.default_rng(0)
ROWS = Rows.from_arrays(RANDOM.normal(size=(64, 5)).astype(np.float32), RANDOM.normal(size=(64, 2)).astype(np.float32))
START = NETWORK.initial(seed=1)


@cache
def pytorch_way(name: str) -> Vector:
    """W after full batches on a network with one hidden layer of tanh and squared error, all of it PyTorch's."""
    torch.set_num_threads(1)
    _, make, options, rate = RIVALS[name]
    views = [view(START, layer) for layer in ("hidden1", "output") for view in (NETWORK.weights, NETWORK.biases)]
    tensors = [torch.tensor(part, requires_grad=True) for part in views]
    weights, biases, out, out_biases = tensors
    free = {"weight_decay": 0.0} if "weight_decay" in options else {}  # PyTorch decays biases too, we do not
    optimizer = make([{"params": [weights, out]}, {"params": [biases, out_biases], **free}], lr=1.0, **options)
    x, y = torch.from_numpy(ROWS.features), torch.from_numpy(ROWS.targets)
    for share in SHARES:
        for group in optimizer.param_groups:
            group["lr"] = rate * float(share)
        optimizer.zero_grad()
        loss = ((torch.tanh(x @ weights + biases) @ out + out_biases - y) ** 2).sum(1).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return np.concatenate([tensor.detach().numpy().ravel() for tensor in tensors])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_way_is_that_of_pytorch(name: str, engine: str) -> None:
    numbers, _, _, rate = RIVALS[name]
    rule, expected = OPTIMIZERS[name](**numbers), pytorch_way(name)
    found = make_engine(NETWORK, Cost(loss_named("squared_error")), rule, engine)
    found.load(EngineState.start(START, rule))
    found.train(ROWS, np.tile(np.arange(64), STEPS), 64, rate * SHARES, STEPS)
    assert np.abs(expected - START).max() > 0.03
    np.testing.assert_allclose(found.state().W, expected, rtol=1e-4, atol=1e-4 * np.abs(expected - START).max())


X = RANDOM.normal(size=(200, 3)).astype(np.float32)
PROBLEMS = {
    "squared_error": Rows.from_arrays(X, X @ [1.0, -0.5, 0.25] + RANDOM.normal(size=200)),
    "log_loss": Rows.from_arrays(X, (X[:, 0] + RANDOM.normal(size=200) > 0.3).astype(float)),
}
# The rate with which a rule starts on the problems below.
FIRST_RATES = {"gradient_descent": 0.2, "momentum": 0.05, "nesterov": 0.05, "adagrad": 0.5, "lion": 0.02}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("loss", PROBLEMS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_falling_rates_end_at_the_optimum(name: str, loss: str, engine: str) -> None:
    network, l2, steps = Network(inputs=3), 0.1, 600
    rows, rule = PROBLEMS[loss], OPTIMIZERS[name](weight_decay=0.0)
    objective, W = Objective(network, loss, rows, l2), network.initial(seed=1)
    best = minimize(objective, W.astype(np.float64), jac=objective.gradient, method="BFGS", options={"gtol": 1e-9})
    found = make_engine(network, Cost(loss_named(loss), l2), rule, engine)
    found.load(EngineState.start(W, rule))
    rates = FIRST_RATES.get(name, 0.05) * Cosine(final=1e-4).shares(0, steps, steps)
    found.train(rows, np.tile(np.arange(200), steps), 200, rates, steps)
    assert np.abs(best.x - W).max() > 0.1
    np.testing.assert_allclose(found.state().W, best.x, rtol=0, atol=1e-4)
