"""The main job as a whole: what its events say, and which W it keeps."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import schuss
from schuss import Rows, job, preparing
from schuss.arrays import Vector
from schuss.engine import make_engine
from schuss.engine.protocol import Engine
from schuss.errors import SettingError, SourceError
from schuss.evaluating import Evaluated
from schuss.job import JobEvent
from schuss.model import model as model_module
from schuss.preparing import Prepared
from schuss.progress import introduction
from schuss.settings import Settings
from schuss.table import encoded, formats, memory
from schuss.table.delimited import TableFormat
from schuss.table.pieces import Pieces
from schuss.table.shards import pack
from schuss.training.events import Epoch, Finished
from schuss.view.inspection import inspect_table

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(400, 3))
FRAME = pd.DataFrame(X, columns=["a", "b", "c"]).assign(y=1000 * np.sin(X[:, 0]) + 300 * RANDOM.normal(size=400))


def watched(**settings: Any) -> tuple[schuss.Model, list[JobEvent]]:
    events: list[JobEvent] = []
    return schuss.train(FRAME, "y", observers=[events.append], **{"members": 1, **settings}), events


def test_events_come_in_order() -> None:
    _, events = watched(epochs=2, hidden=(8,))
    assert [type(event) for event in events if isinstance(event, Prepared | Finished | Evaluated)] == [
        Prepared,
        Finished,
        Evaluated,
    ]


def test_losses_of_the_training_are_in_the_target_s_own_unit() -> None:
    model, events = watched(epochs=1, hidden=(8,), learning_rate=1e-30, weight_decay=0.0, dropout=0.0,
                            validation=0.0, test=0.0)  # fmt: skip
    (epoch,) = (event for event in events if isinstance(event, Epoch))
    assert epoch.loss == pytest.approx(model.evaluate(FRAME)["loss"], rel=1e-5)


def test_the_W_of_the_best_epoch_is_the_one_that_the_model_keeps() -> None:
    model, events = watched(epochs=60, hidden=(64, 64), learning_rate=0.02, weight_decay=0.0, patience=60)
    losses = [event.scores["loss"] for event in events if isinstance(event, Epoch)]
    assert 1 + int(np.argmin(losses)) == model.record.best_epoch < len(losses)
    assert model.record.scores["validation"]["loss"] == min(losses)


def test_test_rows_take_no_part_in_the_training() -> None:
    first, events = watched(epochs=3, hidden=(8,))
    assert isinstance(events[0], Prepared)
    assert events[0].test is not None
    (rows,) = events[0].test.blocks()
    targets = events[0].encoding.decode(rows.targets)
    is_test = np.abs(FRAME["y"].to_numpy()[:, np.newaxis] - targets).min(axis=1) < 1e-3
    assert is_test.sum() == len(targets) == 40
    second = schuss.train(
        FRAME.assign(y=FRAME["y"] + 5000 * is_test, a=FRAME["a"] - 9 * is_test), "y", epochs=3, hidden=(8,), members=1
    )
    assert (first.W == second.W).all()


def test_dropout_and_limits_reach_network_and_optimizer() -> None:
    for limit in ("clip_norm", "clip_value"):
        model, events = watched(epochs=1, hidden=(8,), dropout=0.25, precision="float64", **{limit: 0.5})
        assert isinstance(events[0], Prepared)
        assert getattr(events[0].recipe.optimizer, limit) == 0.5
        assert model.network.dropout == 0.25
    with pytest.raises(SettingError, match="give one of them"):
        watched(clip_norm=1.0, clip_value=1.0)


def test_plateau_without_validation_rows_is_refused_before_training() -> None:
    with pytest.raises(SettingError, match="looks at validation rows"):
        schuss.train(FRAME, "y", schedule="plateau", validation=0.0)


def test_the_learning_rate_of_an_optimizer_is_that_of_the_training() -> None:
    quick: dict[str, Any] = {"epochs": 1, "hidden": (4,)}
    for optimizer in (schuss.Adam(learning_rate=0.03), "adam(learning_rate=0.03)"):
        _, (prepared, *_) = watched(optimizer=optimizer, learning_rate=0.03, **quick)
        alone, (same, *_) = watched(optimizer=optimizer, **quick)
        assert isinstance(prepared, Prepared)
        assert isinstance(same, Prepared)
        assert prepared.recipe.plan.learning_rate == same.recipe.plan.learning_rate == 0.03
        with pytest.raises(SettingError, match=r"learning_rate is 0\.01, and that of Adam is 0\.03: give one"):
            watched(optimizer=optimizer, learning_rate=0.01, **quick)
    assert (
        schuss.update(alone, FRAME, optimizer=schuss.Adam(learning_rate=0.03), epochs=1)
        .record.reasons["learning_rate"]
        .startswith("0.03 ")
    )


@pytest.mark.parametrize("averaging", ["ema(decay=0.9)", schuss.SWA(start=0.5)])
def test_an_average_is_what_the_model_keeps_and_the_record_says_so(averaging: Any) -> None:
    quick: dict[str, Any] = {"epochs": 4, "hidden": (8,), "validation": 0.0}
    model, events = watched(averaging=averaging, **quick)
    plain, _ = watched(averaging="none", **quick)
    state = next(event.state for event in events if isinstance(event, Finished))
    assert (state.engine.W == plain.W).all()
    assert (model.W != plain.W).any()
    assert (model.W == state.engine.average).all()
    assert "chosen by you" in model.record.reasons["averaging"]


def test_the_seed_decides_the_masks_of_dropout() -> None:
    settings: dict[str, Any] = {"epochs": 2, "hidden": (8,), "dropout": 0.25, "precision": "float64", "seed": 5}
    seeds: list[int] = []

    def noting(*arguments: Any, seed: int = 0, **options: Any) -> Engine:
        seeds.append(seed)
        return make_engine(*arguments, seed=seed, **options)

    first = watched(**settings)[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "make_engine", noting)
        second = watched(**settings)[0]
        patch.setattr(job, "make_engine", lambda *a, seed, **options: make_engine(*a, seed=seed + 1, **options))
        other = watched(**settings)[0]
    assert seeds == [5]
    assert (first.W == second.W).all()
    assert (first.W != other.W).any()


def test_a_limit_on_the_norm_shortens_the_way() -> None:
    def way(**limits: float) -> float:
        model, events = watched(
            epochs=1, optimizer="gradient_descent", hidden=(8,), precision="float64", validation=0.0, **limits
        )
        assert isinstance(events[0], Prepared)
        return float(np.linalg.norm(model.W - model.network.initial(0)))

    assert way(clip_norm=1e-3) < 0.1 * way()
    assert way(clip_norm=1e9) == way()


def test_threads_reach_training_and_prediction(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int | None] = []

    def noting(*arguments: Any, threads: int | None = None, **options: Any) -> Engine:
        seen.append(threads)
        return make_engine(*arguments, threads=threads, **options)

    for home in (job, model_module):
        monkeypatch.setattr(home, "make_engine", noting)
    watched(epochs=1, hidden=(8,), threads=3)[0].predict(FRAME)
    watched(epochs=1, hidden=(8,))[0].predict(FRAME)
    assert seen == [3, 3, None, None]


def test_the_choice_of_precision_is_said_first_and_kept_in_the_record() -> None:
    model, events = watched(epochs=1, hidden=(8,), precision="auto")
    words = model.record.reasons["precision"]
    assert words.startswith(("float32 (", "bf16 ("))
    assert isinstance(events[0], Prepared)
    assert f"precision: {words}" in introduction(events[0])
    assert model.W.dtype == np.float32
    assert "precision" not in watched(epochs=1, hidden=(8,))[0].record.reasons


def test_a_trial_that_ends_in_float32_leaves_no_trace_in_W(monkeypatch: pytest.MonkeyPatch) -> None:
    class Rough:
        """Gradients that are no use."""

        def gradient(self, W: Vector, rows: Rows) -> tuple[float, Vector]:
            return 0.0, np.ones(len(W))

    def making(*arguments: Any, precision: str, **options: Any) -> Any:
        return Rough() if precision == "bf16" else make_engine(*arguments, precision=precision, **options)

    monkeypatch.setattr(job, "make_engine", making)
    model, _ = watched(epochs=2, hidden=(8,), precision="auto")
    assert "off by" in model.record.reasons["precision"]
    assert (model.W == watched(epochs=2, hidden=(8,))[0].W).all()


# -- more rows than memory ----------------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SCHUSS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def packed(cache: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows were packed, each time."""
    counts: list[int] = []

    def counted(blocks: Any, path: Path, rows: int, **others: Any) -> None:
        counts.append(rows)
        pack(blocks, path, rows, **others)

    monkeypatch.setattr(encoded, "pack", counted)
    return counts


