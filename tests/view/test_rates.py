"""The range test: what it sees, what it suggests, and what it refuses."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_diabetes

import schuss
from schuss.errors import OutputError, SettingError
from schuss.view import rates
from schuss.view.rates import RateTest

FRAME = load_diabetes(as_frame=True).frame


def found(**settings: Any) -> RateTest:
    return schuss.find_learning_rate(FRAME, "target", **{"hidden": (16,), "optimizer": "momentum", **settings})


def test_rates_grow_until_the_loss_explodes() -> None:
    test = found()
    assert (np.diff(test.rates) > 0).all()
    assert len(test.rates) == len(test.losses) < 300
    assert np.isfinite(test.losses).all()


def test_the_suggestion_is_a_third_of_the_rate_with_the_least_loss_and_trains_well() -> None:
    test = found()
    assert test.suggestion == pytest.approx(test.rates[test.losses.argmin()] / 3)
    losses = {}
    for times in (0.01, 1.0, 100.0):
        settings: dict[str, Any] = {
            "hidden": (16,),
            "members": 1,
            "retries": 0,
            "optimizer": "momentum",
            "learning_rate": times * test.suggestion,
            "epochs": 30,
        }
        try:
            losses[times] = schuss.train(FRAME, "target", **settings).record.scores["validation"]["loss"] or np.inf
        except schuss.SchussError:
            losses[times] = np.inf
    assert losses[1.0] < 0.8 * losses[0.01]
    assert losses[1.0] < losses[100.0]


def test_the_same_seed_gives_the_same_test_and_losses_are_in_the_target_s_unit() -> None:
    one, same = found(), found()
    assert (one.losses == same.losses).all()
    other = schuss.find_learning_rate(
        FRAME.assign(target=10 * FRAME["target"]), "target", hidden=(16,), optimizer="momentum"
    )
    assert other.losses[:200] == pytest.approx(100 * one.losses[:200], rel=1e-3)


def test_weight_decay_takes_no_part() -> None:
    losses = [found(optimizer="adamw", weight_decay=decay).losses for decay in (0.5, 0.0)]
    assert (losses[0] == losses[1]).all()


def test_where_the_loss_never_falls_the_rate_of_the_recipe_stays() -> None:
    frame = pd.DataFrame({"x": np.arange(200.0) % 2, "y": np.random.default_rng(0).normal(size=200)})
    test = schuss.find_learning_rate(frame, "y", optimizer="gradient_descent", hidden=())
    assert (test.suggestion, "fell at no rate" in test.reason) == (0.02, True)


def test_rows_on_disk_are_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHUSS_CACHE", str(tmp_path))
    assert len(found(memory="20kB").rates) > 100


def test_smoothing_leaves_a_straight_line_straight() -> None:
    assert rates._smoothed(np.full(50, 3.0)) == pytest.approx(np.full(50, 3.0))
    assert rates._smoothed(np.arange(100.0))[30:70] == pytest.approx(np.arange(30.0, 70.0))


@pytest.mark.parametrize("settings", [{"learning_rate": 0.1}, {"schedule": "cosine"}, {"optimizer": "lbfgs"}])
def test_what_it_replaces_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(SettingError):
        found(**settings)


def test_the_picture_shows_the_suggestion_and_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    test = found()
    test.save(tmp_path / "rates.svg")
    ElementTree.parse(tmp_path / "rates.svg")
    assert f"suggested: {test.suggestion:.3g}" in test._repr_svg_()
    with pytest.raises(OutputError):
        test.save(tmp_path / "no such folder" / "rates.svg")
