"""A model that is trained on keeps what it is, and its W too where the new rows teach nothing."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import schuss
from schuss.errors import CellError, ColumnError, SettingError
from schuss.job import JobEvent
from schuss.progress import conclusion
from schuss.training.events import Finished

RANDOM = np.random.default_rng(0)


def frame(first: float = -2.0, last: float = 2.0, count: int = 300) -> pd.DataFrame:
    size, kind = RANDOM.uniform(first, last, count), RANDOM.choice(["flat", "house"], count)
    noise = RANDOM.normal(size=count)
    return pd.DataFrame({"size": size, "kind": kind, "price": 100 + 20 * size**2 + 30 * (kind == "flat") + noise})


def label(rows: pd.DataFrame) -> "pd.Series[str]":
    return (rows["size"] > 0).map({True: "large", False: "small"})


@pytest.fixture(scope="module")
def model() -> schuss.Model:
    plain: dict[str, Any] = {"activation": "tanh", "dropout": 0.1, "numeric": "standard", "members": 1}
    return schuss.train(frame(), "price", hidden=(16,), epochs=60, **plain)


def test_an_update_learns_the_new_rows_and_changes_neither_model_nor_encoding(model: schuss.Model) -> None:
    old, new, W = frame(), frame(2.0, 3.0), model.W.copy()
    before_old, before_new = model.evaluate(old)["rmse"], model.evaluate(new)["rmse"]
    updated = model.update(pd.concat([old, new]), epochs=60)
    assert updated.evaluate(new)["rmse"] < 0.8 * before_new
    assert updated.evaluate(old)["rmse"] < 2 * before_old
    assert (updated.encoding, updated.network, updated.loss) == (model.encoding, model.network, model.loss)
    assert (model.W == W).all()
    assert not updated.W.flags.writeable
    told = updated.record.reasons
    assert (told["hidden"], told["numeric"], told["members"]) == tuple(
        f"{value} (the model's)" for value in ("16", "standard", "1")
    )
    assert updated.record.reasons["learning_rate"].startswith("0.0004 ")


def test_updates_are_counted_in_the_file_too(model: schuss.Model, tmp_path: Path) -> None:
    updated = model.update(frame(count=200), epochs=1).update(frame(), epochs=2, test=0.0)
    updated.save(tmp_path / "m.schuss")
    record = schuss.Model.load(tmp_path / "m.schuss").record
    assert record.updates == (160, 270)
    assert record.epochs == 2


def test_an_update_that_makes_nothing_better_keeps_W_and_says_so(model: schuss.Model) -> None:
    events: list[JobEvent] = []
    wrong = frame().assign(price=lambda rows: -rows["price"])
    updated = model.update(wrong, validation=frame(), epochs=4, learning_rate=0.01, observers=[events.append])
    assert (updated.W == model.W).all()
    assert updated.record.best_epoch == 0
    assert "W before the update" in updated.record.notes[-1]
    (finished,) = (event for event in events if isinstance(event, Finished))
    assert "W from before the update kept" in conclusion(finished)
    without = model.update(wrong, validation=0.0, epochs=4)
    assert (without.W != model.W).any()
    assert without.record.notes == ()


def test_an_update_that_explodes_leaves_W_as_it_was(model: schuss.Model) -> None:
    updated = model.update(frame(), learning_rate=1e9, optimizer="gradient_descent", epochs=3)
    assert updated.record.outcome == "diverged"
    assert (updated.W == model.W).all()


@pytest.mark.parametrize("name", ["target", "weight", "exclude", "hidden", "activation", "loss", "dropout"])
def test_what_belongs_to_the_model_is_refused(model: schuss.Model, name: str) -> None:
    given: dict[str, Any] = {name: getattr(model.network, name, "price")}
    with pytest.raises(SettingError, match=f"{name} belongs to the model"):
        model.update(frame(), **given)


def test_a_class_that_is_new_is_told_with_its_row(tmp_path: Path) -> None:
    rows = frame().assign(size_class=label)
    model = schuss.train(rows, "size_class", hidden=(), epochs=2, exclude=["price"])
    rows.loc[41, "size_class"] = "huge"
    rows.to_csv(tmp_path / "new.csv", index=False)
    with pytest.raises(CellError, match=r"new.csv, line 43: the class 'huge'"):
        model.update(tmp_path / "new.csv")
    assert model.update(rows.drop(41), epochs=1).classes == ("large", "small")


def test_a_weighted_model_is_updated_with_weights() -> None:
    model = schuss.train(frame().assign(w=1.5), "price", weight="w", hidden=(), epochs=2)
    with pytest.raises(ColumnError, match="'w'"):
        model.update(frame())
    nothing = model.update(frame().assign(w=lambda rows: (rows["size"] < 0) * 1.0), epochs=1, test=0.0)
    assert nothing.record.left_out["weight 0"] > 100


def test_a_float64_model_stays_one() -> None:
    model = schuss.train(frame(), "price", hidden=(), epochs=2, precision="float64")
    assert model.update(frame(), epochs=1).W.dtype == np.float64


def test_an_update_takes_class_weights_and_names_what_belongs_to_the_model(model: schuss.Model) -> None:
    rows = pd.DataFrame({"x": np.arange(60.0), "y": np.arange(60) % 3 == 0})
    classes = schuss.train(rows, "y", hidden=(4,), epochs=1)
    plain, balanced = (classes.update(rows, epochs=1, class_weight=each) for each in (None, "balanced"))
    assert (plain.W != balanced.W).any()
    assert balanced.record.reasons["class_weight"] == "False 0.75, True 1.5 (chosen by you)"
    with pytest.raises(SettingError, match="exposure belongs to the model"):
        model.update(frame(), exposure="x")
