"""The main job as a whole: what its events say, and which W it keeps."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

import schuss
from schuss.job import Evaluated, JobEvent, Prepared
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
