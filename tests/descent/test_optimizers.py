"""Optimisers, each against its formula written out for single numbers."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from schuss.descent import (
    Adagrad,
    Adam,
    AdamW,
    GradientDescent,
    Lion,
    Momentum,
    NAdam,
    Nesterov,
    Optimizer,
    RMSprop,
)
from schuss.descent.optimizers import OPTIMIZERS, constants, optimizer_named
from schuss.engine.protocol import EngineState
from schuss.errors import SettingError

GRADIENTS = [0.5, -1.5, 0.25, 2.0, -0.125]
RATE = 0.1


def _momentum(nesterov: bool) -> float:
    w, v = 1.0, 0.0
    for g in GRADIENTS:
        v = 0.9 * v + g
        w -= RATE * (g + 0.9 * v if nesterov else v)
    return w


def _scaled(decay: float | None, epsilon: float) -> float:
    w, s = 1.0, 0.0
    for g in GRADIENTS:
        s = s + g * g if decay is None else decay * s + (1 - decay) * g * g
        w -= RATE * g / (math.sqrt(s) + epsilon)
    return w


def _adam(weight_decay: float) -> float:
    w, m, s = 1.0, 0.0, 0.0
    for t, g in enumerate(GRADIENTS, start=1):
        w -= RATE * weight_decay * w
        m, s = 0.9 * m + 0.1 * g, 0.999 * s + 0.001 * g * g
        w -= RATE * (m / (1 - 0.9**t)) / (math.sqrt(s / (1 - 0.999**t)) + 1e-8)
    return w


def _nadam() -> float:
    w, m, s, product = 1.0, 0.0, 0.0, 1.0
    for t, g in enumerate(GRADIENTS, start=1):
        now, following = (0.9 * (1 - 0.5 * 0.96 ** (0.004 * i)) for i in (t, t + 1))
        product *= now
        m, s = 0.9 * m + 0.1 * g, 0.999 * s + 0.001 * g * g
        ahead = (1 - now) * g / (1 - product) + following * m / (1 - product * following)
        w -= RATE * ahead / (math.sqrt(s / (1 - 0.999**t)) + 1e-8)
    return w


def _lion() -> float:
    w, m = 1.0, 0.0
    for g in GRADIENTS:
        w -= RATE * math.copysign(1, 0.9 * m + 0.1 * g)
        m = 0.99 * m + 0.01 * g
    return w


EXPECTED: dict[type[Optimizer], Callable[[], float]] = {
    GradientDescent: lambda: 1.0 - RATE * sum(GRADIENTS),
    Momentum: lambda: _momentum(nesterov=False),
    Nesterov: lambda: _momentum(nesterov=True),
    Adagrad: lambda: _scaled(None, 1e-10),
    RMSprop: lambda: _scaled(0.9, 1e-8),
    Adam: lambda: _adam(0.0),
    AdamW: lambda: _adam(0.01),
    NAdam: _nadam,
    Lion: _lion,
}


@pytest.mark.parametrize("kind", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_steps_follow_the_formula(kind: type[Optimizer]) -> None:
    optimizer = kind()
    state = EngineState.start(np.array([1.0]), optimizer)
    for t, gradient in enumerate(GRADIENTS, start=1):
        optimizer.update(state.W, np.array([gradient]), state.vectors, RATE, t, np.array([True]))
    assert state.W[0] == pytest.approx(EXPECTED[kind](), rel=1e-12)


@pytest.mark.parametrize("kind", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_weight_decay_shrinks_weights_and_leaves_biases(kind: type[Optimizer]) -> None:
    optimizer = kind(weight_decay=0.5)
    state = EngineState.start(np.array([2.0, 2.0]), optimizer)
    optimizer.update(state.W, np.zeros(2), state.vectors, RATE, 1, np.array([True, False]))
    assert state.W.tolist() == [2.0 * (1 - RATE * 0.5), 2.0]


LIMITS: list[tuple[dict[str, float], list[float], list[float]]] = [
    # limits, a gradient, and what the rule is to see instead
    ({"clip_value": 0.5}, [3.0, -4.0, 0.25], [0.5, -0.5, 0.25]),
    ({"clip_value": 9.0}, [3.0, -4.0, 0.25], [3.0, -4.0, 0.25]),
    ({"clip_norm": 1.0}, [3.0, -4.0, 0.0], [0.6, -0.8, 0.0]),
    ({"clip_norm": 5.0}, [3.0, -4.0, 0.0], [3.0, -4.0, 0.0]),
    ({"clip_norm": 1.0}, [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]),
]


@pytest.mark.parametrize(("limits", "gradient", "seen"), LIMITS)
@pytest.mark.parametrize("kind", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_every_rule_sees_the_clipped_gradient(
    kind: type[Optimizer], limits: dict[str, float], gradient: list[float], seen: list[float]
) -> None:
    reached = []
    for optimizer, given in ((kind(**limits), gradient), (kind(), seen)):
        state = EngineState.start(np.array([1.0, 2.0, 3.0]), optimizer)
        for t in (1, 2):
            optimizer.update(state.W, np.array(given), state.vectors, RATE, t, np.array([True, True, False]))
        reached.append(np.vstack([state.W, state.vectors]))
    np.testing.assert_allclose(reached[0], reached[1], rtol=1e-14)


def test_a_step_with_a_limit_is_so_long_and_decay_comes_on_top() -> None:
    optimizer = GradientDescent(clip_norm=0.5, weight_decay=0.2)
    W = np.array([10.0, 20.0])
    optimizer.update(W, np.array([30.0, 40.0]), np.zeros((0, 2)), RATE, 1, np.array([True, False]))
    np.testing.assert_allclose(W, [10.0 - RATE * 0.2 * 10.0 - RATE * 0.3, 20.0 - RATE * 0.4], rtol=1e-15)


def test_a_norm_in_float32_is_taken_in_float64() -> None:
    gradient = np.array([3e30, -4e30], np.float32)
    np.testing.assert_allclose(GradientDescent(clip_norm=1.0).clipped(gradient), [0.6, -0.8], rtol=1e-6)


@pytest.mark.parametrize("limits", [{"clip_norm": 1.0}, {"clip_value": 1.0}], ids=str)
def test_clipping_hides_no_divergence(limits: dict[str, float]) -> None:
    optimizer = GradientDescent(**limits)
    assert np.isnan(optimizer.clipped(np.array([1.0, np.nan, 5.0])))[1]
    for huge in (np.inf, 1e300):  # the square of 1e300 is infinite
        assert not (np.abs(optimizer.clipped(np.array([huge, -huge, 5.0]))) < 1.0).any()


@pytest.mark.parametrize("kind", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_limits_are_above_0_and_one_at_a_time(kind: type[Optimizer]) -> None:
    for wrong in (0.0, -1.0, math.inf, math.nan):
        for name in ("clip_value", "clip_norm"):
            with pytest.raises(SettingError, match=f"{name} of {kind.name}.*above 0"):
                kind(**{name: wrong})
    with pytest.raises(SettingError, match="give one of them"):
        kind(clip_value=1.0, clip_norm=1.0)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_limits_are_among_the_constants_and_0_where_there_are_none(name: str) -> None:
    found = constants(optimizer_named(name, clip_norm=2.0))
    assert (found["clip_norm"], found["clip_value"]) == (2.0, 0.0)
    assert constants(optimizer_named(name, clip_value=3.0))["clip_value"] == 3.0
    with pytest.raises(SettingError, match="give one of them"):
        optimizer_named(optimizer_named(name, clip_value=3.0), clip_norm=2.0)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_is_found_by_its_name(name: str) -> None:
    assert optimizer_named(name, weight_decay=0.25).weight_decay == 0.25
    assert constants(optimizer_named(name))["weight_decay"] == (0.01 if name == "adamw" else 0.0)


def test_a_typed_group_is_taken_as_it_is() -> None:
    assert optimizer_named(Adam(beta1=0.5)) == Adam(beta1=0.5)


@pytest.mark.parametrize("make", [lambda: Adam(beta1=1.0), lambda: Momentum(momentum=-0.1), lambda: Lion(beta2=2.0)])
def test_constants_out_of_range_are_refused(make: Callable[[], Optimizer]) -> None:
    with pytest.raises(SettingError, match="must be at least 0 and below 1"):
        make()


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    with pytest.raises(SettingError, match="adamw"):
        optimizer_named("adamm")