SORTED = pd.DataFrame(RANDOM.normal(size=(6000, 3)), columns=["a", "b", "c"])
SORTED = SORTED.assign(
    word=np.where(SORTED["a"] > 0.5, "much", "little"), y=SORTED["a"] * SORTED["b"] + SORTED["c"] ** 2
)
SORTED = SORTED.sort_values("y")


def test_fault_34_more_rows_than_memory_train_as_well_as_if_they_fitted(packed: list[int], cache: Path) -> None:
    settings: dict[str, Any] = {"epochs": 12, "hidden": (32, 32), "batch_size": 64, "members": 1}
    losses = {}
    for size in ("1GB", "20kB"):
        found = [schuss.train(SORTED, "y", memory=size, seed=seed, **settings) for seed in range(3)]
        losses[size] = np.mean([model.record.scores["test"]["loss"] for model in found])
    assert packed == [4800, 600, 600] * 3
    assert losses["20kB"] < 1.3 * losses["1GB"] < 0.1 * SORTED["y"].var()
    assert [path.name for path in cache.iterdir()] == [".lock"]  # the rows are gone
    assert (
        "the training rows take 0.1 MB, more than --memory: they are read from a copy on disk" in found[0].record.notes
    )


def test_fault_34_rows_on_disk_are_trained_on_in_the_same_order_every_time(packed: list[int]) -> None:
    found = [schuss.train(SORTED, "word", memory=30_000, epochs=2, hidden=(8,), precision=precision)
             for precision in ("float32", "float32", "auto", "float64")]  # fmt: skip
    assert packed == [4800, 600, 600] * 4
    assert (found[0].W == found[1].W).all()
    for model in found[2:]:
        assert np.abs(model.W - found[0].W).max() < 0.01


