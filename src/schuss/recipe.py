"""The recipe: from what is known of a table to the network, the optimiser and the plan, each choice with its reason.

What a person sets is taken; what is None is decided here. Figures behind the defaults: docs/decisions.md.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
from typing import Any

from schuss.descent.averaging import Last, averaging_named
from schuss.descent.optimizers import LBFGS, Adam, Optimizer, optimizer_named
from schuss.descent.schedules import Constant, Plateau, schedule_named
from schuss.engine.protocol import Cost
from schuss.errors import SettingError
from schuss.groups import in_words
from schuss.losses import Loss, check_use, loss_named
from schuss.metrics import LOSSES, Measure, greater_is_better, is_of_task, metrics_for
from schuss.network import Network
from schuss.network.layers import DropoutLayer, Layer, every_layer
from schuss.network.specifications import layer_in_words
from schuss.numeric import Numeric, Piecewise, Standard, numeric_named
from schuss.own import OwnLoss
from schuss.settings import Settings
from schuss.table.encoding import Encoding
from schuss.table.schema import NumericColumn, Schema
from schuss.training.loop import Plan
from schuss.training.stopping import Goal

_LOSS_OF_TASK = {
    "regression": "squared_error",
    "binary": "log_loss",
    "multiclass": "cross_entropy",
    "multilabel": "log_loss",
}
_OF_THE_NETWORK = ("loss", "numeric", "embedding", "hidden", "activation", "dropout", "members")
_SHARE_GOING_ON = 0.1  # of the learning rate of a training
_LIMITS = ("l1", "l2", "clip_value", "clip_norm", "metric", "min_improvement", "target_score", "steps",
           "seconds")  # what is told only where it is chosen  # fmt: skip
_LEAST_ROWS_TO_SPLIT = 100  # below, a tenth of the rows says too little to be worth giving up
_MOST_COLUMNS = 512  # of numbers that are worth a function of each
_MOST_EMBEDDED = 24  # of them, whose functions go through a dense layer; of more each unit has its own, which is faster
_MOST_BINS = 8192  # of all columns together
_FEWEST_BINS = (16, 8)  # of a column, of regression and of classes
_ROWS_PER_BIN = 32
_EMBEDDING = 16  # numbers for a level; one-hot where there are no more levels than that
_MOST_EPOCHS = 200  # of a small table
_MOST_DECAY = 0.05  # learning rate · weight decay of a step
_SMALL = 15_000  # rows · classes, of a regression rows · 2, below which a table is small
_MORE_DROPOUT = 0.05  # of a small one
_LONGER_STEPS = (1.6, 2.5)  # of a small one, times the rate: of regression and of classes
_SIGNAL = 20_000  # rows · classes, below which there is more decay
_MOST_STEPS, _FEWEST_EPOCHS = 30_000, 4  # of a large one
_ROWS_OF_FEWER_MEMBERS = 1_000_000  # folds differ the less the more rows there are


@dataclass(frozen=True)
class _Way:
    """What an effort takes for a kind of task.

    members: networks. bins: of a column of numbers, at most. epochs: and as many more as make up the fewest steps; of
    classes, these grow with the root of their number.
    decay: over all steps a weight that no gradient moves would shrink to e to the power of minus that.
    """

    members: int
    hidden: tuple[int, ...]
    bins: int
    dropout: float
    rate: float
    epochs: int
    steps: int
    decay: float
    activation: str = "relu"
    embedding: int | None = None
    averaging: str = "none"

    def of_a_small_table(self, longer: float) -> "_Way":
        """Half as wide, with some more dropout and longer steps, the average of whose W is kept."""
        return replace(
            self,
            hidden=tuple(width // 2 for width in self.hidden),
            embedding=self.embedding and self.embedding // 2,
            dropout=self.dropout + _MORE_DROPOUT,
            rate=longer * self.rate,
            averaging="ema",
        )


# of regression and of classes
_WAYS = {
    "fast": (
        _Way(1, (256, 128), 64, 0.0, 2.5e-3, 24, 600, 1.2, embedding=8),
        _Way(1, (128, 128), 32, 0.05, 3e-3, 12, 250, 2.4, "gelu"),
    ),
    "standard": (
        _Way(4, (256, 256), 128, 0.05, 2.5e-3, 40, 1500, 1.2, embedding=16),
        _Way(4, (256, 256), 32, 0.1, 2.5e-3, 16, 500, 2.4, "gelu", embedding=16),
    ),
    "thorough": (
        _Way(8, (256, 256), 128, 0.05, 2.5e-3, 60, 2500, 1.2, embedding=16),
        _Way(8, (256, 256), 32, 0.1, 2.5e-3, 20, 500, 2.4, "gelu", embedding=16),
    ),
}
# of one optimum: nothing to average, nothing to stop early
_LINEAR = (
    _Way(1, (), 0, 0.0, 0.03, 10, 6000, 3.0, "identity"),
    _Way(1, (), 0, 0.0, 0.03, 12, 1800, 2.4, "identity"),
)


@dataclass(frozen=True)
class Recipe:
    """All that a training needs besides rows, and why.

    loss: in the target's own units; that of the cost is not. chosen: the settings that were left to the recipe, as it
    took them. metrics: what held-out rows are scored by.
    """

    network: Network
    loss: Loss
    cost: Cost
    optimizer: Optimizer
    plan: Plan
    reasons: Mapping[str, str]
    chosen: Mapping[str, Any]
    metrics: Mapping[str, Measure]

    @property
    def members(self) -> int:
        """How many such networks are trained and averaged."""
        return int(self.chosen["members"])


def test_fraction(rows: int) -> float:
    """The fraction of the rows to test on, where none is given."""
    return 0.1 if rows >= _LEAST_ROWS_TO_SPLIT else 0.0


def validation_fraction(rows: int, settings: Settings) -> float:
    """The same for validation: a linear network has one optimum, and nothing to gain from stopping on the way."""
    return 0.0 if settings.hidden == () else test_fraction(rows)


def member_count(settings: Settings, rows: int) -> int:
    """How many networks are trained and averaged. rows: training and validation rows."""
    if settings.members is not None:
        return settings.members
    members = 1 if _is_full_batch(settings) else _ways(settings)[0].members
    return max(1, members * _ROWS_OF_FEWER_MEMBERS // max(rows, _ROWS_OF_FEWER_MEMBERS))


def numeric_for(settings: Settings, schema: Schema, rows: int) -> Numeric:
    """What numbers become: a function of each column that is learned with the network, where there is one."""
    if settings.numeric is not None:
        return numeric_named(settings.numeric)
    columns = sum(isinstance(column, NumericColumn) and bool(column.quantiles) for column in schema.columns)
    if settings.hidden == () or not 0 < columns <= _MOST_COLUMNS:
        return Standard()
    way = _way(settings, schema, rows)
    fewest = _FEWEST_BINS[_kind(schema)]
    bins = min(way.bins, _MOST_BINS // columns, max(fewest, rows // _ROWS_PER_BIN))
    return Piecewise(bins, way.embedding if columns <= _MOST_EMBEDDED else None)


def decide(
    settings: Settings, encoding: Encoding, rows: int, mean_weight: float, validated: bool, members: int | None = None
) -> Recipe:
    """Resolves every setting for a table.

    Arguments:
        settings: what a person chose.
        encoding: of the columns.
        rows: training rows, N.
        mean_weight: mean weight of the training rows.
        validated: whether there are validation rows.
        members: networks for which rows have been dealt; None decides that too.

    Raises:
        SettingError: a choice does not fit the table.
    """
    target, choose = encoding.schema.target, _Chooser()
    classes = len(target.classes)
    choose("effort", None if settings.effort == "standard" else settings.effort, "standard", "or fast, or thorough")
    way = _way(settings, encoding.schema, rows)
    loss = _loss(settings, encoding.schema, choose)
    network = _network(settings, encoding, rows, loss, way, choose)
    members = members or member_count(settings, rows)
    reason = f"their average is better than each, on {rows:,} rows" if members > 1 else "one network"
    choose("members", settings.members, members, reason)
    for name in _LIMITS:
        if (value := getattr(settings, name)) != Settings.__dataclass_fields__[name].default:
            choose(name, value, None, "")
    trained = replace(loss, mean=target.mean) if isinstance(loss, OwnLoss) else loss
    cost = Cost(trained.standardised(target.deviation), settings.l2, mean_weight, settings.l1)
    metrics, metric = _metrics(settings, target.task)
    unit, shift = loss.unit(target.deviation[0]) if len(target.deviation) == 1 else (1.0, 0.0)
    if _is_full_batch(settings):
        rule, plan = _full_batch(settings, network.layers, rows, validated, metric, choose)
        plan = replace(plan, loss_unit=unit, loss_shift=shift)
        return Recipe(network, loss, cost, rule, plan, choose.reasons, choose.values, metrics)
    batch_size = min(choose("batch_size", settings.batch_size, _batch_size(rows), f"for {rows:,} training rows"), rows)
    steps = math.ceil(rows / batch_size)
    usual = _epochs(way, steps, classes)
    epochs = choose("epochs", settings.epochs, usual, f"{steps:,} steps each")
    optimizer, rate = _rule(settings, way, rows * max(2, classes), steps * max(epochs, usual), choose)
    schedule = schedule_named(choose("schedule", settings.schedule, "cosine", "ends on small steps"))
    if isinstance(schedule, Plateau) and not validated:
        raise SettingError("The schedule plateau looks at validation rows: give some, or take another schedule.")
    averaging = averaging_named(choose("averaging", settings.averaging, way.averaging, "of W, which is what is kept"))
    plan = Plan(
        learning_rate=rate,
        schedule=schedule,
        batch_size=batch_size,
        epochs=epochs,
        goal=_goal(settings, epochs, validated, metric, choose),
        seconds=settings.seconds,
        steps=settings.steps,
        retries=settings.retries,
        seed=settings.seed,
        averaging=None if isinstance(averaging, Last) else averaging,
        loss_unit=unit,
        loss_shift=shift,
    )
    return Recipe(network, loss, cost, optimizer, plan, choose.reasons, choose.values, metrics)


def with_network(recipe: Recipe, network: Network, reasons: Mapping[str, str]) -> Recipe:
    """The recipe for a network that is trained already, and stays as it is. reasons: of its own training."""
    own = {name: f"{reasons[name].rpartition(' (')[0]} (the model's)" for name in _OF_THE_NETWORK if name in reasons}
    others = {name: words for name, words in recipe.reasons.items() if name not in _OF_THE_NETWORK}
    return replace(recipe, network=network, reasons={**own, **others})


def going_on(recipe: Recipe, settings: Settings) -> Recipe:
    """The recipe for a W that is near its place: with shorter steps, unless their length is chosen."""
    plan, reasons = recipe.plan, dict(recipe.reasons)
    has_rate = "learning_rate" in reasons and recipe.optimizer.learning_rate is None  # lbfgs has none
    if settings.learning_rate is None and has_rate:
        plan = replace(plan, learning_rate=_SHARE_GOING_ON * plan.learning_rate)
        reasons["learning_rate"] = f"{_words(plan.learning_rate)} (a tenth of that of a training: W is near its place)"
    return replace(recipe, plan=plan, reasons=reasons)


def _loss(settings: Settings, schema: Schema, choose: "_Chooser") -> Loss:
    """The loss, which must fit the task."""
    target = schema.target
    choice = choose("loss", settings.loss, _LOSS_OF_TASK[target.task], f"the task is {target.task}")
    loss = loss_named(choice)
    check_use(loss, target.task, len(target.names), schema.offset is not None)
    return loss


def _network(settings: Settings, encoding: Encoding, rows: int, loss: Loss, way: _Way, choose: "_Chooser") -> Network:
    """The network, with what numbers and levels become before it."""
    numeric = numeric_for(settings, encoding.schema, rows)
    knots: tuple[tuple[float, ...], ...] = ()
    if isinstance(numeric, Piecewise):
        knots = encoding.knots(numeric.bins)
    suits = "learned with the network" if any(knots) else "numbers as they are"
    choose("numeric", settings.numeric, in_words(numeric), suits)
    width = None
    if encoding.categories:
        levels = f"one-hot where there are no more levels; there are {', '.join(map(str, encoding.categories[:8]))}"
        width = choose("embedding", settings.embedding, _EMBEDDING, levels)
    classes = len(encoding.schema.target.classes)
    hidden = choose("hidden", settings.hidden, way.hidden, "two layers suit most tables")
    plain = all(isinstance(layer, int) for layer in hidden) and not _is_full_batch(settings)
    return Network(
        inputs=encoding.features,
        hidden=hidden,
        outputs=loss.outputs(encoding.targets, classes),
        activation=choose("activation", settings.activation, way.activation, "no other was better on such tables"),
        categories=encoding.categories,
        dropout=choose("dropout", settings.dropout, way.dropout if plain else 0.0, "of the units of hidden layers"),
        embedding=None if width is None else [width if levels > width else 0 for levels in encoding.categories],
        knots=knots if any(knots) else (),
        numeric_embedding=numeric.embedding if isinstance(numeric, Piecewise) and any(knots) else None,
    )


def _ways(settings: Settings) -> tuple[_Way, _Way]:
    """Of regression and of classes."""
    return _LINEAR if settings.hidden == () else _WAYS[settings.effort]


def _kind(schema: Schema) -> int:
    """0 for regression, 1 for classes."""
    return int(schema.target.task != "regression")


def _way(settings: Settings, schema: Schema, rows: int) -> _Way:
    """What suits the task and the number of rows; a linear network has one way."""
    kind = _kind(schema)
    way = _ways(settings)[kind]
    is_small = bool(way.hidden) and rows * max(2, len(schema.target.classes)) < _SMALL
    return way.of_a_small_table(_LONGER_STEPS[kind]) if is_small else way


def _is_full_batch(settings: Settings) -> bool:
    return settings.optimizer is not None and isinstance(optimizer_named(settings.optimizer), LBFGS)


def _rule(settings: Settings, way: _Way, signal: int, steps: int, choose: "_Chooser") -> tuple[Optimizer, float]:
    """The optimiser with its weight decay and limits, and the learning rate.

    signal: what there is to learn from: rows · classes, of a regression rows · 2.
    """
    choice = choose(
        "optimizer", settings.optimizer, "adam" if settings.hidden == () else "adamw", "takes gradients of any scale"
    )
    optimizer = optimizer_named(choice)
    usual = optimizer.usual_learning_rate
    if isinstance(optimizer, Adam):
        usual = way.rate * usual / Adam().usual_learning_rate
    rate = choose("learning_rate", _learning_rate(settings, optimizer), usual, f"suits {optimizer.name}")
    decay = optimizer.weight_decay
    if choice == "adamw":
        decay = min(way.decay * max(1.0, math.sqrt(_SIGNAL / signal)) / steps, _MOST_DECAY) / rate
    decay = choose("weight_decay", settings.weight_decay, decay, f"over {steps:,} steps")
    return optimizer_named(optimizer, decay, settings.clip_value, settings.clip_norm), rate


def _learning_rate(settings: Settings, optimizer: Optimizer) -> float | None:
    """Of the settings or of the optimiser; where both say something, it must be the same."""
    given = {rate for rate in (settings.learning_rate, optimizer.learning_rate) if rate is not None}
    if len(given) > 1:
        raise SettingError(
            f"learning_rate is {settings.learning_rate}, and that of {optimizer.title} is {optimizer.learning_rate}: "
            "give one of them."
        )
    return given.pop() if given else None


def _full_batch(
    settings: Settings, layers: Sequence[Layer], rows: int, validated: bool, metric: Goal, choose: "_Chooser"
) -> tuple[LBFGS, Plan]:
    """L-BFGS and its plan, whose epochs are iterations; what it has no use for is refused."""
    meaningless = (
        "learning_rate",
        "batch_size",
        "weight_decay",
        "dropout",
        "clip_value",
        "clip_norm",
        "steps",
        "l1",
        "averaging",
    )
    for name in meaningless:
        if getattr(settings, name):
            raise SettingError(f"{name} has no meaning for lbfgs, whose every step looks at all rows: leave it out.")
    if any(isinstance(layer, DropoutLayer) for layer in every_layer(layers)):
        raise SettingError(
            "A dropout layer has no meaning for lbfgs, whose every step looks at all rows: leave it out."
        )
    if settings.schedule is not None and not isinstance(schedule_named(settings.schedule), Constant):
        raise SettingError(
            "schedule has no meaning for lbfgs, whose steps are as long as a search finds: leave it out."
        )
    if settings.precision in ("bf16", "auto"):
        raise SettingError(f"lbfgs needs sharper gradients than those in {settings.precision}: leave precision out.")
    rule = optimizer_named(choose("optimizer", settings.optimizer, "lbfgs", ""))
    assert isinstance(rule, LBFGS)
    epochs = choose("epochs", settings.epochs, 1000 if settings.hidden == () else 300, "iterations at most")
    goal = _goal(settings, epochs, validated, metric, choose)
    return rule, Plan(1.0, Constant(), rows, epochs, goal, settings.seconds, settings.seed)


def _metrics(settings: Settings, task: str) -> tuple[Mapping[str, Measure], Goal]:
    """What held-out rows are scored by, and which of the scores decides."""
    metrics, decides = metrics_for(task, settings.metrics), settings.metric
    if decides not in (*LOSSES, *metrics) and not is_of_task(decides, task):
        (decides,) = added = metrics_for(task, [decides])
        metrics = {**metrics, **added}
    return metrics, Goal(decides, greater_is_better(decides, metrics.values()))


def _goal(settings: Settings, epochs: int, validated: bool, metric: Goal, choose: "_Chooser") -> Goal:
    """What decides when to stop; there is patience where there are validation rows."""
    patience = None
    if validated:
        patience = choose("patience", settings.patience, max(10, epochs // 2), "half of the epochs, at least 10")
    return replace(metric, improvement=settings.min_improvement, patience=patience, target=settings.target_score)


class _Chooser:
    """Takes the person's choice, or else the default, and notes the reason."""

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}
        self.values: dict[str, Any] = {}

    def __call__(self, name: str, chosen: Any, default: Any, reason: str) -> Any:
        self.values[name] = value = default if chosen is None else chosen
        self.reasons[name] = f"{_words(value)} ({reason if chosen is None else 'chosen by you'})"
        return value


def _batch_size(rows: int) -> int:
    return 256 if rows >= 8000 else 128 if rows >= 2000 else 32


def _epochs(way: _Way, steps_per_epoch: int, classes: int) -> int:
    """Some thousand steps on a small table, and at least some passes over a large one."""
    steps = way.steps * math.sqrt(max(1, classes))
    epochs = min(max(way.epochs, math.ceil(steps / steps_per_epoch)), _MOST_EPOCHS)
    return min(epochs, max(_FEWEST_EPOCHS, _MOST_STEPS // steps_per_epoch))


def _words(value: Any) -> str:
    if isinstance(value, tuple):
        return " - ".join(map(layer_in_words, value)) or "none"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, str | int):
        return str(value)
    if title := getattr(value, "title", None):
        return f"{value.name} {title}" if value.name == "own" else in_words(value)
    return in_words(value) if is_dataclass(value) and hasattr(value, "name") else type(value).__name__
