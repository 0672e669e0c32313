"""The recipe: from what is known of a table to the network, the optimiser and the plan, each choice with its reason.

What a person sets is taken; what is None is decided here. Figures behind the defaults: docs/decisions.md.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
from typing import Any

from schuss.descent.averaging import averaging_named
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
from schuss.own import OwnLoss
from schuss.settings import Settings
from schuss.table.encoding import Encoding
from schuss.table.schema import Schema
from schuss.training.loop import Plan
from schuss.training.stopping import Goal

_LOSS_OF_TASK = {
    "regression": "squared_error",
    "binary": "log_loss",
    "multiclass": "cross_entropy",
    "multilabel": "log_loss",
}
_SHARE_GOING_ON = 0.1  # of the learning rate of a training
_LIMITS = ("numeric", "l1", "l2", "clip_value", "clip_norm", "metric", "min_improvement", "target_score", "steps",
           "seconds")  # what is told only where it is chosen  # fmt: skip
_LEAST_ROWS_TO_SPLIT = 100  # below, a tenth of the rows says too little to be worth giving up


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


def member_count(settings: Settings) -> int:
    """How many networks are trained and averaged."""
    return 1 if settings.members is None else settings.members


def decide(settings: Settings, encoding: Encoding, rows: int, mean_weight: float, validated: bool) -> Recipe:
    """Resolves every setting for a table.

    Arguments:
        settings: what a person chose.
        encoding: of the columns.
        rows: training rows, N.
        mean_weight: mean weight of the training rows.
        validated: whether there are validation rows.

    Raises:
        SettingError: a choice does not fit the table.
    """
    target, choose = encoding.schema.target, _Chooser()
    loss = _loss(settings, encoding.schema, choose)
    network = Network(
        inputs=encoding.features,
        hidden=choose("hidden", settings.hidden, (256, 256), "two wide layers suit most tables"),
        outputs=loss.outputs(encoding.targets, len(target.classes)),
        activation=choose("activation", settings.activation, "relu", "the fastest; none was better where measured"),
        categories=encoding.categories,
        dropout=settings.dropout,
        embedding=settings.embedding,
    )
    choose("members", settings.members, member_count(settings), "one network")
    for name in _LIMITS:
        if (value := getattr(settings, name)) != Settings.__dataclass_fields__[name].default:
            choose(name, value, None, "")
    trained = replace(loss, mean=target.mean) if isinstance(loss, OwnLoss) else loss
    cost = Cost(trained.standardised(target.deviation), settings.l2, mean_weight, settings.l1)
    metrics, metric = _metrics(settings, target.task)
    unit, shift = loss.unit(target.deviation[0]) if len(target.deviation) == 1 else (1.0, 0.0)
    if settings.optimizer is not None and isinstance(optimizer_named(settings.optimizer), LBFGS):
        rule, plan = _full_batch(settings, network.layers, rows, validated, metric, choose)
        plan = replace(plan, loss_unit=unit, loss_shift=shift)
        return Recipe(network, loss, cost, rule, plan, choose.reasons, choose.values, metrics)
    batch_size = min(choose("batch_size", settings.batch_size, _batch_size(rows), f"for {rows:,} training rows"), rows)
    steps = math.ceil(rows / batch_size)
    epochs = choose("epochs", settings.epochs, _epochs(target.task, steps), f"{steps:,} steps each")
    optimizer, rate = _rule(settings, target.task, rows, steps * epochs, choose)
    schedule = schedule_named(choose("schedule", settings.schedule, "cosine", "ends on small steps"))
    if isinstance(schedule, Plateau) and not validated:
        raise SettingError("The schedule plateau looks at validation rows: give some, or take another schedule.")
    averaging = None
    if settings.averaging is not None:
        averaging = averaging_named(choose("averaging", settings.averaging, None, ""))
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
        averaging=averaging,
        loss_unit=unit,
        loss_shift=shift,
    )
    return Recipe(network, loss, cost, optimizer, plan, choose.reasons, choose.values, metrics)


def going_on(recipe: Recipe, settings: Settings, network: Network) -> Recipe:
    """The recipe for a network that is trained already, which it keeps: with shorter steps, unless that is chosen."""
    kept = ("hidden", "activation", "loss")
    reasons = {**recipe.reasons} | {name: recipe.reasons[name].replace("chosen by you", "the model's") for name in kept}
    plan = recipe.plan
    has_rate = "learning_rate" in reasons and recipe.optimizer.learning_rate is None  # lbfgs has none
    if settings.learning_rate is None and has_rate:
        plan = replace(plan, learning_rate=_SHARE_GOING_ON * plan.learning_rate)
        reasons["learning_rate"] = f"{_words(plan.learning_rate)} (a tenth of that of a training: W is near its place)"
    return replace(recipe, network=network, plan=plan, reasons=reasons)


def _loss(settings: Settings, schema: Schema, choose: "_Chooser") -> Loss:
    """The loss, which must fit the task."""
    target = schema.target
    choice = choose("loss", settings.loss, _LOSS_OF_TASK[target.task], f"the task is {target.task}")
    loss = loss_named(choice)
    check_use(loss, target.task, len(target.names), schema.offset is not None)
    return loss


def _rule(settings: Settings, task: str, rows: int, steps: int, choose: "_Chooser") -> tuple[Optimizer, float]:
    """The optimiser with its weight decay and limits, and the learning rate."""
    choice = choose(
        "optimizer", settings.optimizer, "adam" if settings.hidden == () else "adamw", "takes gradients of any scale"
    )
    optimizer = optimizer_named(choice)
    faster = 1
    if isinstance(optimizer, Adam):
        faster = 30 if settings.hidden == () else 3 if task == "regression" else 1
    usual = faster * optimizer.usual_learning_rate
    rate = choose("learning_rate", _learning_rate(settings, optimizer), usual, f"suits {optimizer.name}")
    decay = optimizer.weight_decay
    if choice == "adamw":
        decay = _shrinkage(task, rows, steps) / rate
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
        patience = choose("patience", settings.patience, max(10, epochs // 3), "a third of the epochs, at least 10")
    return replace(metric, improvement=settings.min_improvement, patience=patience, target=settings.target_score)


def _shrinkage(task: str, rows: int, steps: int) -> float:
    """Learning rate · weight decay: the same over all steps however many there are, and more for fewer rows."""
    whole = 3.0 * max(1.0, math.sqrt(10_000 / rows)) if task == "regression" else 2.4
    return min(whole / steps, 0.01)


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
    return 256 if rows >= 8000 else 128 if rows >= 1000 else 32


def _epochs(task: str, steps_per_epoch: int) -> int:
    """Some thousand steps on a small table, and at least some passes over a large one."""
    steps, least = (6000, 10) if task == "regression" else (2500, 12)
    return min(max(least, math.ceil(steps / steps_per_epoch)), 200)


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
