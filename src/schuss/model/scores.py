"""Scores of encoded rows that come block by block: nothing is held that grows with the rows, but for the area."""

from collections.abc import Iterable

import numpy as np

from schuss.arrays import Outputs, Rows
from schuss.losses import Loss, Quantile
from schuss.metrics import ClassScores, LabelScores, LossScores, QuantileScores, RegressionScores
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
        each = [LossScores(loss.standardised((scale,)), loss.unit(scale)) for scale in target.deviation]
        self._target, self._loss = target, loss
        self._losses = each or [LossScores(loss)]  # of several targets, one for each
        self._metrics: list[ClassScores | LabelScores | RegressionScores | QuantileScores] = []
        if target.task == "multilabel":
            self._metrics.append(LabelScores())
        elif isinstance(loss, Quantile):
            self._metrics.append(QuantileScores(loss.levels))
        if target.task != "multilabel" and (not isinstance(loss, Quantile) or len(loss.levels) == 1):
            self._metrics.append(ClassScores(len(target.classes)) if target.classes else RegressionScores(several))
        trained = as_trained and several and target.deviation
        self._trained = LossScores(loss.standardised(target.deviation)) if trained else None

    def add(self, outputs: Outputs, rows: Rows) -> None:
        """Outputs [epochs, n, K] before the link, of rows with targets."""
        for start in range(0, len(rows), BLOCK_ROWS):  # as float64 they are held
            stop = start + BLOCK_ROWS
            self._add(outputs[:, start:stop].astype(np.float64), rows.slice(start, stop))

    def scores(self) -> list[dict[str, float]]:
        """The named scores of each epoch."""
        every = [losses.scores() for losses in self._losses]
        found = {name: sum((each[name] for each in every[1:]), start=every[0][name]) for name in every[0]}
        for metrics in self._metrics:
            found |= metrics.scores()
        if self._trained:
            found["loss"] = self._trained.scores()["loss"]
        epochs = zip(*(values.tolist() for values in found.values()), strict=True)
        return [dict(zip(found, each, strict=True)) for each in epochs]

    def _add(self, outputs: Outputs, rows: Rows) -> None:
        targets, weights = rows.targets, rows.weights
        if self._trained:
            self._trained.add(targets, outputs, weights)
        predicted = self._loss.prediction(outputs.reshape(-1, outputs.shape[-1])).reshape(*outputs.shape[:2], -1)
        deviation = np.asarray(self._target.deviation or 1.0)
        for metrics in self._metrics:
            if isinstance(metrics, ClassScores):
                metrics.add(targets[:, 0], predicted, weights)
            else:
                metrics.add(targets * deviation, predicted * deviation, weights)  # differences need no mean
        for place, losses in enumerate(self._losses):
            own = slice(None) if len(self._losses) == 1 else slice(place, place + 1)
            losses.add(targets[:, own], outputs[:, :, own], weights)


def scores_of(
    encoding: Encoding, loss: Loss, blocks: Iterable[tuple[Outputs, Rows]], as_trained: bool = False
) -> list[dict[str, float]]:
    """The scores of all blocks, each with its outputs [epochs, n, K]; see Scores."""
    found = Scores(encoding, loss, as_trained)
    for outputs, rows in blocks:
        found.add(outputs, rows)
    return found.scores()
