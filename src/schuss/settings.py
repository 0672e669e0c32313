"""Every setting once, typed, with its default and its range. Estimators, `schuss.train` and the command line read here.

None means that the recipe decides, and says why, or that there is no limit.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from schuss.descent.averaging import AVERAGINGS, Averaging
from schuss.descent.optimizers import RULES, Optimizer, Rule
from schuss.descent.schedules import SCHEDULES, Schedule
from schuss.errors import SettingError
from schuss.groups import from_words
from schuss.losses import LOSSES, Loss
from schuss.metrics import METRICS, Measure, metric_named
from schuss.network.activations import ACTIVATIONS
from schuss.network.specifications import Hidden, hidden_layers
from schuss.numeric import NUMERICS, Numeric

PRECISIONS = ("float32", "float64", "bf16", "auto")


def setting(default: Any, help: str, **limits: Any) -> Any:
    """A field with what a person reads about it, and its limits: least, below, above, names, groups."""
    return field(default=default, metadata={"help": help, **limits})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a person may choose about a training.

    Raises:
        SettingError: a value is out of its range or of the wrong type.

    >>> Settings(hidden=(64, 64), epochs=20).epochs
    20
    """

    effort: str = setting(
        "standard",
        "How much time to spend on what is left to the recipe: fast, one small network; standard; thorough, more "
        "networks and epochs.",
        names=("fast", "standard", "thorough"),
    )
    hidden: Hidden | None = setting(
        None,
        "Hidden layers: widths, such as 256,256, or layers: '256, layer_norm(relu), residual(256, dropout(0.1), "
        "dense(256, identity))'; 'none' is linear or logistic regression.",
        layers=True,
    )
    activation: str | None = setting(
        None, "Function of the hidden layers that have none of their own.", names=tuple(ACTIVATIONS)
    )
    numeric: str | Numeric | None = setting(
        None, "What numbers become before the network sees them.", groups=NUMERICS, instance=Numeric
    )
    embedding: int | None = setting(
        None,
        "Numbers that stand for a level of a categorical column, where it has more levels than that; otherwise, and "
        "with 0, levels are one-hot.",
        whole=True,
        least=0,
    )
    loss: str | Loss | None = setting(None, "What is made small.", groups=LOSSES, instance=Loss)
    optimizer: str | Optimizer | Rule | None = setting(None, "Rule for the step.", groups=RULES, instance=Rule)
    learning_rate: float | None = setting(None, "Length of the step, α.", above=0.0)
    schedule: str | Schedule | None = setting(
        None, "How the learning rate changes over the training.", groups=SCHEDULES, instance=Schedule
    )
    averaging: str | Averaging | None = setting(
        None,
        "Average of W along the way, which is validated and kept in its place.",
        groups=AVERAGINGS,
        instance=Averaging,
    )
    l1: float = setting(0.0, "Penalty λ Σ |weight| in the cost: λ.", least=0.0)
    l2: float = setting(0.0, "Penalty ½ λ ‖weights‖² in the cost: λ.", least=0.0)
    weight_decay: float | None = setting(None, "Decoupled decay of the weights, per unit of learning rate.", least=0.0)
    dropout: float | None = setting(
        None,
        "Probability with which a step leaves out each unit of hidden layers given as widths; never in predictions.",
        least=0.0,
        below=1.0,
    )
    clip_value: float | None = setting(
        None, "Limit ± of each component of a step's gradient; none if not given.", above=0.0
    )
    clip_norm: float | None = setting(
        None, "Norm to which a longer gradient of a step is scaled down; none if not given.", above=0.0
    )
    members: int | None = setting(
        None,
        "Networks that are trained, each validated on other rows, and whose predictions are averaged.",
        whole=True,
        least=1,
        below=101,
    )
    batch_size: int | None = setting(None, "Rows a step looks at.", whole=True, least=1)
    epochs: int | None = setting(None, "Passes over the training rows, at most.", whole=True, least=1)
    seconds: float | None = setting(None, "Time to train, at most.", above=0.0)
    steps: int | None = setting(None, "Steps, at most.", whole=True, least=1)
    patience: int | None = setting(
        None, "Epochs without a better validation score after which training stops.", whole=True, least=1
    )
    metrics: Sequence[str | Measure] | None = setting(
        None,
        "What held-out rows are scored by, beside the loss, such as rmse,mae; the usual ones of the task if not given: "
        f"{', '.join(METRICS)}.",
        metrics=True,
    )
    metric: str = setting("loss", "The validation score that decides which W is best and when to stop.", text=True)
    min_improvement: float = setting(0.0, "By how much that score must become better for patience to go on.", least=0.0)
    target_score: float | None = setting(None, "The score at which training stops.")
    retries: int = setting(
        3, "Times that training goes on with a tenth of the learning rate after it diverged.", whole=True, least=0
    )
    checkpoint_seconds: float = setting(30.0, "Time between two checkpoints of a run folder.", least=0.0)
    checkpoints: int = setting(2, "How many checkpoints a run folder keeps.", whole=True, least=1)
    precision: str = setting(
        "float32",
        "float32: native engine; bf16: its products in bf16, sums and W in float32; auto: bf16 where a trial on the "
        "first steps finds its gradients close enough, else float32; float64: NumPy reference engine, slow.",
        names=PRECISIONS,
    )
    seed: int = setting(
        0, "Of the starting W, the split, the order of rows and dropout.", whole=True, least=0, below=2**63
    )
    threads: int | None = setting(
        None,
        "Threads at most, all that the process may use if not given; how many are worth it is measured, and W does not "
        "depend on it.",
        whole=True,
        least=1,
    )

    memory: float | str | None = setting(
        None,
        "Memory for the encoded rows, such as 500MB or 2GB, half of what is free if not given; where they take more, "
        "training reads them from a packed copy on disk.",
        bytes=True,
    )

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if value is None:
                object.__setattr__(self, item.name, item.default)
            elif value is not item.default:
                object.__setattr__(self, item.name, checked(item.name, value, item.metadata))


