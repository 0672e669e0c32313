"""The main job as a whole: what its events say, and which W it keeps."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

import schuss
from schuss import Rows, job
from schuss.arrays import Vector
from schuss.engine import make_engine
from schuss.engine.protocol import Engine
from schuss.errors import SettingError
from schuss.job import Evaluated, JobEvent, Prepared
from schuss.model import model as model_module
from schuss.progress import introduction
from schuss.training.loop import Epoch, Finished

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(400, 3))
FRAME = pd.DataFrame(X, columns=["a", "b", "c"]).assign(y=1000 * np.sin(X[:, 0]) + 300 * RANDOM.normal(size=400))


def watched(**settings: Any) -> tuple[schuss.Model, list[JobEvent]]:
    events: list[JobEvent] = []
    return schuss.train(FRAME, "y", observers=[events.append], **settings), events


def test_events_come_in_order() -> None:
    _, events = watched(epochs=2, hidden=(8,))
    assert [type(event) for event in events if isinstance(event, Prepared | Finished | Evaluated)] == [
        Prepared,
        Finished,
        Evaluated,
    ]


def test_losses_of_the_training_are_in_the_target_s_own_unit() -> None:
    model, events = watched(epochs=1, hidden=(8,), learning_rate=1e-30, weight_decay=0.0, validation=0.0, test=0.0)
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
    targets = events[0].encoding.decode(events[0].test.targets)
    is_test = np.abs(FRAME["y"].to_numpy()[:, np.newaxis] - targets).min(axis=1) < 1e-3
    assert is_test.sum() == len(targets) == 40
    second = schuss.train(
        FRAME.assign(y=FRAME["y"] + 5000 * is_test, a=FRAME["a"] - 9 * is_test), "y", epochs=3, hidden=(8,)
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
        model, events = watched(epochs=1, optimizer="gradient_descent", hidden=(8,), precision="float64", **limits)
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
