"""Metrics: predictions and actual values -> one number by which models are compared. All weighted, all in float64."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from schuss.arrays import Floats, Vector
from schuss.errors import SettingError
from schuss.groups import from_words, in_words
from schuss.metrics import classes, regression
from schuss.metrics.sums import Everything, Sums

_USUAL: dict[str, tuple[str, ...]] = {
    "regression": ("rmse", "r2", "mae"),
    "binary": ("accuracy", "auc"),
    "multiclass": ("accuracy",),
    "multilabel": (),  # accuracy of labels and of rows, which model/scores.py adds
}
LOSSES = ("loss", "total_loss")  # scores that are always there
_OF_ONE, _OF_LABELS = ("rmse of ", "pinball of "), ("accuracy", "accuracy of rows")  # and those of model/scores.py


@runtime_checkable
class Measure(Protocol):
    """A metric: what it sums up of rows, and its number from that.

    words: its name for a person. tasks: for which it exists. differences: whether values less any constant will do.
    """

    @property
    def name(self) -> str:
        """By which it is known."""

    @property
    def words(self) -> str:
        """By which a person knows it."""

    @property
    def tasks(self) -> tuple[str, ...]:
        """For which it exists."""

    @property
    def greater_is_better(self) -> bool:
        """Its direction."""

    @property
    def differences(self) -> bool:
        """Whether it asks for nothing but actual − predicted and spreads: then a mean may be left out of both."""

    def sums(self) -> Callable[[], Sums]:
        """What makes the sums; metrics of the same one share them."""

    def score(self, sums: Any) -> Floats:
        """The number, [...] for each axis in front of the rows of predictions."""


@dataclass(frozen=True)
class Metric:
    """A metric of your own: a function of all rows at once, which are held for it (8 bytes for each number).

    Arguments:
        function: (actual, predicted, weight) -> number, of float64. In a regression actual and predicted are [N] in the
            target's units, [N, T] of several targets; of classes actual is [N] whole numbers, places in the model's
            `classes`, and predicted their probabilities [N, classes]. weight is [N], 1 where there are no weights.
        name: by which the score is known.
        greater_is_better: its direction, for choosing among models.

    Raises:
        SettingError: the name is that of another score.

    >>> bias = Metric(lambda actual, predicted, weight: np.average(predicted - actual, weights=weight), "bias")
    """

    function: Callable[[NDArray[Any], Floats, Vector], float]
    name: str
    greater_is_better: bool = False
    tasks: ClassVar[tuple[str, ...]] = tuple(_USUAL)
    differences: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not self.name or self.name in LOSSES or self.name in METRICS:
            raise SettingError(f"A metric of your own is called {self.name!r}: give it a name that no other score has.")

    @property
    def words(self) -> str:
        """The name."""
        return self.name

    def sums(self) -> Callable[[], Sums]:
        """All rows."""
        return Everything

    def score(self, sums: Everything) -> Floats:
        """The function of all rows, for each axis in front of them."""
        actual, predicted, weight = sums.rows()
        *front, count, width = predicted.shape
        each = predicted.reshape(-1, count, width)
        if actual.ndim == 2 and actual.shape[1] == 1:  # one target
            actual, each = actual[:, 0], each[..., 0]
        try:
            found = np.array([float(self.function(actual, own, weight)) for own in each])
        except TypeError as error:
            raise SettingError(f"The metric {self.name!r} failed ({error}): it must return one number.") from error
        return found.reshape(front)


METRICS: dict[str, type[Any]] = {
    each.name: each
    for each in (
        regression.RootMeanSquaredError,
        regression.MeanSquaredError,
        regression.MeanAbsoluteError,
        regression.Determination,
        regression.ExplainedVariance,
        regression.MedianAbsoluteError,
        regression.MaxError,
        regression.MeanAbsolutePercentageError,
        regression.PoissonDeviance,
        regression.GammaDeviance,
        regression.TweedieDeviance,
        classes.Accuracy,
        classes.BalancedAccuracy,
        classes.LogLossScore,
        classes.Brier,
        classes.F1,
        classes.Precision,
        classes.Recall,
        classes.AreaUnderCurve,
        classes.AveragePrecision,
        classes.Correlation,
        classes.CalibrationError,
    )
}
Chosen: TypeAlias = Iterable[str | Measure]


def metric_named(choice: str | Measure) -> Measure:
    """The metric in these words (see groups.py), or the given one. Raises SettingError as from_words."""
    return from_words(choice, METRICS, "metric") if isinstance(choice, str) else choice


def metrics_for(task: str, chosen: Chosen | None = None) -> dict[str, Measure]:
    """The metrics by the names of their scores: those that were chosen, or the usual ones of the task.

    Raises:
        SettingError: one is unknown, does not exist for the task, or has the name of another.
    """
    found: dict[str, Measure] = {}
    for choice in _USUAL[task] if chosen is None else chosen:
        metric = metric_named(choice)
        name = metric.name if isinstance(metric, Metric) else in_words(metric)
        if task not in metric.tasks:
            fitting = ", ".join(name for name, kind in METRICS.items() if task in kind.tasks)
            raise SettingError(f"The metric {name} does not exist for the task {task}: choose from {fitting}.")
        if found.get(name, metric) != metric:
            raise SettingError(f"Two metrics are called {name!r}: give each a name of its own.")
        found[name] = metric
    return found


def greater_is_better(name: str, own: Iterable[Measure] = ()) -> bool:
    """The direction of a score by its name, "loss" and "rmse of NAME" too. own: metrics that a person wrote.

    Raises:
        SettingError: there is no such score.

    >>> greater_is_better("auc"), greater_is_better("rmse of price")
    (True, False)
    """
    for metric in own:
        if metric.name == name:
            return metric.greater_is_better
    if name in LOSSES or name.startswith(_OF_ONE):
        return False
    return name in _OF_LABELS or metric_named(name).greater_is_better


def is_of_task(name: str, task: str) -> bool:
    """Whether a score comes with the task or the loss and is no metric: of one target, one quantile, or all labels."""
    return name.startswith(_OF_ONE) or (task == "multilabel" and name in _OF_LABELS)