def test_fault_34_an_average_of_W_is_what_rows_on_disk_validate(packed: list[int]) -> None:
    losses: dict[str, list[float]] = {}
    for averaging in ("none", "ema"):
        events: list[JobEvent] = []
        model = schuss.train(SORTED, "y", memory=30_000, epochs=3, hidden=(8,), averaging=averaging, members=1,
                             observers=[events.append])  # fmt: skip
        losses[averaging] = [event.scores["loss"] for event in events if isinstance(event, Epoch)]
        assert model.record.scores["validation"]["loss"] == pytest.approx(min(losses[averaging]), rel=1e-6)
    assert losses["none"] != losses["ema"]


@pytest.mark.parametrize("targets", [["y"], ["y", "c"], ["word"]])
def test_fault_34_held_out_rows_on_disk_are_scored_as_in_memory(packed: list[int], targets: list[str]) -> None:
    found = {}
    for size in ("1GB", "20kB"):
        events: list[JobEvent] = []
        model = schuss.train(SORTED, targets, memory=size, epochs=1, hidden=(8,), learning_rate=1e-30,
                             weight_decay=0.0, members=1, observers=[events.append])  # fmt: skip
        scores = [event.scores for event in events if isinstance(event, Epoch)]
        tests = [(event.scores, event.constant) for event in events if isinstance(event, Evaluated)]
        found[size] = (model.record.scores, scores, tests)
    assert packed == [4800, 600, 600]
    assert found["20kB"] == found["1GB"]


