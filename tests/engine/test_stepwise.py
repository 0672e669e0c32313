"""Losses and rules that Python calls at every step: whatever ours do, a copy of it in a person's hands does too."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
from engine_rows import some_rows

from schuss.arrays import Matrix, Vector
from schuss.descent.averaging import AVERAGINGS, averaging_named
from schuss.descent.optimizers import OPTIMIZERS, Optimizer, OwnOptimizer
from schuss.engine import make_engine, own_code
from schuss.engine.protocol import Cost, Engine, EngineState
from schuss.errors import DataError
from schuss.losses import LOSSES, Loss
from schuss.network import Network
from schuss.own import OwnLoss

OUTPUTS = {"squared_error": (3, "identity"), "log_loss": (1, "sigmoid"), "cross_entropy": (4, "softmax")}
STEPS, BATCH = 15, 16  # three epochs of five batches, the last one short


def network_for(loss: str) -> Network:
    return Network(5, (19, 7), OUTPUTS[loss][0], activation="gelu", categories=(4, 3), dropout=0.3)


def as_own(loss: str) -> OwnLoss:
    """The same loss as a person would give it."""
    ours: Loss = LOSSES[loss]()

    def function(output: Matrix, target: Matrix, weight: Vector) -> tuple[Vector, Matrix]:
        return weight * ours.value(output, target), weight[:, np.newaxis] * ours.derivative(output, target)

    return OwnLoss(function, OUTPUTS[loss][1])


def derived(kind: type[Optimizer]) -> Optimizer:
    """The same rule as a person would derive it."""
    rule: Optimizer = type(f"My{kind.__name__}", (kind,), {})(weight_decay=0.1)
    return rule


def trained(network: Network, cost: Cost, rule: Optimizer, engine: str, averaging: str | None) -> tuple[Vector, Engine]:
    made = make_engine(network, cost, rule, engine, seed=2**33 + 5)
    state = EngineState.start(network.initial(seed=1), rule)
    averages = averaging_named(averaging).rates(0, STEPS, STEPS) if averaging else None
    made.load(replace(state, average=state.W if averaging else None))
    order = np.concatenate([np.random.default_rng(epoch).permutation(70) for epoch in range(3)])
    rates = rule.usual_learning_rate * np.linspace(2, 0.5, STEPS)
    loss = next((name for name, (outputs, _) in OUTPUTS.items() if outputs == network.outputs))
    rows = some_rows(network, 70, loss, seed=3, weights=(0.0, 0.5, 1.5))
    return made.train(rows, order, BATCH, rates, 3, averages), made


@pytest.mark.parametrize("averaging", [None, *AVERAGINGS])
@pytest.mark.parametrize("mine", ["loss", "derived loss", "rule", "loss and rule"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("loss", OUTPUTS)
def test_what_a_person_wrote_trains_as_the_reference_does(
    loss: str, optimizer: str, mine: str, averaging: str | None
) -> None:
    network, rule = network_for(loss), OPTIMIZERS[optimizer](weight_decay=0.1)
    cost = Cost(LOSSES[loss](), l2=0.05, mean_weight=0.8, l1=0.01)
    own_loss = type("Mine", (LOSSES[loss],), {})() if mine == "derived loss" else as_own(loss)
    own_cost = replace(cost, loss=own_loss) if "loss" in mine else cost
    own_rule = derived(OPTIMIZERS[optimizer]) if "rule" in mine else rule
    losses, found = trained(network, own_cost, own_rule, "auto", averaging)
    expected_losses, reference = trained(network, cost, rule, "reference", averaging)
    assert (found.name, reference.name) == ("stepwise", "reference")
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5, atol=1e-7)
    state, expected = found.state(), reference.state()
    assert state.step == expected.step == STEPS
    np.testing.assert_allclose(state.vectors, expected.vectors, rtol=1e-3, atol=2e-5)
    np.testing.assert_allclose(state.W, expected.W, rtol=0, atol=2e-5)
    np.testing.assert_allclose(state.kept, expected.kept, rtol=0, atol=2e-5)


@pytest.mark.parametrize("loss", OUTPUTS)
def test_totals_gradients_and_outputs_are_those_of_the_reference(loss: str) -> None:
    network, rule = network_for(loss), OPTIMIZERS["adam"]()
    rows, W = some_rows(network, 333, loss, weights=(0.5, 1.5)), network.initial(seed=1)
    made = make_engine(network, Cost(as_own(loss)), rule)
    reference = make_engine(network, Cost(LOSSES[loss]()), rule, "reference")
    total, gradient = made.gradient(W, rows)
    expected, expected_gradient = reference.gradient(W, rows)
    assert total == made.total_loss(W, rows) == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=0, atol=1e-5 * np.abs(expected_gradient).max())
    np.testing.assert_allclose(made.outputs(W, rows), reference.outputs(W, rows), rtol=0, atol=1e-5)


class HeavyBall:
    """Momentum that the object remembers."""

    speed: Vector | float = 0.0

    def step(self, W: Vector, gradient: Vector, learning_rate: float, t: int) -> None:
        self.speed = 0.9 * self.speed + gradient
        W -= learning_rate * self.speed


@dataclass(frozen=True, kw_only=True)
class HeavyBallOfVectors(Optimizer):
    """Momentum in the vectors that the engine saves."""

    memory: ClassVar[int] = 1

    def step(self, W: Vector, gradient: Vector, vectors: Matrix, learning_rate: float, t: int) -> None:
        vectors[0] = 0.9 * vectors[0] + gradient
        W -= learning_rate * vectors[0]


@pytest.mark.parametrize("engine", ["auto", "reference"])
def test_an_object_and_a_subclass_take_the_way_of_the_same_rule(engine: str) -> None:
    network, cost = network_for("squared_error"), Cost(LOSSES["squared_error"]())
    rates = {"usual_learning_rate": OPTIMIZERS["momentum"].usual_learning_rate}
    expected = trained(network, cost, OPTIMIZERS["momentum"](), engine, None)[1].state()
    subclass = type("Mine", (HeavyBallOfVectors,), rates)()
    object_of_mine = type("Own", (OwnOptimizer,), rates)(rule=HeavyBall())
    for rule in (subclass, object_of_mine):
        np.testing.assert_allclose(trained(network, cost, rule, engine, None)[1].state().W, expected.W, atol=1e-6)
    assert object_of_mine.rule.speed == 0.0  # every training begins with a copy


@pytest.mark.parametrize("mine", ["loss", "rule"])
def test_a_training_goes_on_after_a_stop_bit_for_bit_and_for_any_threads(mine: str) -> None:
    network = network_for("log_loss")
    cost = Cost(as_own("log_loss") if mine == "loss" else LOSSES["log_loss"](), l2=0.01)
    rule = HeavyBallOfVectors() if mine == "rule" else OPTIMIZERS["adam"]()
    rows, order = some_rows(network, 64, "log_loss"), np.arange(64)
    rates, averages = np.linspace(0.05, 0.01, 4), averaging_named("ema").rates(0, 4, 4)
    reached = []
    for cut, threads in ((4, 1), (2, 2), (1, 3)):
        state = EngineState.start(network.initial(seed=1), rule)
        state, losses = replace(state, average=state.W), []
        for start in range(0, 4, cut):
            engine, part = make_engine(network, cost, rule, seed=9, threads=threads), slice(start, start + cut)
            engine.load(state)
            some = order[start * 16 : (start + cut) * 16]
            losses.append(engine.train(rows, some, 16, rates[part], 1, averages[part]))
            state = engine.state()
        reached.append((np.concatenate(losses), state.W, state.vectors, state.kept))
    for parts in zip(*reached, strict=True):
        np.testing.assert_array_equal(parts[0], parts[1])
        np.testing.assert_array_equal(parts[0], parts[2])


def test_what_is_watched_is_what_is_reached() -> None:
    network, rule = network_for("squared_error"), HeavyBallOfVectors()
    rows, watched = some_rows(network, 32), some_rows(network, 9, seed=1)
    engines = [make_engine(network, Cost(as_own("squared_error")), rule) for _ in range(2)]
    for engine in engines:
        engine.load(EngineState.start(network.initial(seed=1), rule))
    seen = engines[0].train_watched(rows, np.tile(np.arange(32), 2), 16, np.full(4, 0.01), watched, 2)
    np.testing.assert_array_equal(
        seen.losses, engines[1].train(rows, np.tile(np.arange(32), 2), 16, np.full(4, 0.01), 2)
    )
    np.testing.assert_array_equal(seen.path[1], engines[1].state().W)
    np.testing.assert_array_equal(seen.outputs[1], engines[1].outputs(seen.path[1], watched))


def test_targets_that_do_not_fit_are_refused() -> None:
    network, rule = network_for("cross_entropy"), OPTIMIZERS["adam"]()
    engine, rows = make_engine(network, Cost(as_own("cross_entropy")), rule), some_rows(network, 8, "cross_entropy")
    with pytest.raises(DataError, match="class number"):
        engine.train(replace(rows, targets=rows.targets + 9), np.arange(8), 8, np.array([0.1]))


def test_what_a_person_wrote_is_called_by_its_name() -> None:
    ours = Cost(LOSSES["log_loss"]())
    assert own_code(ours, OPTIMIZERS["adam"]()) == ()
    assert own_code(Cost(as_own("log_loss")), OwnOptimizer(rule=HeavyBall())) == (
        "loss function",
        "optimiser HeavyBall",
    )
