"""Optimisers, each against its formula written out for single numbers, and schedules."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from schuss.descent import (
    Adagrad,
    Adam,
    AdamW,
    Constant,
    Cosine,
    GradientDescent,
    Lion,
    Momentum,
    Nesterov,
    Optimizer,
    RMSprop,
)
from schuss.descent.optimizers import OPTIMIZERS, constants, optimizer_named
from schuss.descent.schedules import SCHEDULES, schedule_named
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
    with pytest.raises(SettingError, match="cosine"):
        schedule_named("cosin")


def test_constant_stays_and_cosine_falls_to_its_final_share() -> None:
    assert Constant().shares(5, 3, 100).tolist() == [1, 1, 1]
    shares = Cosine(final=0.1).shares(0, 11, 11)
    assert shares[0] == 1
    assert shares[5] == pytest.approx(0.55)
    assert shares[-1] == pytest.approx(0.1)
    assert (np.diff(shares) < 0).all()


@pytest.mark.parametrize("name", SCHEDULES)
def test_shares_do_not_depend_on_the_chunks_they_are_asked_in(name: str) -> None:
    schedule = schedule_named(name)
    whole = schedule.shares(0, 50, 50)
    parts = np.concatenate([schedule.shares(0, 20, 50), schedule.shares(20, 30, 50)])
    assert (whole == parts).all()