def test_fault_34_a_file_beyond_memory_is_trained_on_predicted_evaluated_and_inspected(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "sorted.csv"
    SORTED.to_csv(path, index=False)
    model = schuss.train(path, "y", epochs=2, hidden=(8,), memory="1GB")
    predicted, scores = model.predict(path), model.evaluate(path)
    inspect_table(str(path), ["y"], TableFormat(), as_json=True)
    shown = capsys.readouterr().out

    held: list[object] = []
    monkeypatch.setattr(memory, "half_of_free_memory", lambda: 1000.0)
    monkeypatch.setattr(Pieces, "slice", lambda *_: held.append("all of it"))  # nobody wants the whole table
    monkeypatch.setattr(formats, "PIECE_BYTES", 50_000)
    assert (model.predict(path) == predicted).all()
    assert model.evaluate(path) == scores
    inspect_table(str(path), ["y"], TableFormat(), as_json=True)
    assert capsys.readouterr().out == shown
    assert schuss.train(path, "y", epochs=1, hidden=(8,), memory="20kB").record.rows["training"] == 4800
    assert not held


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A file that takes more than 20 kB when it is encoded."""
    path = tmp_path / "sorted.csv"
    SORTED.to_csv(path, index=False)
    return path


def test_packed_rows_of_a_file_are_used_again_without_reading_it(
    packed: list[int], table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"memory": "20kB", "epochs": 2}
    first = schuss.train(table, "word", hidden=(8,), **settings)
    monkeypatch.setattr(preparing, "read_table", None)  # nobody reads
    again = schuss.train(str(table), "word", hidden=(8,), **settings)
    assert (again.W == first.W).all()
    assert again.record.scores == first.record.scores
    assert set(again.record.notes) == {*first.record.notes, "the copy is that of an earlier run (see `schuss cache`)"}
    assert again.encoding == first.encoding
    assert schuss.train(table, "word", hidden=(4,), **settings).network.hidden == (4,)
    assert packed == [4800, 600, 600]


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 1},
        {"memory": "21kB"},
        {"validation": 0.2},
        {"test": 0.2},
        {"validation": 0.2, "test": 0.1},
        {"hidden": ()},
        {"exclude": ["a"]},
        {"weight": "c"},
        {"task": "multiclass"},
        {"format": TableFormat(missing=("nothing",))},
        {"target": "y"},
        {"table": "touched"},
        {"table": "elsewhere"},
        {"test": "of its own"},
    ],
    ids=str,
)
def test_packed_rows_are_those_of_the_same_file_and_the_same_choices(
    packed: list[int], table: Path, other: dict[str, Any]
) -> None:
    given: dict[str, Any] = {"table": table, "target": "word", "memory": "20kB", "epochs": 1, "hidden": (4,)}
    if other.get("weight"):
        given["table"] = SORTED.assign(c=SORTED["c"].abs()).to_csv(table, index=False) or table
    schuss.train(**given)
    before = len(packed)
    if other.get("test") == "of its own":
        other = {"test": table}
    elif other.get("table") == "elsewhere":
        other = {"table": table.rename(table.with_name("moved.csv"))}
    elif other.get("table") == "touched":
        os.utime(table)
        other = {}
    schuss.train(**given | other)
    assert len(packed) > before


def test_fault_30_a_file_that_changes_while_it_is_packed_is_an_error_and_leaves_no_entry(
    cache: Path, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def touching(*arguments: Any, **others: Any) -> None:
        os.utime(table)
        pack(*arguments, **others)

    monkeypatch.setattr(encoded, "pack", touching)
    with pytest.raises(SourceError, match=r"sorted\.csv was changed while it was read"):
        schuss.train(table, "y", memory="20kB", epochs=1, hidden=(4,))
    assert [path.name for path in cache.iterdir()] == [".lock"]


def test_fault_08_a_damaged_entry_is_an_error_that_says_what_to_do(packed: list[int], cache: Path, table: Path) -> None:
    def train() -> schuss.Model:
        return schuss.train(table, "y", memory="20kB", epochs=1, hidden=(4,))

    train()
    (entry,) = (path for path in cache.iterdir() if path.is_dir())
    for name in ("manifest.json", "training.json", "training.rows", "validation.rows"):
        path = entry / name
        whole = bytearray(path.read_bytes())
        path.write_bytes(whole[:50] + bytes([whole[50] ^ 1]) + whole[51:])
        with pytest.raises(SourceError, match=f"{name} .*`schuss cache --clear`"):
            train()
        path.write_bytes(whole)
    train()


def test_rows_on_disk_keep_their_weights(packed: list[int]) -> None:
    weights = np.where(SORTED["y"] > 1, 0.0, np.where(SORTED["y"] > 0, 3.0, 1.0))
    inside = schuss.train(SORTED.assign(w=weights), "y", weight="w", hidden=(), epochs=60, memory="1GB", batch_size=200)
    outside = schuss.train(
        SORTED.assign(w=weights), "y", weight="w", hidden=(), epochs=60, memory="20kB", batch_size=200
    )
    assert packed
    assert outside.record.left_out == inside.record.left_out
    assert outside.predict(SORTED).mean() == pytest.approx(inside.predict(SORTED).mean(), rel=0.05)


def test_the_estimator_has_the_same_memory(packed: list[int]) -> None:
    trained = schuss.SchussRegressor(hidden=(8,), epochs=2, memory="5kB", random_state=0).fit(X, FRAME["y"])
    assert packed == [360, 40]
    assert trained.n_epochs_ == 2


@pytest.mark.parametrize(
    ("given", "size"), [("500MB", 5e8), ("2GB", 2e9), ("1.5GiB", 1.5 * 2**30), ("10 kB", 1e4), (4096, 4096), ("7", 7)]
)
def test_memory_is_given_as_people_say_it(given: Any, size: float) -> None:
    assert Settings(memory=given).memory == size


@pytest.mark.parametrize("given", ["much", "", "-1GB", 0, "1.2.3GB", "5XB", float("nan")])
def test_memory_that_is_no_size_is_refused(given: Any) -> None:
    with pytest.raises(SettingError, match="give a size such as 500MB"):
        Settings(memory=given)


def test_fault_33_a_batch_of_any_size_is_worked_on_and_a_network_too_large_is_refused_before_it_is_made() -> None:
    _, (prepared, *_) = watched(hidden=(4,), epochs=1, batch_size=10**12)
    assert isinstance(prepared, Prepared)
    assert prepared.recipe.plan.batch_size == len(prepared.training)
    with pytest.raises(SettingError, match=r"weights and biases: training them takes some .* GB are free"):
        schuss.train(FRAME, "y", hidden=(10**6, 10**6))


def test_none_is_the_default_of_every_setting() -> None:
    nothing: dict[str, Any] = dict.fromkeys(Settings.__dataclass_fields__)
    assert Settings(**nothing) == Settings()


@pytest.mark.parametrize("settings", [{"metric": "auc"}, {"metric": "rmse of nothing"}])
def test_a_metric_that_says_nothing_of_the_validation_rows_is_refused(settings: dict[str, Any]) -> None:
    table = pd.DataFrame({"x": np.arange(50.0), "y": np.arange(50) % 2 == 0})
    with pytest.raises(SettingError, match="metric is"):
        schuss.train(table, "y", validation=table[table.y], hidden=(4,), epochs=1, **settings)


def test_dropout_and_tasks_that_cannot_be_are_refused() -> None:
    table = pd.DataFrame({"x": np.arange(50.0), "y": np.arange(50.0) ** 2})
    with pytest.raises(SettingError, match="dropout layer"):
        schuss.train(table, "y", hidden="8, residual(8, dropout(0.1), dense(8))", optimizer="lbfgs")
    with pytest.raises(SettingError, match="task is 'x'"):
        schuss.train(table, "y", task="x")  # type: ignore[arg-type]
