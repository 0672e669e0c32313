"""The main job: from a table to a model.

read -> find the target -> split -> learn the schema -> encode -> decide -> descend -> evaluate
"""

import difflib
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from numbers import Real
from typing import Any, TypeAlias

import numpy as np

from schuss.arrays import Matrix, Outputs, Rows, Vector
from schuss.engine import make_engine
from schuss.engine.precision import TRIAL_STEPS, engine_by_trial
from schuss.engine.protocol import Engine, EngineState
from schuss.errors import DivergedError, SettingError
from schuss.model.model import Model, Record, parts_to_score, read_for, scores_of_epochs, total_losses
from schuss.recipe import Recipe, decide, test_fraction, validation_fraction
from schuss.settings import Settings
from schuss.table.encoding import Encoding
from schuss.table.learning import learn_schema
from schuss.table.memory import half_of_free_memory, memory_for
from schuss.table.order import TEST, TRAINING, VALIDATION
from schuss.table.parts import Parts
from schuss.table.schema import Target, Task, doubtful_columns, find_target
from schuss.table.source import Table, TableFormat, read_table
from schuss.table.sparse import WINDOW_BYTES, SparseStore, SparseTable
from schuss.table.store import MemoryStore, Store, labels, looked_at
from schuss.training.loop import Event, Finished, Validation, descend
from schuss.training.state import TrainingState
from schuss.training.stopping import Outcome

_LITTLE_MEMORY = float(
    1 << 26
)  # bytes that are there in any case: asking the system takes as long as a tenth of a small fit


@dataclass(frozen=True, eq=False)
class Prepared:
    """A table made ready for training, and what was decided for it: the first event of a job.

    training, validation, test: encoded rows, in memory or on disk; None where there are none.
    shares: Σ w_i of the training rows by class; of a regression all are one class.
    left_out: rows that are in no part, by reason. notes: on the reading of the table.
    """

    table: Table
    encoding: Encoding
    training: Store
    validation: Store | None
    test: Store | None
    shares: Vector
    recipe: Recipe
    left_out: Mapping[str, int]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Evaluated:
    """The last event of a job: scores on the test rows, and of the best constant prediction beside them."""

    scores: Mapping[str, float]
    constant: Mapping[str, float]


JobEvent: TypeAlias = Prepared | Event | Evaluated
Observer: TypeAlias = Callable[[JobEvent], None]


def train(
    table: object,
    target: str | int | Sequence[str],
    *,
    weight: str | None = None,
    exclude: Sequence[str] = (),
    task: Task | None = None,
    validation: float | object = None,
    test: float | object = None,
    format: TableFormat | None = None,
    observers: Iterable[Observer] = (),
    interrupted: Callable[[], bool] = lambda: False,
    **settings: Any,
) -> Model:
    """Trains a network on a table and returns the model.

    Arguments:
        table: a file (CSV, TSV, Parquet, Arrow; gzip too), several of them, a glob, a DataFrame, an Arrow table or a
            NumPy array.
        target: the column to predict, or several for a regression of several numbers.
        weight: column of row weights w_i; None counts every row once.
        exclude: columns to leave out.
        task: regression, binary or multiclass; None finds it from the kind of the target.
        validation: fraction of the rows, or a table of its own, by which the best W is chosen; 0 for none; None takes a
            tenth of 100 rows or more, and none for a linear network.
        test: fraction or table, the rows on which the model is scored at the end; None takes a tenth of
            100 rows or more.
        format: how text files are read; None for the defaults.
        observers: called with every event (Prepared, Chunk, Epoch, Finished, Evaluated); they only look.
        interrupted: asked between chunks of steps; True ends the training and keeps the best W so far.
        settings: see Settings: hidden, activation, loss, optimizer, learning_rate, schedule, l2, weight_decay,
            dropout, clip_value, clip_norm, batch_size, epochs, seconds, patience, precision, seed, threads, memory.

    Returns:
        The model; its `record` holds the outcome and the scores.

    Raises:
        DataError: the table cannot be used.
        SettingError: a setting is out of range or does not fit.
        EngineError: bf16 was asked for and cannot be used here.
        DivergedError: the loss became infinite before any W was worth keeping.
    """
    chosen = make_settings(settings)
    names = (str(target),) if isinstance(target, str | int) else tuple(str(name) for name in target)
    memory = memory_for(table, None if chosen.memory is None else float(chosen.memory))
    read = read_table(table, format or TableFormat(), memory=memory)
    prepared = prepare(
        read,
        find_target(read, names, task),
        chosen,
        weight=weight,
        exclude=exclude,
        validation=validation,
        test=test,
        format=format,
    )
    model, _ = fit(prepared, chosen, observers=observers, interrupted=interrupted)
    return model


