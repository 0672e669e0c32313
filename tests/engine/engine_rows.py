"""Rows that the tests of engines make, and threads that they start."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from schuss.arrays import Matrix, Rows
from schuss.losses import Loss, loss_named
from schuss.network import Network


def loss_for(name: str, outputs: int) -> Loss:
    """The loss of that name for a network with so many outputs."""
    levels = [round(float(level), 6) for level in np.linspace(0, 1, outputs + 2)[1:-1]]
    return loss_named({"quantile": f"quantile(levels={levels})", "huber": "huber(delta=0.5)"}.get(name, name))


def outputs_for(name: str, wanted: int) -> int:
    """So many outputs, unless the loss takes no other number than its own."""
    return 2 if name == "gaussian" else wanted


def some_targets(loss: str, count: int, outputs: int, generator: np.random.Generator) -> Matrix:
    """Targets that the loss takes; a new loss needs an entry."""
    shape = count, outputs
    made: dict[str, Callable[[], Any]] = {
        "squared_error": lambda: generator.normal(size=shape),
        "absolute_error": lambda: generator.normal(size=shape),
        "huber": lambda: generator.normal(size=shape),
        "quantile": lambda: generator.normal(size=(count, 1)),
        "gaussian": lambda: generator.normal(size=(count, 1)),
        "poisson": lambda: generator.poisson(1.5, shape),
        "gamma": lambda: generator.gamma(2.0, 0.7, shape) + 0.1,
        "tweedie": lambda: generator.gamma(2.0, 0.7, shape) * generator.integers(0, 2, shape),
        "log_loss": lambda: generator.integers(0, 2, shape),
        "cross_entropy": lambda: generator.integers(0, outputs, (count, 1)),
        "focal": lambda: generator.integers(0, outputs, (count, 1)),
    }
    return np.asarray(made[loss](), np.float64)


def some_rows(
    network: Network,
    count: int,
    loss: str = "squared_error",
    seed: int = 0,
    weights: Sequence[float] = (),
) -> Rows:
    """Rows that are exact in float32, with codes of which some are -1, and with weights drawn from these, if any."""
    generator = np.random.default_rng(seed)
    drawn = some_targets(loss, count, network.outputs, generator)
    codes = [generator.integers(-1, levels, count) for levels in network.categories]
    return Rows(
        generator.normal(size=(count, network.inputs)).astype(np.float32),
        np.stack(codes, axis=1).astype(np.int32) if codes else np.zeros((count, 0), np.int32),
        drawn.astype(np.float32),
        generator.choice(np.array(weights, np.float32), count) if weights else None,
    )


def at_once(count: int, work: Callable[[int], None]) -> None:
    """work(0), …, work(count - 1), each in a thread of its own; returns when all have ended."""
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
