"""Rows that the tests of engines make, and threads that they start."""

import threading
from collections.abc import Callable, Sequence

import numpy as np

from schuss.arrays import Rows
from schuss.network import Network


def some_rows(
    network: Network,
    count: int,
    loss: str = "squared_error",
    seed: int = 0,
    weights: Sequence[float] = (),
) -> Rows:
    """Rows that are exact in float32, with codes of which some are -1, and with weights drawn from these, if any."""
    generator = np.random.default_rng(seed)
    drawn = {
        "squared_error": generator.normal(size=(count, network.outputs)),
        "log_loss": generator.integers(0, 2, (count, network.outputs)),
        "cross_entropy": generator.integers(0, network.outputs, (count, 1)),
    }[loss]
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
