"""Whether products in bf16 are exact enough for a training: a trial on its first steps decides, and never the clock."""

from collections.abc import Callable

import numpy as np

from schuss.arrays import RowIndex, Rows, Vector
from schuss.engine.protocol import Engine, EngineState
from schuss.errors import EngineError

TRIAL_STEPS = 8
# ‖difference‖ / ‖gradient‖. A batch of some hundred rows is itself off by 0.1 to 2: docs/decisions.md has the figures.
ALLOWED = 0.02


def engine_by_trial(
    make: Callable[[str], Engine],
    state: EngineState,
    rows: Rows,
    order: RowIndex,
    batch_size: int,
    learning_rate: float,
) -> tuple[Engine, str]:
    """An engine in bf16 where that can be had and its gradients are close to those of float32, else one in float32.

    Float32 takes the first steps from `state`, 8 at most; before each, both give the gradient of the step's batch
    without dropout. They are close when ‖bf16 − float32‖ ≤ 0.02 ‖float32‖ every time.

    Arguments:
        make: gives an engine for "bf16" and for "float32"; EngineError where it cannot.
        order, batch_size: the batches, as in Engine.train.
        learning_rate: α of the trial's steps.

    Returns:
        The engine, with no state loaded that could be relied on, and the choice with its reason in words.
    """
    try:
        candidate = make("bf16")
    except EngineError as error:
        return make("float32"), f"float32 ({error})"
    exact = make("float32")
    exact.load(state)
    greatest = 0.0
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)][:TRIAL_STEPS]
    for batch in batches:
        greatest = max(greatest, _difference(candidate, exact, rows.take(batch)))
        if not greatest <= ALLOWED:
            return exact, f"float32 (gradients in bf16 are off by {greatest:.2%}: more than {ALLOWED:.0%})"
        exact.train(rows, batch, batch_size, np.array([learning_rate]))
    return candidate, f"bf16 (gradients of the first {len(batches)} steps are off by {greatest:.2%} at most)"


def _difference(candidate: Engine, exact: Engine, batch: Rows) -> float:
    """‖g − g'‖ / ‖g'‖ at the W that `exact` has reached; infinite where it cannot be told."""
    W = exact.state().W
    expected = exact.gradient(W, batch)[1]
    found, norm = _norm(candidate.gradient(W, batch)[1] - expected), _norm(expected)
    share = found / norm if norm else found
    return share if np.isfinite(share) else float("inf")


def _norm(vector: Vector) -> float:
    with np.errstate(over="ignore"):  # too long a vector is of infinite length
        return float(np.linalg.norm(vector.astype(np.float64)))
