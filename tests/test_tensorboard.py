"""TensorBoard finds the curves that the events tell."""

import struct
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tensorboardX.proto.event_pb2 import Event

import schuss
from schuss.tensorboard import TensorBoard
from schuss.training.events import Epoch

RANDOM = np.random.default_rng(0)


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What is in the event file: records of a length, its checksum, content and its checksum."""
    (path,) = folder.glob("events.*")
    content, found = path.read_bytes(), defaultdict(list)
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        event = Event.FromString(content[12 : 12 + length])
        for value in event.summary.value:
            found[value.tag].append((event.step, value.simple_value))
        content = content[16 + length :]
    return found


def test_every_epoch_stands_at_its_step_with_all_scores(tmp_path: Path) -> None:
    frame = pd.DataFrame(RANDOM.normal(size=(200, 3)), columns=list("aby"))
    epochs: list[Epoch] = []
    board = TensorBoard(tmp_path)
    schuss.train(
        frame, "y", hidden=(4,), epochs=5, members=1,
        observers=[board, lambda event: epochs.append(event) if isinstance(event, Epoch) else None],
    )  # fmt: skip
    found = curves(tmp_path)
    for name, expected in (
        ("epoch/loss", [epoch.loss for epoch in epochs]),
        ("validation/rmse", [epoch.scores["rmse"] for epoch in epochs]),
    ):
        steps, values = zip(*found[name], strict=True)
        assert list(steps) == [epoch.step for epoch in epochs]
        assert values == pytest.approx(expected)
    assert found["batch/learning_rate"]