def make_settings(settings: Mapping[str, Any]) -> Settings:
    """Settings from names and values. Raises SettingError for an unknown name or an impossible value."""
    known = list(Settings.__dataclass_fields__)
    for name in settings:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            advice = f"Did you mean {close[0]!r}?" if close else f"Choose from {', '.join(known)}."
            raise SettingError(f"There is no setting {name!r}. {advice}")
    return Settings(**settings)


def prepare(
    table: Table,
    target: Target,
    settings: Settings,
    *,
    encoding: Encoding | None = None,
    weight: str | None = None,
    exclude: Sequence[str] = (),
    validation: float | object = None,
    test: float | object = None,
    format: TableFormat | None = None,
) -> Prepared:
    """Everything before the first step: split, schema, encoded rows, recipe. Arguments as in train, and

    Arguments:
        target: what is predicted.
        encoding: of an earlier training that is to go on; None learns it from the training rows.
    """
    parts = Parts(table, target, weight)
    parts.deal(
        settings.seed,
        _fraction("validation", validation, validation_fraction(parts.usable, settings)),
        _fraction("test", test, test_fraction(parts.usable)),
    )
    if encoding is None:
        schema = learn_schema(table, target, parts.blocks(TRAINING), weight=weight, exclude=exclude)
        encoding = Encoding(replace(schema, suffix=format.suffix if format else ""))
    memory = None if settings.memory is None else float(settings.memory)
    chosen = [
        (parts, TRAINING),
        _held_out(parts, VALIDATION, validation, encoding, format, memory),
        _held_out(parts, TEST, test, encoding, format, memory),
    ]
    shares = _Shares(len(target.classes))
    left = None if memory is None else memory - table.taken
    training, of_validation, of_test = _stores(encoding, chosen, left, settings.seed, shares)
    assert training is not None
    mean_weight = float(shares.weights.sum()) / len(training)
    recipe = decide(settings, encoding, len(training), mean_weight, of_validation is not None)
    if len(target.classes) == 1:
        warnings.warn(f"Every row has the same class, {target.classes[0]}: the model can only say that.", stacklevel=3)
    notes = (*table.notes, *doubtful_columns(table, encoding.schema))
    if not isinstance(training, MemoryStore | SparseStore):
        size = len(training) * encoding.row_bytes / 1e6
        notes += (f"the training rows take {size:,.1f} MB, more than --memory: they are read from a copy on disk",)
    return Prepared(table, encoding, training, of_validation, of_test, shares.weights, recipe, parts.left_out, notes)


