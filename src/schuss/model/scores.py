"""Scores of encoded rows that come block by block: nothing is held that grows with the rows, but for what says so."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from schuss.arrays import Floats, Outputs, Rows
from schuss.losses import Loss
from schuss.metrics import Chosen, metrics_for
from schuss.metrics.regression import RootMeanSquaredError
from schuss.metrics.sums import LossScores
from schuss.own import OwnLoss
from schuss.table.encoding import Encoding
from schuss.table.table import BLOCK_ROWS


class Scores:
    """Average and total loss in the target's units, and metrics, for each of some epochs.

    Arguments:
        encoding, loss: of the model.
        metrics: their names or the metrics themselves; None for the usual ones of the task.
        as_trained: the average loss of several targets is in units of each target's deviation, as it is in training,
            so that no target counts for more than the others.

    Raises:
        SettingError: a metric is unknown or does not exist for the task.
    """

    def __init__(
        self, encoding: Encoding, loss: Loss, metrics: Chosen | None = None, *, as_trained: bool = False
    ) -> None:
        target = encoding.schema.target
        self._several = target.names if len(target.names) > 1 else ()
        self._target, self._loss, self._shift = target, loss, np.zeros(())
        own = isinstance(loss, OwnLoss)
        if isinstance(loss, OwnLoss):  # which may look at more than differences
            self._shift, loss = np.array(target.mean or 0.0), replace(loss, mean=(), deviation=())
        self._losses = LossScores(loss)
        self._trained = LossScores(loss) if as_trained and self._several and not own else None
        self._metrics = metrics_for(target.task, metrics)
        makers = {name: metric.sums() for name, metric in self._metrics.items()}
        made: dict[Any, Any] = {maker: maker() for maker in makers.values()}
        self._sums = {name: made[maker] for name, maker in makers.items()}
        needs = {makers[name]: metric.differences for name, metric in self._metrics.items()}
        self._of_differences = [made[maker] for maker, enough in needs.items() if enough]
        self._of_values = [made[maker] for maker, enough in needs.items() if not enough]

    def add(self, outputs: Outputs, rows: Rows) -> None:
        """Outputs [epochs, n, K] before the link, of rows with targets."""
        for start in range(0, len(rows), BLOCK_ROWS):  # as float64 they are held
            stop = start + BLOCK_ROWS
            self._add(outputs[:, start:stop].astype(np.float64), rows.slice(start, stop))

    def scores(self) -> list[dict[str, float]]:
        """The named scores of each epoch."""
        found = self._losses.scores()
        if self._trained:
            found["loss"] = self._trained.scores()["loss"]
        for name, metric in self._metrics.items():
            found[name] = metric.score(self._sums[name])
            if self._several and isinstance(metric, RootMeanSquaredError):
                by_target = np.moveaxis(metric.by_target(self._sums[name]), -1, 0)
                found |= {f"rmse of {own}": values for own, values in zip(self._several, by_target, strict=True)}
        epochs = zip(*(values.tolist() for values in found.values()), strict=True)
        return [dict(zip(found, each, strict=True)) for each in epochs]

    def _add(self, outputs: Outputs, rows: Rows) -> None:
        targets, weights = rows.targets, rows.weights
        if self._trained:
            self._trained.add(targets, outputs, weights)
        if self._target.classes:
            predicted = self._predicted(outputs)
            for sums in self._of_values:
                sums.add(targets[:, 0].astype(np.int64), predicted, weights)
        else:
            deviation, mean = np.asarray(self._target.deviation), np.asarray(self._target.mean)
            predicted = self._predicted(outputs) * deviation
            targets, outputs = targets * deviation, outputs * deviation  # differences need no mean
            for sums in self._of_differences:
                sums.add(targets, predicted, weights)
            for sums in self._of_values:
                sums.add(targets + mean, predicted + mean, weights)
        self._losses.add(targets + self._shift, outputs + self._shift, weights)

    def _predicted(self, outputs: Outputs) -> Floats:
        """What the link makes of outputs, [epochs, n, …]."""
        return self._loss.prediction(outputs.reshape(-1, outputs.shape[-1])).reshape(*outputs.shape[:2], -1)


def scores_of(
    encoding: Encoding,
    loss: Loss,
    blocks: Iterable[tuple[Outputs, Rows]],
    metrics: Chosen | None = None,
    *,
    as_trained: bool = False,
) -> list[dict[str, float]]:
    """The scores of all blocks, each with its outputs [epochs, n, K]; see Scores."""
    found = Scores(encoding, loss, metrics, as_trained=as_trained)
    for outputs, rows in blocks:
        found.add(outputs, rows)
    return found.scores()
