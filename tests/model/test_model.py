"""Models: predict, evaluate, the file, pickling."""

import pickle
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

import schuss
from schuss import Model, files
from schuss.errors import CellError, DataError, ModelFileError, SettingError
from schuss.files import read_tensors, write_tensors
from schuss.losses import SquaredError

RANDOM = np.random.default_rng(0)
COUNT = 300


def frame() -> pd.DataFrame:
    size = RANDOM.normal(size=COUNT)
    kind = RANDOM.choice(["flat", "house", "villa"], COUNT)
    price = 100 + 20 * size + 30 * (kind == "villa") + RANDOM.normal(size=COUNT)
    return pd.DataFrame({"size": size, "kind": kind, "price": price, "dear": np.where(price > 110, "yes", "no")})


FRAME = frame()
SETTINGS: dict[str, Any] = {"hidden": (16,), "epochs": 30, "learning_rate": 0.02, "batch_size": 32, "members": 1}


@pytest.fixture(scope="module")
def regression() -> Model:
    return schuss.train(FRAME.drop(columns="dear"), "price", **SETTINGS)


@pytest.fixture(scope="module")
def binary() -> Model:
    return schuss.train(FRAME.drop(columns="price"), "dear", **SETTINGS)


@pytest.fixture(scope="module")
def multiclass() -> Model:
    return schuss.train(FRAME.drop(columns="dear"), "kind", **SETTINGS)


@pytest.fixture(params=["regression", "binary", "multiclass"])
def model(request: pytest.FixtureRequest) -> Model:
    found: Model = request.getfixturevalue(request.param)
    return found


def test_predictions_are_in_the_target_s_own_units(regression: Model) -> None:
    predicted = regression.predict(FRAME)
    assert predicted.shape == (COUNT,)
    assert predicted.dtype == np.float64
    assert np.sqrt(np.mean((predicted - FRAME["price"]) ** 2)) < 3


def test_predictions_are_labels_and_probabilities_sum_to_one(binary: Model, multiclass: Model) -> None:
    for trained, name in ((binary, "dear"), (multiclass, "kind")):
        probabilities = trained.predict_proba(FRAME)
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-12)
        labels = np.array(trained.classes)[probabilities.argmax(axis=1)]
        assert (trained.predict(FRAME) == labels).all()
        assert trained.classes == tuple(sorted(FRAME[name].unique()))


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("loss", ["squared_error", "gaussian", "cross_entropy"])
def test_numbers_far_from_those_of_training_end_in_a_finite_prediction_or_an_error(loss: str, precision: str) -> None:
    table = pd.DataFrame({"a": RANDOM.normal(size=60), "b": RANDOM.normal(size=60)})
    table["y"] = (table["a"] + table["b"] > 0).astype(int)
    model = schuss.train(table, "y", loss=loss, hidden=(64, 64, 64), numeric="standard", epochs=5, precision=precision)
    predicted = model.predict_proba if model.classes else model.predict
    for size in (1e10, 1e30):
        assert np.isfinite(predicted(pd.DataFrame({"a": [1.0, size, size], "b": [1.0, -size, size]}))).all()
    if precision == "float32":
        W = model.W * np.float32(10)
        model = Model(model.encoding, model.network, model.loss, W, model.record)
        with pytest.raises(CellError, match="row 2: numbers lie so far from those seen in training"):
            model.predict(pd.DataFrame({"a": [1.0, 1e38], "b": [1.0, -1e38]}))


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("size", [1e30, 1e38])
def test_training_on_huge_numbers_ends_in_finite_predictions(size: float, precision: str) -> None:
    table = pd.DataFrame({"a": RANDOM.normal(size=60), "b": size * RANDOM.normal(size=60)})
    table.loc[7, "a"] = -size
    table["y"] = RANDOM.normal(size=60)
    model = schuss.train(table, "y", hidden=(16, 16), epochs=5, precision=precision)
    assert model.record.outcome == "completed"
    assert np.isfinite(model.predict(table)).all()


def test_a_regression_has_no_probabilities(regression: Model) -> None:
    with pytest.raises(SettingError, match="predict"):
        regression.predict_proba(FRAME)


def test_evaluation_agrees_with_the_predictions(regression: Model, binary: Model) -> None:
    scores, residual = regression.evaluate(FRAME), FRAME["price"] - regression.predict(FRAME)
    assert scores["total_loss"] == pytest.approx(float(residual @ residual), rel=1e-4)
    assert scores["loss"] == pytest.approx(scores["total_loss"] / COUNT)
    assert scores["rmse"] == pytest.approx(scores["loss"] ** 0.5)
    assert scores["mae"] == pytest.approx(float(residual.abs().mean()), rel=1e-4)
    assert scores["r2"] == pytest.approx(1 - scores["loss"] / FRAME["price"].var(ddof=0), rel=1e-4)
    of_class = np.where(FRAME["dear"] == "yes", *binary.predict_proba(FRAME).T[::-1])
    scores = binary.evaluate(FRAME)
    assert scores["loss"] == pytest.approx(-np.log(of_class).mean(), rel=1e-6)
    assert scores["accuracy"] == pytest.approx((binary.predict(FRAME) == FRAME["dear"]).mean())
    assert 0.9 < scores["auc"] <= 1


