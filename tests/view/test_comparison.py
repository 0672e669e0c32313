"""Optimisers side by side: the same start for each, one reading of the table, and no error that ends the others."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_diabetes

import schuss
from schuss import preparing
from schuss.descent import Optimizer
from schuss.errors import SettingError
from schuss.table.source import read_table
from schuss.training.events import Epoch
from schuss.view.comparison import Comparison, Contender

FRAME = load_diabetes(as_frame=True).frame
SETTINGS: dict[str, Any] = {"hidden": (8,), "epochs": 6, "test": 0.0, "members": 1}


def test_each_is_trained_as_if_it_were_alone() -> None:
    choices: list[str | Optimizer] = ["adamw", schuss.Momentum(momentum=0.95), "lbfgs(pairs=5)"]
    compared = schuss.compare(FRAME, "target", choices, **SETTINGS)
    assert [each.optimizer for each in compared.contenders] == ["adamw", "momentum(momentum=0.95)", "lbfgs(pairs=5)"]
    for each, choice in zip(compared.contenders, choices, strict=True):
        events: list[Any] = []
        schuss.train(FRAME, "target", optimizer=choice, observers=[events.append], **SETTINGS)
        alone = [event for event in events if isinstance(event, Epoch)]
        assert each.losses.tolist() == [event.loss for event in alone]
        assert each.validation.tolist() == [event.scores["loss"] for event in alone]
        assert each.steps.tolist() == [event.step for event in alone]
        assert each.outcome == "completed"


def test_the_table_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[object] = []

    def counted(table: object, *given: Any, **named: Any) -> Any:
        reads.append(table)
        return read_table(table, *given, **named)

    monkeypatch.setattr(preparing, "read_table", counted)
    schuss.compare(FRAME, "target", ["adam", "lion", "adagrad"], **SETTINGS)
    assert len(reads) == 1


def test_divergence_and_refusal_of_one_do_not_end_the_others() -> None:
    compared = schuss.compare(
        FRAME, "target", ["gradient_descent", "lbfgs", "adam"], learning_rate=3.0, retries=0, validation=0.0, **SETTINGS
    )
    outcomes = [each.outcome for each in compared.contenders]
    assert "diverged" in outcomes[0]
    assert "learning_rate has no meaning for lbfgs" in outcomes[1]
    assert outcomes[2] == "completed"
    assert not len(compared.contenders[1].steps)
    assert "lbfgs" in str(compared)
    ElementTree.fromstring(compared.svg())


def test_figures_are_the_last_and_the_least() -> None:
    ended = [(1, 5.0, 6.0, 0.2), (2, 3.0, 7.0, 0.2), (3, 4.0, 8.0, 0.3)]
    epochs = [Epoch(number, 10 * number, loss, {"loss": other}, False, time) for number, loss, other, time in ended]
    each = Contender("adam", epochs, "completed")
    assert list(each.figures().values()) == [30, 0.3, 4.0, 3.0, 8.0, 6.0]
    assert each.seconds == pytest.approx([0.1, 0.2, 0.3])
    assert str(Comparison([each])).splitlines()[1].split() == ["adam", "30", "0.3", "4", "3", "8", "6", "completed"]


@pytest.mark.parametrize(("validation", "panels"), [(0.0, 2), (0.2, 4)])
def test_the_picture_has_two_plots_for_each_loss(validation: float, panels: int, tmp_path: Path) -> None:
    compared = schuss.compare(FRAME, "target", ["adam", "lion"], validation=validation, **SETTINGS)
    compared.save(tmp_path / "comparison.svg")
    text = (tmp_path / "comparison.svg").read_text()
    assert text.count("loss against") == panels
    assert str(compared).count("–") == (4 if validation == 0 else 0)


def test_an_interruption_ends_the_running_one_and_begins_no_other() -> None:
    ended: list[object] = []
    watch: dict[str, Any] = {"interrupted": lambda: bool(ended), "observers": [ended.append]}
    compared = schuss.compare(FRAME, "target", ["adam", "lion", "adagrad"], **watch, **SETTINGS)
    assert [each.optimizer for each in compared.contenders] == ["adam"]
    assert compared.contenders[0].outcome == "completed"  # it had done all that it was to do
    assert ended[-1] is compared.contenders[0]


@pytest.mark.parametrize(("optimizers", "settings"), [(["adamm"], {}), ([], {}), (["adam"], {"optimizer": "lion"})])
def test_what_cannot_be_compared_is_refused_before_the_table_is_read(
    optimizers: list[str], settings: dict[str, Any]
) -> None:
    with pytest.raises(SettingError):
        schuss.compare("no such table.csv", "y", optimizers, **settings)


def test_weights_and_classes_come_through() -> None:
    frame = pd.DataFrame({"x": np.arange(120.0), "w": 1.0, "y": np.where(np.arange(120) % 3, "a", "b")})
    compared = schuss.compare(frame, "y", ["adam"], weight="w", **SETTINGS)
    assert 0 < compared.contenders[0].losses[-1] < 2