def fit(
    prepared: Prepared,
    settings: Settings,
    *,
    start: TrainingState | None = None,
    observers: Iterable[Observer] = (),
    interrupted: Callable[[], bool] = lambda: False,
) -> tuple[Model, TrainingState]:
    """Trains on prepared rows, from a fresh W or from `start`; the model, and the state to go on from.

    Raises:
        EngineError: bf16 was asked for and cannot be used here.
        DivergedError: the loss became infinite before any W was worth keeping.
    """
    recipe, encoding, watch = prepared.recipe, prepared.encoding, tuple(observers)
    fresh = EngineState.start(recipe.network.initial(settings.seed), recipe.optimizer)
    state = start or TrainingState(fresh)
    engine, prepared = _engine(prepared, settings, state)
    _tell(watch, prepared)
    for event in descend(engine, state, prepared.training, recipe.plan, _validation(prepared), interrupted):
        for observer in watch:
            observer(event)
    assert isinstance(event, Finished)
    outcome, state = event.outcome, event.state
    if outcome is Outcome.DIVERGED and state.best_W is None:
        raise DivergedError(f"Training {outcome.advice}. Nothing was kept. (Step {state.engine.step:,}.)")
    model = Model(
        encoding,
        recipe.network,
        recipe.cost.loss,
        state.W,
        _record(prepared, outcome, state),
        "float64" if settings.precision == "float64" else "float32",  # W is float32 with products in bf16 too
        settings.threads,
    )
    return _evaluated(model, engine, prepared, watch), state


def _engine(prepared: Prepared, settings: Settings, state: TrainingState) -> tuple[Engine, Prepared]:
    """The engine; and with precision "auto", what it computes in, with the reason, among those of the recipe."""
    recipe, plan = prepared.recipe, prepared.recipe.plan

    def make(precision: str) -> Engine:
        return make_engine(
            recipe.network,
            recipe.cost,
            recipe.optimizer,
            seed=settings.seed,
            threads=settings.threads,
            precision=precision,
        )

    if settings.precision != "auto":
        return make(settings.precision), prepared
    with closing(prepared.training.windows(plan.seed, range(state.epoch, state.epoch + 1), plan.batch_size)) as windows:
        rows, order = next(windows)
        order = order[: TRIAL_STEPS * plan.batch_size]
        engine, words = engine_by_trial(make, state.engine, rows, order, plan.batch_size, plan.learning_rate)
    return engine, replace(prepared, recipe=replace(recipe, reasons={**recipe.reasons, "precision": words}))


class _Shares:
    """Σ w_i of the rows of each class, summed up as they pass; of a regression all are of one class."""

    def __init__(self, classes: int) -> None:
        self._classes, self.weights = classes, np.zeros(max(classes, 2))

    def add(self, rows: Rows) -> Rows:
        """The rows, as they are."""
        if self._classes:
            self.weights += np.bincount(rows.targets[:, 0].astype(int), rows.weights, len(self.weights))
        else:
            self.weights[0] += rows.total_weight
        return rows


def _stores(
    encoding: Encoding, parts: Sequence[tuple[Parts, int]], allowed: float | None, seed: int, shares: _Shares
) -> list[Store | None]:
    """The encoded rows for training, validation and testing.

    In memory where they fit; else the last two may take an eighth of it each, and what is left is for training.
    allowed: bytes, None for half of what is free.
    """
    sizes = [own.count(part) * encoding.row_bytes for own, part in parts]
    memory = _LITTLE_MEMORY if allowed is None else allowed
    if allowed is None and sum(sizes) > memory:
        memory = half_of_free_memory()
    rooms = [0.75 * memory, memory / 8, memory / 8] if sum(sizes) > memory else sizes
    stores: list[Store | None] = []
    for (own, part), size, room in zip(parts, sizes, rooms, strict=True):
        look = (lambda rows: rows) if stores else shares.add  # training comes first
        if not size:
            stores.append(None)
        elif isinstance(own.table, SparseTable) and size > WINDOW_BYTES:
            of_part = look(encoding.encode_labels(own.blocks(part), own.count(part)))
            write = partial(encoding.write_stored, own.table)
            stores.append(SparseStore(of_part, own.rows(part), encoding.features, write))
        elif size <= room:
            stores.append(MemoryStore(look(encoding.encode_blocks(own.blocks(part), own.count(part)))))
        else:
            from schuss.table.shards import pack_for_now  # for POSIX alone

            blocks = (look(encoding.encode(block, rows)) for block, rows in own.blocks(part))
            packed = pack_for_now(blocks, own.count(part), seed=seed, memory=int(room), deal=not stores)
            stores.append(packed)
    return stores