def checked(name: str, value: Any, limits: Any) -> Any:
    """The value in its proper type, or SettingError with the name, the value and what would do."""
    if limits.get("layers"):
        return hidden_layers(value)
    if limits.get("metrics"):
        return _metrics(name, value)
    if "groups" in limits:
        return _group(name, value, limits)
    if "names" in limits:
        return _choice(name, value, limits)
    if limits.get("bytes"):
        return _bytes(name, value)
    if limits.get("text"):
        return str(value)
    number = _number(name, value, whole=limits.get("whole", False))
    least, above, below = limits.get("least"), limits.get("above"), limits.get("below")
    if least is not None and not number >= least:
        raise SettingError(f"{name} is {value!r}: it must be at least {least}.")
    if above is not None and not number > above:
        raise SettingError(f"{name} is {value!r}: it must be above {above}.")
    if below is not None and not number < below:
        raise SettingError(f"{name} is {value!r}: it must be below {below}.")
    return number


def _number(name: str, value: Any, whole: bool) -> float | int:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if isinstance(value, bool | str) or number != number or abs(number) == float("inf"):
        raise SettingError(f"{name} is {value!r}: it must be a {'whole ' if whole else ''}number.")
    if not whole:
        return number
    if number != int(number):
        raise SettingError(f"{name} is {value!r}: it must be a whole number.")
    return int(value)


def _bytes(name: str, value: Any) -> int:
    """A size in memory as bytes."""
    found = re.fullmatch(r"([0-9.]+) *([KMGT]?)(i?)B?", str(value).strip(), re.IGNORECASE)
    try:
        size = float(found[1]) * (1024 if found[3] else 1000) ** " KMGT".index(found[2].upper() or " ") if found else 0
    except ValueError:
        size = 0
    if not size >= 1:
        raise SettingError(f"{name} is {value!r}: give a size such as 500MB, 2GB or 1.5GiB, or a number of bytes.")
    return int(size)


def _group(name: str, value: Any, limits: Any) -> Any:
    """A plain name stays one; words with numbers become the typed group."""
    if isinstance(value, limits["instance"]) and not isinstance(value, type):
        return value
    if not isinstance(value, str):
        raise SettingError(f"{name} is {value!r}: it must be one of {', '.join(limits['groups'])}.")
    group = from_words(value, limits["groups"], name)
    return value if value in limits["groups"] else group


def _metrics(name: str, value: Any) -> tuple[Measure, ...]:
    """Metrics from a list, or from text with commas between them."""
    values = re.split(r",(?![^(]*\))", value) if isinstance(value, str) else value
    values = list(values) if hasattr(values, "__iter__") else [values]
    if not all(isinstance(each, str | Measure) for each in values):
        raise SettingError(f"{name} is {value!r}: it must be a list of metrics such as ['rmse', 'mae'].")
    return tuple(map(metric_named, values))


def _choice(name: str, value: Any, limits: Any) -> Any:
    if value not in limits["names"]:
        raise SettingError(f"{name} is {value!r}: it must be one of {', '.join(limits['names'])}.")
    return value
