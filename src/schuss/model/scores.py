"""Scores of encoded rows that come block by block: nothing is held that grows with the rows, but for the area."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from schuss.arrays import Outputs, Rows
from schuss.losses import Loss
from schuss.metrics import ClassScores, LossScores, RegressionScores
from schuss.own import OwnLoss
from schuss.table.encoding import Encoding
from schuss.table.table import BLOCK_ROWS


class Scores:
    """Average and total loss in the target's units, and the metrics of the task, for each of some epochs.

    Arguments:
        encoding, loss: of the model.
        as_trained: the average loss of several targets is in units of each target's deviation, as it is in training,
            so that no target counts for more than the others.
    """

    def __init__(self, encoding: Encoding, loss: Loss, as_trained: bool = False) -> None:
        target = encoding.schema.target
        several = target.names if len(target.names) > 1 else ()
        own = isinstance(loss, OwnLoss)
        self._target, self._loss, self._shift = target, loss, np.zeros(())
        if isinstance(loss, OwnLoss):  # which may look at more than differences
            self._shift, loss = np.array(target.mean or 0.0), replace(loss, mean=(), deviation=())
        self._losses = LossScores(loss)
        self._metrics = ClassScores(len(target.classes)) if target.classes else RegressionScores(several)
        self._trained = LossScores(loss) if as_trained and several and not own else None

    def add(self, outputs: Outputs, rows: Rows) -> None:
        """Outputs [epochs, n, K] before the link, of rows with targets."""
        for start in range(0, len(rows), BLOCK_ROWS):  # as float64 they are held
            stop = start + BLOCK_ROWS
            self._add(outputs[:, start:stop].astype(np.float64), rows.slice(start, stop))

    def scores(self) -> list[dict[str, float]]:
        """The named scores of each epoch."""
        found = self._losses.scores() | self._metrics.scores()
        if self._trained:
            found["loss"] = self._trained.scores()["loss"]
        epochs = zip(*(values.tolist() for values in found.values()), strict=True)
        return [dict(zip(found, each, strict=True)) for each in epochs]

    def _add(self, outputs: Outputs, rows: Rows) -> None:
        targets, weights = rows.targets, rows.weights
        if self._trained:
            self._trained.add(targets, outputs, weights)
        if self._target.classes:
            predicted = self._loss.prediction(outputs.reshape(-1, outputs.shape[-1])).reshape(*outputs.shape[:2], -1)
            self._metrics.add(targets[:, 0], predicted, weights)
        else:
            deviation = np.asarray(self._target.deviation)
            targets, outputs = targets * deviation, outputs * deviation  # differences need no mean
            self._metrics.add(targets, outputs, weights)
        self._losses.add(targets + self._shift, outputs + self._shift, weights)


def scores_of(
    encoding: Encoding, loss: Loss, blocks: Iterable[tuple[Outputs, Rows]], as_trained: bool = False
) -> list[dict[str, float]]:
    """The scores of all blocks, each with its outputs [epochs, n, K]; see Scores."""
    found = Scores(encoding, loss, as_trained)
    for outputs, rows in blocks:
        found.add(outputs, rows)
    return found.scores()