def _fraction(name: str, given: float | object, default: float) -> float:
    """The fraction of the rows that a part takes; one that is a table of its own takes none."""
    if given is None:
        return default
    if not isinstance(given, Real):
        return 0.0
    if isinstance(given, bool) or not 0 <= float(given) < 1:
        raise SettingError(f"{name} is {given}: give a fraction from 0 up to 1, or a table.")
    return float(given)


def _held_out(
    parts: Parts,
    part: int,
    given: float | object,
    encoding: Encoding,
    format: TableFormat | None,
    memory: float | None,
) -> tuple[Parts, int]:
    """The rows of a held-out part: of the table itself, or of the table that was given for it."""
    if given is None or isinstance(given, Real):
        return parts, part
    return parts_to_score(encoding, read_for(encoding, given, format, memory)), TRAINING


def _validation(prepared: Prepared) -> Validation | None:
    """The validation rows, and how they are scored."""
    if prepared.validation is None:
        return None
    rows = labels(prepared.validation.blocks())
    loss, encoding = prepared.recipe.cost.loss, prepared.encoding

    def scores(outputs: Outputs) -> list[dict[str, float]]:
        found = scores_of_epochs(encoding, loss, outputs, rows)
        if len(encoding.schema.target.names) > 1:  # the best W is chosen as W is trained: no target counts for more
            averages = total_losses(loss, outputs, rows.targets, rows.weights) / rows.total_weight
            found = [{**own, "loss": average} for own, average in zip(found, averages.tolist(), strict=True)]
        return found

    return Validation(prepared.validation, prepared.recipe.network.outputs, scores)


def _record(prepared: Prepared, outcome: Outcome, state: TrainingState) -> Record:
    rows = {"training": prepared.training, "validation": prepared.validation, "test": prepared.test}
    return Record(
        outcome=outcome.name.lower(),
        epochs=state.epoch,
        steps=state.engine.step,
        best_epoch=state.best_epoch,
        seconds=state.seconds,
        rows={name: len(part) for name, part in rows.items() if part is not None},
        reasons=dict(prepared.recipe.reasons),
        left_out=dict(prepared.left_out),
        notes=prepared.notes,
    )


def _evaluated(model: Model, engine: Engine, prepared: Prepared, watch: Sequence[Observer]) -> Model:
    """The model with the scores of its held-out rows in its record."""
    found: dict[str, dict[str, float | None]] = {}
    for name, store in (("validation", prepared.validation), ("test", prepared.test)):
        if store is None:
            continue
        outputs, rows = looked_at(store.blocks(), partial(engine.outputs, model.W))
        reached = model.scores(outputs, rows)
        found[name] = {key: value if np.isfinite(value) else None for key, value in reached.items()}
        if name == "test":
            constant = model.scores(_constant_outputs(prepared, len(rows)), rows)
            _tell(watch, Evaluated(reached, constant))
    model.record = replace(model.record, scores=found)
    return model


def _constant_outputs(prepared: Prepared, count: int) -> Matrix:
    """Outputs [count, K] that say the same of every row: the training mean, or the training share of each class."""
    shares, network = prepared.shares, prepared.recipe.network
    if not prepared.encoding.schema.target.classes:
        return np.zeros((count, network.outputs))
    logs = np.log(np.maximum(shares / shares.sum(), 1e-9))
    return np.tile(logs[1:] - logs[0] if network.outputs == 1 else logs[: network.outputs], (count, 1))


def _tell(observers: Iterable[Observer], event: JobEvent) -> None:
    for observer in observers:
        observer(event)