def test_weights_count_in_the_evaluation() -> None:
    weighted = FRAME.drop(columns="dear").assign(w=np.arange(COUNT) % 3)
    trained = schuss.train(weighted, "price", weight="w", **SETTINGS)
    repeated = weighted.loc[weighted.index.repeat(weighted["w"])].assign(w=1)
    assert trained.evaluate(weighted)["loss"] == pytest.approx(trained.evaluate(repeated)["loss"], rel=1e-6)


def test_loading_gives_back_the_very_same_model(model: Model, tmp_path: Path) -> None:
    model.save(tmp_path / "m.schuss")
    loaded = Model.load(tmp_path / "m.schuss")
    assert (loaded.W == model.W).all()
    assert loaded.record == model.record
    assert loaded.encoding == model.encoding
    assert loaded.network == model.network
    assert (loaded.predict(FRAME) == model.predict(FRAME)).all()


def test_pickling_gives_back_the_very_same_model(model: Model) -> None:
    again = pickle.loads(pickle.dumps(model))
    assert not again.W.flags.writeable
    assert (again.predict(FRAME) == model.predict(FRAME)).all()


def test_W_holds_all_weights_and_biases_and_cannot_be_written_to(model: Model) -> None:
    assert model.W.shape == (model.network.parameters,)
    assert model.W.dtype == np.float32
    with pytest.raises(ValueError, match="read-only"):
        model.W[0] = 1


def test_a_row_is_predicted_the_same_alone_and_among_others(model: Model) -> None:
    together = model.outputs(FRAME)
    alone = np.concatenate([model.outputs(FRAME.iloc[i : i + 1]) for i in range(20)])
    assert (together[:20] == alone).all()


def test_columns_are_matched_by_name(regression: Model) -> None:
    shuffled = FRAME.assign(extra=1)[["dear", "extra", "kind", "size"]]
    assert (regression.predict(shuffled) == regression.predict(FRAME)).all()
    with pytest.raises(DataError, match="size"):
        regression.predict(FRAME.drop(columns="size"))


def test_columns_that_the_model_does_not_use_may_hold_anything(regression: Model, tmp_path: Path) -> None:
    odd = FRAME.assign(objects=pd.Series([{"a": [1]} for _ in range(COUNT)]))
    assert (regression.predict(odd) == regression.predict(FRAME)).all()
    odd.to_parquet(tmp_path / "odd.parquet")
    assert (regression.predict(tmp_path / "odd.parquet") == regression.predict(FRAME)).all()


def test_an_empty_table_is_refused(regression: Model) -> None:
    with pytest.raises(DataError, match="no rows"):
        regression.predict(FRAME.iloc[:0])


def test_same_seed_gives_the_same_W_bit_for_bit() -> None:
    table = FRAME.drop(columns="dear")
    first, second = (schuss.train(table, "price", seed=5, **SETTINGS) for _ in range(2))
    other = schuss.train(table, "price", seed=6, **SETTINGS)
    assert (first.W == second.W).all()
    assert (first.W != other.W).any()


def test_fault_09_a_newer_format_is_refused_by_its_number(regression: Model, tmp_path: Path) -> None:
    regression.save(tmp_path / "m.schuss")
    tensors, metadata = read_tensors(tmp_path / "m.schuss")
    card = msgspec.json.decode(metadata["schuss"])
    card["format"] = 99
    write_tensors(tmp_path / "m.schuss", tensors, {"schuss": msgspec.json.encode(card).decode()})
    with pytest.raises(ModelFileError, match=r"format 99.*newer schuss"):
        Model.load(tmp_path / "m.schuss")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda card: card.update(network={"inputs": 10**9, "hidden": [10**9]}),
        lambda card: card.update(network={"inputs": "many"}),
        lambda card: card.update(network={"command": "rm"}),
        lambda card: card.update(loss="__import__"),
        lambda card: card["network"].update(dropout="some"),
        lambda card: card["network"].update(dropout=1.5),
        lambda card: card.update(precision="object"),
        lambda card: card["encoding"]["schema"].update(columns=[{"type": "lambda"}]),
        lambda card: card["encoding"]["schema"].update(columns=[]),
        lambda card: card.pop("encoding"),
        lambda card: card["encoding"]["schema"]["target"].update(deviation=[]),
        lambda card: card["encoding"]["schema"]["target"].update(names=[]),
        lambda card: card["encoding"]["schema"]["target"].update(task="binary"),
        lambda card: card.update(loss="cross_entropy"),
        lambda card: card.update(format="1"),
    ],
)
def test_fault_41_a_card_that_makes_no_sense_is_refused(regression: Model, tmp_path: Path, spoil: Any) -> None:
    regression.save(tmp_path / "m.schuss")
    tensors, metadata = read_tensors(tmp_path / "m.schuss")
    card = msgspec.json.decode(metadata["schuss"])
    spoil(card)
    write_tensors(tmp_path / "m.schuss", tensors, {"schuss": msgspec.json.encode(card).decode()})
    with pytest.raises(ModelFileError):
        Model.load(tmp_path / "m.schuss")


