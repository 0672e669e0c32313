"""From a table to rows that can be trained on, and what is decided for them: everything before the first step.

read -> find the target -> split -> learn the schema -> encode -> decide
"""

import difflib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from numbers import Real
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from schuss.errors import CellError, SettingError
from schuss.losses import Loss, check_use, loss_named
from schuss.model.model import parts_to_score, read_for
from schuss.numeric import numeric_named
from schuss.recipe import Recipe, decide, member_count, numeric_for, test_fraction, validation_fraction
from schuss.settings import Settings
from schuss.table.by import By
from schuss.table.delimited import TableFormat
from schuss.table.drift import Drift
from schuss.table.encoded import Facts, Origin, Stores, encode, fits, load, without_factors
from schuss.table.encoding import Encoding
from schuss.table.learning import learn_schema
from schuss.table.memory import memory_for
from schuss.table.order import TEST, TRAINING, VALIDATION
from schuss.table.parts import Parts
from schuss.table.pieces import Pieces
from schuss.table.schema import Offset, Schema, Target, Task, doubtful_columns, find_target
from schuss.table.source import read_table
from schuss.table.sparse import SparseStore
from schuss.table.store import MemoryStore, Store
from schuss.table.table import Table
from schuss.training.loop import Plan

ClassWeight: TypeAlias = str | Mapping[Any, float] | None


@dataclass(frozen=True, kw_only=True)
class Roles:
    """What columns and rows are for. Each is an argument of schuss.train, and told of there.

    Raises:
        SettingError: there is an offset and an exposure.
    """

    weight: str | None = None
    offset: str | None = None
    exposure: str | None = None
    class_weight: ClassWeight = None
    exclude: str | Sequence[str] = ()
    task: Task | None = None
    validation: float | object = None
    test: float | object = None
    valid_by: str | None = None
    keep_valid_by: bool = False
    format: TableFormat | None = None

    def __post_init__(self) -> None:
        if self.offset and self.exposure:
            raise SettingError(
                "There is an offset and an exposure: add the exposure's logarithm to the offset, and give that."
            )

    @property
    def added(self) -> Offset | None:
        """The column that is added to output 0."""
        name = self.offset or self.exposure
        return Offset(name, bool(self.exposure)) if name else None

    @property
    def by(self) -> By | None:
        """What decides which rows are held out, beside chance."""
        return By.of(self.valid_by)

    def check(self, loss: Loss | None, targets: int) -> None:
        """Raises SettingError where a loss that was chosen does not fit, as far as that is known without the table."""
        if self.exposure and not (loss and loss.support != "real"):
            raise SettingError("An exposure needs a loss with a log link: poisson, gamma or tweedie.")
        if loss:
            check_use(loss, self.task, targets, self.added is not None)


def told_apart(arguments: Mapping[str, Any]) -> tuple[Roles, dict[str, Any]]:
    """Arguments of schuss.train, without table and target: roles and settings."""
    known = {item.name for item in fields(Roles)}
    roles = Roles(**{name: value for name, value in arguments.items() if name in known})
    return roles, {name: value for name, value in arguments.items() if name not in known}


@dataclass(frozen=True, eq=False)
class Prepared:
    """A table made ready for training, and what was decided for it: the first event of a job.

    training, validation, test: encoded rows, in memory or on disk; None where there are none.
    drift: of an update, how its rows differ from those that the schema was learned from.
    folds: [N] of each training row the member of an ensemble that is validated on it, from 0, −1 for none; None where
        all members have the same rows.
    plans: of each member, where they are not that of the recipe.
    """

    facts: Facts
    training: Store
    validation: Store | None
    test: Store | None
    recipe: Recipe
    drift: tuple[Drift, ...] = ()
    folds: NDArray[np.int8] | None = None
    plans: tuple[Plan, ...] = ()

    @property
    def encoding(self) -> Encoding:
        """How the table becomes rows."""
        return self.facts.encoding

    @property
    def rows(self) -> dict[str, int]:
        """The rows of each part, of an ensemble those of its first member."""
        counts = {
            "training": len(self.training),
            "validation": len(self.validation or ()),
            "test": len(self.test or ()),
        }
        if self.folds is not None:
            counts["validation"] = int(np.count_nonzero(self.folds == 0))
            counts["training"] -= counts["validation"]
        return {name: count for name, count in counts.items() if count}

    def member(self, number: int) -> "Prepared":
        """What one member of an ensemble is trained on, counted from 0: its rows, and a seed of its own."""
        plan = self.plans[number] if self.plans else self.recipe.plan
        recipe = replace(self.recipe, plan=replace(plan, seed=member_seed(plan.seed, number)))
        if self.folds is None:
            alone = self.training.twin() if isinstance(self.training, MemoryStore) else self.training
            return replace(self, training=alone, recipe=recipe, plans=())
        assert isinstance(self.training, MemoryStore | SparseStore)
        own, validated = np.flatnonzero(self.folds != number), np.flatnonzero(self.folds == number)
        if isinstance(self.training, MemoryStore):
            validation: Store = MemoryStore(without_factors(self.training.rows.take(validated), self.facts))
        else:
            validation = self.training.part(validated)
            validation.labels = without_factors(validation.labels, self.facts)
        training = self.training.part(own)
        return replace(self, training=training, validation=validation, recipe=recipe, folds=None, plans=())

    @property
    def shown(self) -> str:
        """The score that a person is told while training: the one that decides; of the squared error, its root."""
        name, metrics = self.recipe.plan.goal.metric, self.recipe.metrics
        return "rmse" if name == "loss" and self.recipe.loss.name == "squared_error" and "rmse" in metrics else name


