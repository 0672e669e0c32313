"""Schedules, each against PyTorch's of the same name where there is one, otherwise against its paper's formula."""

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as some
from torch.optim import lr_scheduler as theirs

from schuss.arrays import Vector
from schuss.descent.schedules import (
    SCHEDULES,
    Constant,
    Cosine,
    Coslog4,
    Exponential,
    OneCycle,
    Plateau,
    Polynomial,
    Schedule,
    Step,
    schedule_named,
)
from schuss.errors import SettingError
from schuss.groups import in_words

# Some numbers of each that are not its defaults.
OTHERS: dict[str, Schedule] = {
    "constant": Constant(warmup=0.2),
    "step": Step(factor=0.5, at=(0.7, 0.2), warmup=0.1),
    "exponential": Exponential(final=0.0),
    "polynomial": Polynomial(power=2.5, final=0.0, warmup=0.5),
    "cosine": Cosine(final=0.2, cycles=3, growth=1.7, warmup=0.05),
    "one_cycle": OneCycle(start=0.5, peak=1.0, warmup=0.3),
    "coslog4": Coslog4(warmup=0.9),
    "plateau": Plateau(warmup=0.1),
}


def rates(make: Callable[[torch.optim.Optimizer], theirs.LRScheduler], steps: int) -> Vector:
    """What PyTorch takes of a learning rate of 1."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    schedule, found = make(optimizer), []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # OneCycleLR and SequentialLR speak of themselves
            schedule.step() if len(found) < steps else None
    return np.array(found)


def warmed(optimizer: torch.optim.Optimizer) -> theirs.LRScheduler:
    """Ten steps of warm-up, then half a cosine over ninety."""
    rise = theirs.LinearLR(optimizer, start_factor=1 / 11, total_iters=10)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return theirs.SequentialLR(optimizer, [rise, theirs.CosineAnnealingLR(optimizer, 89)], [10])


@pytest.mark.parametrize(
    ("ours", "make", "steps"),
    [
        (Constant(), lambda it: theirs.ConstantLR(it, factor=1.0), 20),
        (Step(factor=0.3, every=0.1), lambda it: theirs.StepLR(it, 30, gamma=0.3), 300),
        (Step(factor=0.3, at=(0.8, 0.3)), lambda it: theirs.MultiStepLR(it, [21, 56], gamma=0.3), 70),
        (Exponential(final=1e-3), lambda it: theirs.ExponentialLR(it, 1e-3 ** (1 / 49)), 50),
        (Polynomial(power=0.9, final=0.0), lambda it: theirs.PolynomialLR(it, 49, power=0.9), 50),
        (Polynomial(final=0.25), lambda it: theirs.LinearLR(it, 1.0, 0.25, total_iters=49), 50),
        (Cosine(final=0.1), lambda it: theirs.CosineAnnealingLR(it, 49, eta_min=0.1), 50),
        (Cosine(0.1, 3, 2), lambda it: theirs.CosineAnnealingWarmRestarts(it, 10, 2, eta_min=0.1), 70),
        (OneCycle(), lambda it: theirs.OneCycleLR(it, 1.0, 101, pct_start=31 / 101), 101),
        (OneCycle(0.1, 0.5, 0.01), lambda it: theirs.OneCycleLR(it, 1.0, 21, pct_start=11 / 21, div_factor=10,
                                                                final_div_factor=10), 21),
        (Cosine(final=0.0, warmup=0.1), warmed, 100),
    ],
    ids=lambda value: in_words(value) if isinstance(value, Schedule) else "",
)  # fmt: skip
def test_shares_are_those_of_torch(ours: Schedule, make: Any, steps: int) -> None:
    total = steps + 1 if isinstance(ours, Cosine) and ours.cycles > 1 else steps  # its last cycle ends one step later
    assert ours.shares(0, steps, total) == pytest.approx(rates(make, steps), rel=1e-9, abs=1e-12)


def test_coslog4_follows_its_formula() -> None:
    t = (np.arange(40) + 0.5) / 40
    expected = [0.5 * (1 - math.cos(2 * math.pi * math.log2(1 + 15 * each))) for each in t]
    assert Coslog4().shares(0, 40, 40) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("ours", [Plateau(patience=1), Plateau(0.5, 2, 0.1, 3, 0.1), Plateau(0.3, 0, 0.0)])
@given(losses=some.lists(some.floats(1e-3, 10), min_size=1, max_size=40))
def test_plateau_cuts_where_torch_does(ours: Plateau, losses: list[float]) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    rule = theirs.ReduceLROnPlateau(
        optimizer, factor=ours.factor, patience=ours.patience, threshold=ours.threshold, cooldown=ours.cooldown,
        min_lr=ours.least, eps=0.0,
    )  # fmt: skip
    for count, loss in enumerate(losses, 1):
        rule.step(loss)
        assert ours.cut(losses[:count]) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)


def test_plateau_knows_that_a_loss_below_0_becomes_better_downwards() -> None:
    assert Plateau(patience=0).cut([-1.0, -1.0001, -2.0]) == 0.1
    assert Plateau(patience=0).cut([-1.0, -1.1, -2.0]) == 1.0


def test_every_schedule_has_its_numbers_here() -> None:
    assert list(OTHERS) == list(SCHEDULES)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 3, 50, 1001])
def test_shares_are_between_0_and_1_and_do_not_depend_on_the_chunks_they_are_asked_in(name: str, steps: int) -> None:
    for schedule in (schedule_named(name), OTHERS[name]):
        whole = schedule.shares(0, steps, steps)
        assert ((whole >= 0) & (whole <= 1 + 1e-12)).all()
        assert whole.any()
        for size in (1, 7):
            parts = [schedule.shares(at, min(size, steps - at), steps) for at in range(0, steps, size)]
            assert np.concatenate(parts).tobytes() == whole.tobytes()


@pytest.mark.parametrize("name", SCHEDULES)
def test_steps_beyond_the_last_have_a_share_too(name: str) -> None:
    assert np.isfinite(schedule_named(name).shares(95, 10, 100)).all()


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_is_said_in_words_with_its_warm_up(name: str) -> None:
    assert schedule_named(in_words(OTHERS[name])) == OTHERS[name]
    assert schedule_named(f"{name}(warmup=0.5)").shares(0, 2, 100).tolist() == pytest.approx(
        [share * schedule_named(name).shares(0, 1, 50)[0] for share in (1 / 51, 2 / 51)]
    )


@pytest.mark.parametrize(
    "words", ["constant(warmup=1)", "step(every=0)", "step(at=[0.5,2])", "exponential(-1)", "polynomial(power=0)",
              "cosine(2)", "cosine(cycles=0)", "cosine(cycles=1.5)", "one_cycle(peak=3)", "plateau(factor=2)",
              "plateau(patience=-1)", "cosine(final=some)"]
)  # fmt: skip
def test_numbers_out_of_range_are_refused(words: str) -> None:
    with pytest.raises(SettingError):
        schedule_named(words)


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    with pytest.raises(SettingError, match="cosine"):
        schedule_named("cosin")
