"""What the recipe takes of its own accord, for small tables and for others."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

import schuss
from schuss.descent import EMA
from schuss.preparing import Prepared
from schuss.recipe import Recipe

RANDOM = np.random.default_rng(0)


def recipe(rows: int, classes: int = 0, **settings: Any) -> Recipe:
    """For so many rows to train on."""
    x = RANDOM.normal(size=rows)
    target = np.resize([f"class {each}" for each in range(classes)], rows) if classes else x + RANDOM.normal(size=rows)
    found: list[Recipe] = []

    def noting(event: object) -> None:
        if isinstance(event, Prepared):
            found.append(event.recipe)

    schuss.train(pd.DataFrame({"x": x, "y": target}), "y", observers=[noting], seconds=1e-9, members=1, validation=0.0,
                 test=0.0, **settings)  # fmt: skip
    return found[0]


@pytest.mark.parametrize(("effort", "hidden"), [("fast", (256, 128)), ("standard", (256, 256))])
@pytest.mark.parametrize(("classes", "rows", "longer"), [(0, 7500, 1.6), (2, 7500, 2.5), (5, 3000, 2.5)])
def test_of_a_small_table_networks_are_narrow_and_the_average_of_longer_steps_is_kept(
    effort: str, hidden: tuple[int, ...], classes: int, rows: int, longer: float
) -> None:
    small, large = recipe(rows - 1, classes, effort=effort), recipe(rows, classes, effort=effort)
    widths = (128, 128) if classes and effort == "fast" else hidden
    assert (small.network.hidden, large.network.hidden) == (tuple(width // 2 for width in widths), widths)
    assert small.network.dropout == pytest.approx(large.network.dropout + 0.05)
    assert small.plan.learning_rate == pytest.approx(longer * large.plan.learning_rate)
    assert (small.plan.averaging, large.plan.averaging) == (EMA(), None)
    assert (small.reasons["averaging"], large.reasons["averaging"]) == (
        "ema (of W, which is what is kept)",
        "none (of W, which is what is kept)",
    )
    if large.network.numeric_embedding:
        assert small.network.numeric_embedding == large.network.numeric_embedding // 2


def test_of_a_small_table_too_what_is_set_is_taken() -> None:
    mine: dict[str, Any] = {"hidden": (20,), "dropout": 0.0, "learning_rate": 0.02, "averaging": "none"}
    found = recipe(100, **mine)
    assert {name: found.chosen[name] for name in mine} == mine
    assert found.plan.averaging is None
    assert found.reasons["averaging"] == "none (chosen by you)"


@pytest.mark.parametrize(("classes", "bins"), [(0, 16), (2, 8)])
def test_few_rows_have_few_bins(classes: int, bins: int) -> None:
    assert f"piecewise(bins={bins}" in recipe(200, classes).reasons["numeric"]


def test_a_linear_network_is_the_same_task_for_any_number_of_rows() -> None:
    small, large = recipe(100, hidden=()), recipe(20_000, hidden=())
    assert small.plan.averaging is large.plan.averaging is None
    assert small.plan.learning_rate == large.plan.learning_rate