def member_seed(seed: int, number: int) -> int:
    """The seed of a member of an ensemble, counted from 0: the first one has that of a single network."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0] >> 1) if number else seed


def ready(table: object, target: str | int | Sequence[str], settings: Settings, roles: Roles) -> Prepared:
    """A table as it is trained on: read and encoded, or found in the cache. Arguments and errors as in schuss.train."""
    names, memory, loss = names_of(target), memory_of(settings), loss_of(settings)
    roles.check(loss, len(names))
    origin = _origin(settings, table, names, loss, roles)
    found = origin and load(origin, memory)
    if found:
        return decided(*found, settings)
    read = read_table(table, roles.format or TableFormat(), memory=memory_for(table, memory))
    return prepare(read, find_target(read, names, roles.task, loss), settings, roles, origin=origin)


def prepare(
    table: Table,
    target: Target,
    settings: Settings,
    roles: Roles,
    *,
    encoding: Encoding | None = None,
    origin: Origin | None = None,
) -> Prepared:
    """Everything before the first step: split, schema, encoded rows, recipe.

    Arguments:
        target: what is predicted.
        encoding: of an earlier training that is to go on; None learns it from the training rows.
        origin: of the rows, by which other runs find those that take more than memory; None keeps none.
    """
    parts = Parts(table, target, roles.weight, roles.by)
    if roles.by and not parts.usable:
        raise CellError(f"{table.name}: no row with a target and a weight has a value in {roles.by.column!r}.")
    return prepare_parts(parts, target, settings, roles, encoding=encoding, origin=origin)


def prepare_parts(
    parts: Parts,
    target: Target,
    settings: Settings,
    roles: Roles,
    *,
    encoding: Encoding | None = None,
    origin: Origin | None = None,
) -> Prepared:
    """As prepare, of rows of which some may be held out already."""
    table, usable, known = parts.table, parts.count(TRAINING), encoding
    validation = _fraction("validation", roles.validation, validation_fraction(usable, settings))
    fractions = validation, _fraction("test", roles.test, test_fraction(usable))
    parts.deal(settings.seed, *fractions, 1 if isinstance(table.held, Pieces) else member_count(settings, usable))
    encoding = known or _learned(parts, target, roles, settings)
    memory = memory_of(settings)
    chosen = [
        (parts, TRAINING),
        _held_out(parts, VALIDATION, roles.validation, encoding, roles.format, memory),
        _held_out(parts, TEST, roles.test, encoding, roles.format, memory),
    ]
    if parts.folds is not None and not fits(chosen, encoding, memory, table.taken):
        parts.deal_anew(settings.seed, *fractions)  # rows that will be read from disk
        encoding = known or _learned(parts, target, roles, settings)
    used = [column.name for column in encoding.schema.columns]
    nulls = {name: count for name in used if (count := table.null_count(name))}
    notes = (*table.notes, *parts.notes, *doubtful_columns(table, encoding.schema))
    factors = _factors(roles.class_weight, encoding.schema, parts)
    facts = Facts(table.name, len(table), nulls, encoding, parts.left_out, notes, factors=factors)
    found = encode(chosen, facts, seed=settings.seed, memory=memory, taken=table.taken, origin=origin)
    return decided(*found, settings, parts.folds)


def _learned(parts: Parts, target: Target, roles: Roles, settings: Settings) -> Encoding:
    """What the training rows teach."""
    table, exclude = parts.table, roles.exclude
    wanted = set(table.names).difference([exclude] if isinstance(exclude, str) else exclude)
    schema = learn_schema(
        table,
        target,
        parts.blocks(TRAINING, wanted),
        weight=roles.weight,
        offset=roles.added,
        exclude=exclude,
        by=None if roles.keep_valid_by or roles.by is None else roles.by.column,
    )
    schema = replace(schema, suffix=roles.format.suffix if roles.format else "")
    return Encoding(schema, numeric_for(settings, schema, parts.count(TRAINING)).scaling)


def _origin(settings: Settings, table: object, names: Sequence[str], loss: Loss | None, roles: Roles) -> Origin | None:
    """All that encoded rows depend on; None where the table must be read in any case."""
    if roles.format and roles.format.rejects:
        return None
    held_out = [roles.validation, roles.test]
    sources = [table, *(part for part in held_out if not _is_fraction(part))]
    fractions = [float(part) if isinstance(part, Real) else _is_fraction(part) for part in held_out]
    served = loss and (loss.tasks, loss.support)
    linear = settings.hidden == ()  # such a network has no validation rows of its own accord
    plain = replace(roles, validation=None, test=None)
    scaling = settings.numeric and numeric_named(settings.numeric).scaling
    return Origin.of(sources, fractions, settings.seed, settings.memory, linear, names, served, plain, scaling)


def decided(facts: Facts, stores: Stores, settings: Settings, folds: NDArray[np.int8] | None = None) -> Prepared:
    """Encoded rows, and what the recipe takes for them. folds: as of Prepared."""
    training, validation, test = stores
    mean_weight = sum(np.multiply(facts.shares, facts.factors or 1.0).tolist()) / len(training)
    rows, members = len(training), None
    if folds is not None:
        rows, members = int(np.count_nonzero(folds)), int(folds.max()) + 1
    recipe = decide(settings, facts.encoding, rows, mean_weight, validation is not None or bool(members), members)
    classes = facts.encoding.schema.target.classes
    if len(classes) == 1:
        warnings.warn(f"Every row has the same class, {classes[0]}: the model can only say that.", stacklevel=4)
    if facts.factors:
        told = ", ".join(f"{label} {factor:.4g}" for label, factor in zip(classes, facts.factors, strict=False))
        recipe = replace(recipe, reasons={**recipe.reasons, "class_weight": f"{told} (chosen by you)"})
    return Prepared(facts, training, validation, test, recipe, folds=folds)


def names_of(target: str | int | Sequence[str]) -> tuple[str, ...]:
    """The names of the target columns."""
    return (str(target),) if isinstance(target, str | int) else tuple(str(name) for name in target)


def make_settings(settings: Mapping[str, Any]) -> Settings:
    """Settings from names and values. Raises SettingError for an unknown name or an impossible value."""
    known = list(Settings.__dataclass_fields__)
    for name in settings:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            advice = f"Did you mean {close[0]!r}?" if close else f"Choose from {', '.join(known)}."
            raise SettingError(f"There is no setting {name!r}. {advice}")
    return Settings(**settings)


def loss_of(settings: Settings) -> Loss | None:
    """The loss that was chosen."""
    return None if settings.loss is None else loss_named(settings.loss)


def memory_of(settings: Settings) -> float | None:
    """Bytes, as a person gave them."""
    return None if settings.memory is None else float(settings.memory)


def _factors(class_weight: ClassWeight, schema: Schema, parts: Parts) -> tuple[float, ...]:
    """The factor of each class, at least two as of shares. Raises SettingError where one is not possible."""
    if class_weight is None:
        return ()
    classes = schema.target.classes
    if not classes:
        raise SettingError(f"class_weight is for classes, and the task is {schema.target.task}: use weights of rows.")
    if class_weight == "balanced":
        found = parts.class_weights(TRAINING, schema.weight)
        factors = found.sum() / (len(found) * np.where(found > 0, found, np.inf))
        return (*factors.tolist(), 1.0)[: max(len(classes), 2)]
    if not isinstance(class_weight, Mapping):
        raise SettingError(
            f"class_weight is {class_weight!r}: give 'balanced', or a factor for each class by its name."
        )
    places: dict[Any, int] = {str(label): place for place, label in enumerate(classes)}
    places |= {label: place for place, label in enumerate(classes)}
    chosen = [1.0] * max(len(classes), 2)
    for name, factor in class_weight.items():
        place = places.get(name, places.get(str(name)))
        if place is None or not isinstance(factor, Real) or not 0 < float(factor) < 1e30:
            raise SettingError(f"class_weight of {name!r} is {factor!r}: give numbers above 0, for the classes "
                               f"{', '.join(map(str, classes[:10]))}.")  # fmt: skip
        chosen[place] = float(factor)
    return tuple(chosen)


def _fraction(name: str, given: float | object, default: float) -> float:
    """The fraction of the rows that a part takes; one that is a table of its own takes none."""
    if given is None:
        return default
    if not isinstance(given, Real):
        return 0.0
    if isinstance(given, bool) or not 0 <= float(given) < 1:
        raise SettingError(f"{name} is {given}: give a fraction from 0 up to 1, or a table.")
    return float(given)


def _is_fraction(given: float | object) -> bool:
    """Of the rows of the table itself, or the fraction that the recipe takes."""
    return given is None or isinstance(given, Real)


def _held_out(
    parts: Parts,
    part: int,
    given: float | object,
    encoding: Encoding,
    format: TableFormat | None,
    memory: float | None,
) -> tuple[Parts, int]:
    """The rows of a held-out part: of the table itself, or of the table that was given for it."""
    if _is_fraction(given):
        return parts, part
    return parts_to_score(encoding, read_for(encoding, given, format, memory)), TRAINING