def test_a_model_with_nan_in_W_is_refused(regression: Model, tmp_path: Path) -> None:
    regression.save(tmp_path / "m.schuss")
    tensors, metadata = read_tensors(tmp_path / "m.schuss")
    write_tensors(tmp_path / "m.schuss", {"W": np.full_like(tensors["W"], np.nan)}, metadata)
    with pytest.raises(ModelFileError):
        Model.load(tmp_path / "m.schuss")


def test_a_failed_save_leaves_the_old_model(
    regression: Model, binary: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    regression.save(tmp_path / "m.schuss")

    def full(self: object, file: object, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.Storage, "write", full)
    with pytest.raises(schuss.errors.OutputError, match="No space"):
        binary.save(tmp_path / "m.schuss")
    monkeypatch.undo()
    assert Model.load(tmp_path / "m.schuss").predict(FRAME).dtype == np.float64
    assert [path.name for path in tmp_path.iterdir()] == ["m.schuss"]


def test_predictions_do_not_depend_on_the_blocks_they_are_made_in(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = model.outputs(FRAME)
    monkeypatch.setattr("schuss.table.table.BLOCK_ROWS", 7)
    assert (model.outputs(FRAME) == whole).all()


def test_the_loss_of_several_targets_is_their_residual_sum_of_squares() -> None:
    table = FRAME.assign(cents=100 * FRAME["price"]).drop(columns="dear")
    trained = schuss.train(table, ["price", "cents"], **SETTINGS)
    residual = table[["price", "cents"]].to_numpy() - trained.predict(table)
    scores = trained.evaluate(table)
    assert scores["total_loss"] == pytest.approx(float(np.square(residual).sum()), rel=1e-4)
    assert scores["rmse of cents"] == pytest.approx(float(np.sqrt(np.square(residual[:, 1]).mean())), rel=1e-4)


def test_the_determination_of_a_constant_target_is_not_a_number(regression: Model) -> None:
    assert np.isnan(regression.evaluate(FRAME.assign(price=0.1))["r2"])


def test_rows_of_weight_zero_are_in_no_part_and_counted() -> None:
    weighted = FRAME.drop(columns="dear").assign(w=np.where(np.arange(COUNT) < 6, 1.0, 0.0))
    record = schuss.train(weighted, "price", weight="w", **SETTINGS).record
    assert record.left_out == {"weight 0": COUNT - 6}
    assert record.rows == {"training": 6}


class Mine(SquaredError):
    pass


def test_a_loss_class_of_one_s_own_trains_and_cannot_be_saved_in_a_schuss_file(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Your own loss Mine"):
        trained = schuss.train(FRAME.drop(columns="dear"), "price", loss=Mine(), hidden=(4,), epochs=2)
    with pytest.raises(SettingError, match="pickle"):
        trained.save(tmp_path / "m.schuss")
    assert (pickle.loads(pickle.dumps(trained)).predict(FRAME) == trained.predict(FRAME)).all()


def test_a_setting_of_the_wrong_kind_or_name_is_refused() -> None:
    with pytest.raises(SettingError, match="schedule"):
        schuss.train(FRAME, "price", schedule=schuss.Adam())
    with pytest.raises(SettingError, match="'epochs'"):
        schuss.train(FRAME, "price", epoch=3)


def test_float64_is_trained_and_saved_in_float64(tmp_path: Path) -> None:
    trained = schuss.train(FRAME.drop(columns="dear"), "price", precision="float64", hidden=(4,), epochs=2)
    trained.save(tmp_path / "m.schuss")
    assert Model.load(tmp_path / "m.schuss").W.dtype == np.float64


def test_dropout_is_saved_with_the_network(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"dropout": 0.25, "precision": "float64", "hidden": (4,), "epochs": 2}
    trained = schuss.train(FRAME.drop(columns="dear"), "price", **settings)
    trained.save(tmp_path / "m.schuss")
    loaded = Model.load(tmp_path / "m.schuss")
    assert loaded.network == trained.network
    assert loaded.network.dropout == 0.25
    assert (loaded.predict(FRAME) == trained.predict(FRAME)).all()
