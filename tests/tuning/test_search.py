"""The space around a recipe, and which trials are given up."""

from typing import Any

import pytest

from schuss.preparing import Roles, make_settings, ready
from schuss.settings import Settings
from schuss.training.stopping import Goal
from schuss.tuning.search import Asked, Search
from schuss.tuning.space import Space, space_for
from schuss.tuning.trials import Trial


def space(rows: int = 200, target: str = "y", **settings: Any) -> Space:
    """That of a table."""
    table = {
        "x": [float(row) for row in range(rows)],
        "y": [1.5 * row for row in range(rows)],
        "c": ["u", "v"] * (rows // 2),
    }
    return space_for(ready(table, target, make_settings({"members": 1, **settings}), Roles()), settings)


@pytest.mark.parametrize("target", ["y", "c"])
@pytest.mark.parametrize("rows", [200, 4000])
def test_every_corner_of_the_space_is_a_setting(rows: int, target: str) -> None:
    found = space(rows, target)
    for bound in ("low", "high"):
        point = {}
        for name, values in found.distributions.items():
            choices = getattr(values, "choices", None)
            point[name] = choices[0 if bound == "low" else -1] if choices else getattr(values, bound)
        settings = Settings(**found.settings(point))
        assert settings.dropout == (0.0 if bound == "low" else 0.5)
        assert (settings.weight_decay == 0) == (bound == "low")
        assert settings.hidden is not None
        assert len(settings.hidden) == (1 if bound == "low" else 4)


def test_the_recipes_own_choice_lies_in_the_space() -> None:
    for rows in (200, 4000):
        assert set(space(rows).own) == set(space(rows).distributions)
        assert set(space(rows, effort="thorough").own) == set(space(rows).own)
    assert "width" not in space(hidden=(5000,)).own


def test_narrow_networks_suit_few_rows() -> None:
    few, many = (space(rows).distributions["width"] for rows in (200, 4000))
    assert getattr(few, "high") < getattr(many, "high")  # noqa: B009


def tried(search: Search, scores: list[float], asked: Asked | None = None) -> bool:
    """Whether a trial with these scores, at the fifths of its epochs, is given up."""
    asked = asked or search.ask()
    assert asked
    for place, score in enumerate(scores, 1):
        if search.is_hopeless(asked, place / 5, score):
            search.end(asked, ended(asked, None))
            return True
    search.end(asked, ended(asked, scores[-1]))
    return False


def ended(asked: Asked, score: float | None) -> Trial:
    return Trial(asked.number, asked.settings, "", score)


@pytest.mark.parametrize("greater", [False, True])
def test_a_trial_that_is_worse_than_the_median_is_given_up_but_never_the_first(greater: bool) -> None:
    sign = -1 if greater else 1
    search = Search(space(), Goal("loss", greater), 0)
    first = search.ask()
    assert first
    for _ in range(6):
        assert not tried(search, [sign * score for score in (5.0, 4.0, 3.0, 2.0, 1.0)])
    assert not tried(search, [sign * score for score in (9.0, 3.0, 2.0, 1.0, 0.5)])  # a late start counts for nothing
    assert tried(search, [sign * score for score in (5.0, 4.5, 4.4, 4.3, 4.2)])
    assert not tried(search, [sign * 100.0] * 5, first)
    best = search.best()
    assert best
    assert best.score == sign * 0.5


def test_a_trial_that_was_cut_off_is_proposed_again() -> None:
    search = Search(space(), Goal(), 0)
    cut, other = search.ask(), search.ask()
    assert cut
    assert not tried(search, [3.0], other)
    search.end(cut, None)
    first = search.ask()
    assert first
    assert (first.number, first.settings, first.point) == (1, {}, cut.point)
    assert not tried(search, [4.0], first)
    settings = []
    for _ in range(2):
        asked = search.ask()
        assert asked
        assert asked.number == 3
        settings.append(asked.settings)
        search.end(asked, None)
    assert settings[0] == settings[1]
    assert search.ask(most=2) is None
