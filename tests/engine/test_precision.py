"""The trial that decides between bf16 and float32, with engines whose gradients are off by as much as a test wants."""

import numpy as np
import pytest

from schuss.arrays import Rows, Vector
from schuss.descent import Momentum
from schuss.engine import make_engine
from schuss.engine.precision import ALLOWED, TRIAL_STEPS, engine_by_trial
from schuss.engine.protocol import Cost, Engine, EngineState
from schuss.engine.reference import ReferenceEngine
from schuss.errors import EngineError
from schuss.losses import SquaredError
from schuss.network import Network

NETWORK = Network(inputs=3, hidden=(5,), activation="tanh", dropout=0.2)
RANDOM = np.random.default_rng(0)
ROWS = Rows.from_arrays(RANDOM.normal(size=(100, 3)), RANDOM.normal(size=100))
ORDER = np.arange(100)


class Rough(ReferenceEngine):
    """Its gradients are off by these shares of their norm, after one another."""

    def __init__(self, shares: list[float]) -> None:
        super().__init__(NETWORK, Cost(SquaredError()), Momentum())
        self.shares, self.seen = iter(shares), 0

    def gradient(self, W: Vector, rows: Rows) -> tuple[float, Vector]:
        """Longer by the share."""
        self.seen += 1
        total, gradient = super().gradient(W, rows)
        return total, gradient * (1 + next(self.shares))


def tried(shares: list[float], learning_rate: float = 0.1, rows: Rows = ROWS) -> tuple[Engine, Rough, str]:
    """The engine that was chosen, the one in bf16, and the words."""
    rough = Rough(shares)
    exact = make_engine(NETWORK, Cost(SquaredError()), Momentum(), "reference")
    state = EngineState.start(NETWORK.initial(0), Momentum())
    chosen, words = engine_by_trial(
        lambda name: rough if name == "bf16" else exact, state, rows, ORDER, 10, learning_rate
    )
    return chosen, rough, words


def test_bf16_is_taken_where_every_gradient_is_close() -> None:
    chosen, rough, words = tried([0.001, 0.9 * ALLOWED, *[0.0] * 6])
    assert chosen is rough
    assert rough.seen == TRIAL_STEPS
    assert words == "bf16 (gradients of the first 8 steps are off by 1.80% at most)"


@pytest.mark.parametrize("share", [1.1 * ALLOWED, 3.0, np.inf, np.nan])
def test_float32_is_taken_as_soon_as_one_gradient_is_not(share: float) -> None:
    chosen, rough, words = tried([0.0, 0.0, share])
    assert chosen is not rough
    assert rough.seen == 3
    assert words.startswith("float32 (gradients in bf16 are off by ")
    assert "more than 2%" in words


def test_gradients_are_compared_at_every_W_that_float32_reaches() -> None:
    class Remembering(Rough):
        def gradient(self, W: Vector, rows: Rows) -> tuple[float, Vector]:
            """Notes W."""
            reached.append(W)
            return super().gradient(W, rows)

    reached: list[Vector] = []
    rough = Remembering([0.0] * 8)
    exact = make_engine(NETWORK, Cost(SquaredError()), Momentum(), "reference")
    start = EngineState.start(NETWORK.initial(0), Momentum())
    engine_by_trial(lambda name: rough if name == "bf16" else exact, start, ROWS, ORDER, 10, 0.1)
    again = make_engine(NETWORK, Cost(SquaredError()), Momentum(), "reference")
    again.load(start)
    for step, W in enumerate(reached):
        np.testing.assert_array_equal(W, again.state().W)
        again.train(ROWS, ORDER[step * 10 : (step + 1) * 10], 10, np.array([0.1]))


def test_a_trial_that_diverges_ends_in_float32() -> None:
    chosen, rough, _ = tried([0.0] * 8, learning_rate=1e300)
    assert chosen is not rough


def test_batches_that_count_for_nothing_speak_against_nothing() -> None:
    nothing = Rows(ROWS.features, ROWS.codes, ROWS.targets, np.zeros(100))
    chosen, rough, _ = tried([0.0] * 8, rows=nothing)
    assert chosen is rough


def test_without_bf16_there_is_no_trial_and_the_reason_is_told() -> None:
    def make(precision: str) -> Engine:
        if precision == "bf16":
            raise EngineError("this processor has none")
        return exact

    exact = make_engine(NETWORK, Cost(SquaredError()), Momentum(), "reference")
    chosen = engine_by_trial(make, EngineState.start(NETWORK.initial(0), Momentum()), ROWS, ORDER, 10, 0.1)
    assert chosen == (exact, "float32 (this processor has none)")
