"""Scores of encoded rows that come block by block: nothing is held that grows with the rows, but for what says so."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from schuss.arrays import Floats, Matrix, Outputs, Rows, Vector
from schuss.losses import Loss, Quantile
from schuss.metrics import Chosen, metrics_for
from schuss.metrics.labels import LabelScores
from schuss.metrics.levels import LevelScores
from schuss.metrics.regression import RootMeanSquaredError
from schuss.metrics.sums import LossScores
from schuss.own import OwnLoss
from schuss.table.encoding import Encoding
from schuss.table.table import BLOCK_ROWS


class Scores:
    """Average and total loss in the target's units, and metrics, for each of some epochs.

    Of several quantiles each has its pinball loss and its coverage, and other metrics are those of the middle one.

    Arguments:
        encoding, loss: of the model, the loss in the target's own units.
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
        self._target, self._loss = target, loss
        own = isinstance(loss, OwnLoss)  # which looks at all targets at once, and at more than differences
        each = [] if own else [LossScores(loss.standardised((one,)), loss.unit(one)) for one in target.deviation]
        self._losses = each or [LossScores(loss)]  # of several targets, one for each
        trained = as_trained and self._several and target.deviation and not own
        self._trained = LossScores(loss.standardised(target.deviation)) if trained else None
        self._levels = LevelScores(loss.levels) if isinstance(loss, Quantile) else None
        self._labels = LabelScores() if target.task == "multilabel" else None
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
        every = [losses.scores() for losses in self._losses]
        found = {name: sum((each[name] for each in every[1:]), start=every[0][name]) for name in every[0]}
        if self._trained:
            found["loss"] = self._trained.scores()["loss"]
        for part in (self._levels, self._labels):
            found |= part.scores() if part else {}
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
        deviation, mean = np.asarray(self._target.deviation or 1.0), np.asarray(self._target.mean or 0.0)
        predicted = self._predicted(outputs)
        if self._target.classes and not self._labels:
            for sums in self._of_values:
                sums.add(targets[:, 0].astype(np.int64), predicted, weights)
        else:
            self._add_numbers(targets * deviation, predicted * deviation, mean, weights)
        if isinstance(self._loss, OwnLoss):
            targets, outputs = targets * deviation + mean, outputs * deviation + mean
        for place, losses in enumerate(self._losses):
            own = slice(None) if len(self._losses) == 1 else slice(place, place + 1)
            losses.add(targets[:, own], outputs[:, :, own], weights)

    def _add_numbers(self, targets: Matrix, predicted: Floats, mean: Floats, weights: Vector | None) -> None:
        """Targets and predictions less their means: differences need none."""
        if self._labels:
            self._labels.add(targets, predicted, weights)
        if self._levels:
            self._levels.add(targets, predicted, weights)
            middle = predicted.shape[-1] // 2
            predicted = predicted[..., middle : middle + 1]
        for sums in self._of_differences:
            sums.add(targets, predicted, weights)
        for sums in self._of_values:
            sums.add(targets + mean, predicted + mean, weights)

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
