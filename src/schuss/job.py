"""The main job: from a table to a model.

read -> find the target -> split -> learn the schema -> encode -> decide -> descend -> evaluate
"""

import hashlib
import os
import warnings
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, TypeAlias

import msgspec
import numpy as np

from schuss.arrays import Vector
from schuss.configuration import Configuration
from schuss.descent.optimizers import LBFGS, GradientDescent
from schuss.engine import make_engine, own_code
from schuss.engine.precision import TRIAL_STEPS, engine_by_trial
from schuss.engine.protocol import Engine, EngineState
from schuss.engine.reference import ReferenceEngine
from schuss.ensemble import Averaged, Member, kept, outcome_of, seconds_for, train_members, workers_for
from schuss.errors import AbandonedError, DivergedError, SettingError
from schuss.evaluating import Evaluated, constant_outputs, evaluated
from schuss.keeping import Keeper, absolute
from schuss.losses import LOSSES
from schuss.model.model import Model, Record, read_for
from schuss.model.scores import scores_of
from schuss.own import CHECKED_ROWS, check_loss
from schuss.preparing import ClassWeight, Prepared, Roles, make_settings, memory_of, prepare, ready, told_apart
from schuss.recipe import Recipe, going_on, with_network
from schuss.settings import Settings
from schuss.table.delimited import TableFormat
from schuss.table.drift import drift
from schuss.table.memory import half_of_free_memory
from schuss.table.schema import Task
from schuss.table.store import MemoryStore
from schuss.training.control import Control
from schuss.training.events import Event, MemberEvent
from schuss.training.full_batch import minimise
from schuss.training.judging import Validation
from schuss.training.loop import descend
from schuss.training.run_folder import RunFolder
from schuss.training.state import TrainingState
from schuss.training.stopping import Outcome

_PATHS = ("table", "validation", "test")  # arguments that may be files
_LARGE = 10**7  # numbers in W, from which on memory is looked at: asking takes as long as a tenth of a small fit
_VECTORS = 10  # of the length of W, beside three for each that the optimiser remembers: engine, states, the first W
_OF_THE_MODEL = ("target", "task", "weight", "exclude", "hidden", "activation", "numeric", "embedding", "loss",
                 "dropout", "members")  # fmt: skip


@dataclass(frozen=True)
class Fold:
    """A fold of a cross-validation is done: its number, counted from 1, of how many; scores on its rows."""

    number: int
    folds: int
    scores: Mapping[str, float]


JobEvent: TypeAlias = Prepared | Event | MemberEvent | Averaged | Evaluated | Fold
Observer: TypeAlias = Callable[[JobEvent], None]


def train(
    table: object = None,
    target: str | int | Sequence[str] | None = None,
    *,
    weight: str | None = None,
    offset: str | None = None,
    exposure: str | None = None,
    class_weight: ClassWeight = None,
    exclude: Sequence[str] = (),
    task: Task | None = None,
    validation: float | object = None,
    test: float | object = None,
    valid_by: str | None = None,
    keep_valid_by: bool = False,
    format: TableFormat | None = None,
    config: str | os.PathLike[str] | None = None,
    run: str | os.PathLike[str] | None = None,
    resume: bool = False,
    force: bool = False,
    observers: Iterable[Observer] = (),
    interrupted: Callable[[], bool] = lambda: False,
    **settings: Any,
) -> Model:
    """Trains a network on a table and returns the model.

    Arguments:
        table: a file (CSV, TSV, Parquet, Arrow; gzip too), several of them, a glob, a DataFrame, an Arrow table or a
            NumPy array.
        target: the column to predict, or several for a regression of several numbers or for multilabel.
        weight: column of row weights w_i; None counts every row once.
        offset: column that is added to output 0 before the link, in the target's units, or for a log link and for
            log_loss in those of the logarithm. A table to predict must have it too.
        exposure: column of numbers above 0 whose logarithm is added; for poisson, gamma and tweedie.
        class_weight: "balanced", or a factor for each class (1 where none is given), which the weights of its training
            rows are multiplied with; scores are without it. Balanced is N / (classes · N of the class), of weights.
        exclude: columns to leave out.
        task: regression, binary, multiclass or multilabel (several targets that are true or false each); None finds it
            from the loss and the kind of the target.
        validation: fraction of the rows, or a table of its own, by which the best W is chosen; 0 for none; None takes a
            tenth of 100 rows or more, and none for a linear network.
        test: fraction or table, the rows on which the model is scored at the end; None takes a tenth of
            100 rows or more.
        valid_by: "group:COLUMN": the rows of one group are all in the same part; "time:COLUMN": the latest rows are
            tested, those before them validated, and rows of one time stay together (numbers may be groups as well as
            times, so that you say which). Parts are as near to the fractions as that allows, and not balanced over
            classes; rows without a value there are left out.
        keep_valid_by: whether that column is a feature all the same; otherwise it is none, for what identifies a group
            or a time is not known of new rows.
        format: how text files are read; None for the defaults.
        config: the config.toml of a run, for whatever is not given here: the same W comes out.
        run: a folder for what happens: configuration, events, checkpoints, the best model so far. It is made where it
            does not exist.
        resume: go on with the run in that folder from its last checkpoint, as if it had never been ended; table, target
            and settings are those of before. force: even where data or settings are others now.
        observers: called with every event (Prepared, Chunk, Epoch, Steered, Retried, Finished, Evaluated); they only
            look. With several members, those of each are in a MemberEvent, and at the end there is Averaged.
        interrupted: asked between chunks of steps; True ends the training and keeps the best W so far.
        settings: see Settings: hidden, effort, activation, numeric, embedding, loss, optimizer, learning_rate,
            schedule, averaging, l1, l2, weight_decay, dropout, clip_value, clip_norm, members, batch_size, epochs,
            seconds, steps, patience, metrics, metric, min_improvement, target_score, retries, checkpoint_seconds,
            checkpoints, precision, seed, threads, memory.

    Returns:
        The model; its `record` holds the outcome and the scores.

    Raises:
        DataError: the table cannot be used.
        SettingError: a setting is out of range or does not fit.
        EngineError: bf16 was asked for and cannot be used here.
        DivergedError: the loss became infinite before any W was worth keeping.
        RunError: the folder is in use, or holds something else, or data or settings differ from before.
        AbandonedError: the training was told to keep nothing.
    """
    make_settings(settings)
    said = {"table": table, "target": target, "weight": weight, "offset": offset, "exposure": exposure,
            "class_weight": class_weight, "exclude": exclude, "task": task, "validation": validation, "test": test,
            "valid_by": valid_by, "keep_valid_by": keep_valid_by or None, "format": format}  # fmt: skip
    given = {name: value for name, value in said.items() if value is not None and (name != "exclude" or value)}
    plain_data = given | {name: absolute(given[name]) for name in _PATHS if name in given}
    asked = Configuration({}, {}) if config is None else Configuration.read(config)
    asked = asked.updated(Configuration(plain_data, settings))
    if (forced := asked.replay.get("forced_at")) is not None:
        warnings.warn(f"{config}: that run was changed by force at step {forced:,}: this is another W.", stacklevel=2)
    if run is None and resume:
        raise SettingError("There is nothing to resume without the folder of a run: give it as run.")
    with nullcontext() if run is None else RunFolder(run, resume=resume) as folder:
        keeper = Keeper(folder, asked, resume, force) if folder else None
        if keeper and (model := keeper.finished):
            return model
        asked = keeper.asked if keeper else asked
        chosen, data = make_settings(asked.settings), {**asked.data, **given}
        for name in ("table", "target"):
            if name not in data:
                raise SettingError(f"There is no {name}: give it.")
        roles, unknown = told_apart({name: value for name, value in data.items() if name not in ("table", "target")})
        if unknown:
            known = ", ".join(item.name for item in fields(Roles))
            raise SettingError(f"{config or run}: there is no {min(unknown)!r} among {known}.")
        prepared = ready(data["table"], data["target"], chosen, roles)
        prepared = repeating(prepared, asked, settings, keeper if resume else None)
        model, _ = fit(prepared, chosen, keeper=keeper, observers=observers, interrupted=interrupted)
        return model


def update(
    model: Model,
    table: object,
    *,
    class_weight: ClassWeight = None,
    validation: float | object = None,
    test: float | object = None,
    valid_by: str | None = None,
    format: TableFormat | None = None,
    observers: Iterable[Observer] = (),
    interrupted: Callable[[], bool] = lambda: False,
    **settings: Any,
) -> Model:
    """Trains a model on with the rows of another table and returns a new one; encoding, network and loss stay.

    Columns, levels and scales are those of the first training. Of W before the update and after each epoch the best on
    the validation rows is kept: a table that teaches nothing new leaves W as it is, and the notes of the record say so.

    Arguments:
        model: stays as it is.
        table: as in train, with the columns and the target (and the weight, if there is one) of the model.
        class_weight: as in train; the one of the first training is not kept.
        validation, test, valid_by: as in train, of this table. Where old rows matter too, give a table that has both.
        format, observers, interrupted: as in train.
        settings: as in train; a learning rate that is not given is a tenth of what a training takes.

    Returns:
        The model; its `record` is that of the update, and `record.updates` counts the rows of this and earlier ones.

    Raises:
        DataError: the table cannot be used, or holds a class that the model does not know.
        SettingError: a setting is out of range, or belongs to the model.
        DivergedError: without validation rows, the loss became infinite.
    """
    for name in settings:
        if name in _OF_THE_MODEL or name in Roles.__dataclass_fields__:
            raise SettingError(f"{name} belongs to the model, and an update keeps it: leave it out, or train anew.")
    network, schema = model.network, model.encoding.schema
    own = {name: getattr(network, name) for name in ("hidden", "activation", "dropout")}
    own |= {"numeric": model.encoding.scaling, "loss": model.loss, "members": model.members}
    chosen = make_settings({"precision": model.precision, "threads": model.threads, **settings, **own})
    roles = Roles(
        weight=schema.weight,
        class_weight=class_weight,
        validation=validation,
        test=test,
        valid_by=valid_by,
        format=format,
    )
    read = read_for(model.encoding, table, format, memory_of(chosen), [roles.by.column] if roles.by else [])
    prepared = prepare(read, schema.target, chosen, roles, encoding=model.encoding)
    recipe = going_on(with_network(prepared.recipe, network, model.record.reasons), chosen)
    prepared = replace(prepared, recipe=recipe, drift=drift(schema, read))
    del read  # as in train
    start, validations = [], [_validation(prepared.member(number)) for number in range(model.members)]
    for number, (W, validation) in enumerate(zip(np.atleast_2d(model.W), validations, strict=True)):
        state = TrainingState(EngineState.start(W, recipe.optimizer))
        if validation is not None:
            each = ((model.member_outputs(rows), rows) for rows in validation.store.blocks())
            outputs = [(own[np.newaxis, :, number], rows) for own, rows in each]
            score = recipe.plan.goal.score(validation.scores(outputs)[0])
            state = replace(state, best_W=W, best_score=score, marked_score=score)
        start.append(state)
    updated, states = fit(prepared, chosen, start=start, observers=observers, interrupted=interrupted)
    notes = updated.record.notes
    if validations[0] is not None and not any(state.best_epoch for state in states):
        notes += ("no epoch was better on the validation rows than W before the update: that W was kept",)
    updates = (*model.record.updates, len(prepared.training))
    updated.record = replace(updated.record, notes=notes, updates=updates)
    return updated


def repeating(
    prepared: Prepared, asked: Configuration, settings: Mapping[str, Any], resumed: Keeper | None
) -> Prepared:
    """Steered by hand and ended as the configuration tells; a run that is resumed repeats the former and goes on.

    settings: that were given now, and not in the configuration. resumed: the keeper of a run that is resumed.
    """
    plan, members = prepared.recipe.plan, prepared.recipe.members
    plans = [asked.plan(plan, number) for number in range(members)]
    if resumed:
        plans = [replace(plan, rates=rates) for rates in resumed.rates(members)]
    reasons = {
        name: words if name in settings else words.replace("chosen by you", "as before")
        for name, words in prepared.recipe.reasons.items()
    }
    return replace(prepared, recipe=replace(prepared.recipe, reasons=reasons), plans=tuple(plans))


def fit(
    prepared: Prepared,
    settings: Settings,
    *,
    start: Sequence[TrainingState] = (),
    keeper: Keeper | None = None,
    observers: Iterable[Observer] = (),
    interrupted: Callable[[], bool] = lambda: False,
) -> tuple[Model, tuple[TrainingState, ...]]:
    """Trains on prepared rows, from a fresh W or from `start`; the model, and the states of its networks to go on from.

    Raises:
        EngineError: bf16 was asked for and cannot be used here.
        DivergedError: the loss became infinite before any W was worth keeping.
        AbandonedError: the training was told to keep nothing.
        RunError: the keeper's folder has a run on other rows.
    """
    watch = tuple(observers)
    _check_memory(prepared.recipe)
    members, prepared, workers = _members(prepared, settings, start)

    def model_of(states: Sequence[TrainingState], outcome: str = "running") -> Model:
        return Model(
            prepared.encoding,
            prepared.recipe.network,
            prepared.recipe.loss,
            np.stack([state.W for state in states]) if len(states) > 1 else states[0].W,
            _record(prepared, outcome, states),
            "float64" if settings.precision == "float64" else "float32",  # W is float32 with products in bf16 too
            settings.threads,
        )

    if keeper:
        keeper.folder.rotate(settings.checkpoint_seconds, settings.checkpoints)
        fresh, asked = [member.state for member in members], _resolved(settings, prepared.recipe)
        begun = keeper.begin(asked, seen(prepared), fresh, model_of, **_told(prepared))
        members = [replace(member, state=state) for member, state in zip(members, begun, strict=True)]
        watch = (keeper.folder, *watch)
    _tell(watch, prepared)
    folder = keeper.folder if keeper else None
    ends = train_members(members, _descent, workers, folder, interrupted, partial(_tell, watch))
    outcome, chosen = outcome_of(ends), kept(ends)
    if any(end.outcome is Outcome.ABANDONED for end in ends):
        if keeper:
            keeper.abandon()
        raise AbandonedError("The training was abandoned: nothing was kept.")
    if not chosen:
        step = max(end.state.engine.step for end in ends)
        raise DivergedError(f"Training {outcome.advice}. Nothing was kept. (Step {step:,}.)")
    if len(ends) > 1:
        _tell(watch, Averaged(tuple(ends), chosen))
    states = tuple(ends[number].state for number in chosen)
    model = model_of(states, outcome.name.lower())
    if len(chosen) < len(ends):
        words = f"{len(ends) - len(chosen)} of {len(ends)} networks were left out: they diverged, or had hardly begun"
        model.record = replace(model.record, notes=(*model.record.notes, words))
    model, test = evaluated(model, [members[number] for number in chosen], prepared, is_fresh=not start)
    if test:
        _tell(watch, test)
    if keeper:
        keeper.finish(model, ends)
    return model, states


def _members(
    prepared: Prepared, settings: Settings, start: Sequence[TrainingState]
) -> tuple[list[Member], Prepared, int]:
    """The networks before their training; what was decided for all of them; and how many are trained at a time."""
    recipe, found = prepared.recipe, list[Member]()
    workers = workers_for(settings, recipe.members)
    threads = settings.threads and max(1, settings.threads // workers)
    for number in range(recipe.members):
        own = prepared.member(number)
        chosen = replace(settings, seed=own.recipe.plan.seed, threads=threads)
        if start:
            state = replace(start[number], outcome=None)
        else:
            state = TrainingState(EngineState.start(_first_W(own, chosen), recipe.optimizer))
        if not number:
            _check_own_code(own, state)
        engine, own = engine_for(own, chosen, state)
        if not number:  # what a trial found holds for all of them
            told = own.recipe
            prepared = replace(prepared, recipe=replace(recipe, reasons=told.reasons, chosen=told.chosen))
            settings = replace(settings, precision=told.chosen.get("precision", settings.precision))
            if engine.name != "native" or isinstance(recipe.optimizer, LBFGS):
                workers = 1  # Python runs one thread at a time
            if not isinstance(own.training, MemoryStore):
                workers = 1  # the next window may overwrite the last one, whoever reads it
        plan = replace(own.recipe.plan, seconds=seconds_for(own.recipe.plan.seconds, recipe.members, workers))
        own = replace(own, recipe=replace(own.recipe, plan=plan))
        validation = _validation(own)
        if validation:
            _check_metric(plan.goal.metric, validation, engine, state.W)
        found.append(Member(own, engine, validation, state))
    return found, prepared, workers


def _resolved(settings: Settings, recipe: Recipe) -> Mapping[str, Any]:
    """Every setting that has a value, with those that were left to the recipe."""
    own = {item.name: getattr(settings, item.name) for item in fields(settings)}
    return {name: value for name, value in {**own, **recipe.chosen}.items() if value is not None}


def seen(prepared: Prepared) -> Mapping[str, Any]:
    """The rows of each part, and digests of them and of how they were encoded; a run on others is another run."""
    schema = prepared.encoding.schema
    schema = replace(schema, target=replace(schema.target, reason=""))  # a loss that is resolved is another reason
    encoded = hashlib.blake2b(msgspec.json.encode(schema), digest_size=16).hexdigest()
    found: dict[str, Any] = {"schema_digest": encoded}
    for name, store in (("training", prepared.training), ("validation", prepared.validation), ("test", prepared.test)):
        if store is not None:
            found |= {f"{name}_rows": len(store), f"{name}_digest": store.digest()}
    if prepared.folds is not None:
        found["folds_digest"] = hashlib.blake2b(prepared.folds.data, digest_size=16).hexdigest()
    return found


def _told(prepared: Prepared) -> dict[str, Any]:
    """What a run folder says of a table."""
    facts, plan = prepared.facts, prepared.recipe.plan
    return {
        "table": facts.name,
        "rows": prepared.rows,
        "target": list(prepared.encoding.schema.target.names),
        "task": prepared.encoding.schema.target.task,
        "W": prepared.recipe.network.parameters,
        "members": prepared.recipe.members,
        "epochs": plan.epochs,
        "batch_size": plan.batch_size,
        "metric": plan.goal.metric,
    }


def _descent(member: Member, interrupted: Callable[[], bool], control: Control | None) -> Generator[Event]:
    """The loop, or what takes its place for a rule that looks at all rows."""
    recipe, training = member.prepared.recipe, member.prepared.training
    arguments = member.engine, member.state, training, recipe.plan, member.validation, interrupted, control
    if isinstance(recipe.optimizer, LBFGS):
        return minimise(*arguments, rule=recipe.optimizer, cost=recipe.cost, is_weight=recipe.network.is_weight)
    return descend(*arguments)


def _check_own_code(prepared: Prepared, state: TrainingState) -> None:
    """What a person wrote is looked at before it is trained with, and said to be slow.

    Raises:
        SettingError: the derivative of an own loss is wrong.
    """
    recipe = prepared.recipe
    own = own_code(recipe.cost, recipe.optimizer)
    if own:
        warnings.warn(f"Your own {' and '.join(own)}: Python is called at every step, which is slower.", stacklevel=4)
    if type(recipe.cost.loss) not in LOSSES.values():
        rows = next(iter(prepared.training.blocks())).slice(0, CHECKED_ROWS)
        outputs = ReferenceEngine(recipe.network, recipe.cost, GradientDescent()).outputs(state.engine.W, rows)
        check_loss(recipe.cost.loss, outputs, rows)


def engine_for(prepared: Prepared, settings: Settings, state: TrainingState) -> tuple[Engine, Prepared]:
    """The engine; and with precision "auto", what it computes in, with the reason, among those of the recipe."""
    recipe, plan = prepared.recipe, prepared.recipe.plan

    def make(precision: str) -> Engine:
        return make_engine(
            recipe.network,
            recipe.cost,
            GradientDescent() if isinstance(recipe.optimizer, LBFGS) else recipe.optimizer,
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
    reasons, chosen = {**recipe.reasons, "precision": words}, {**recipe.chosen, "precision": words.partition(" ")[0]}
    return engine, replace(prepared, recipe=replace(recipe, reasons=reasons, chosen=chosen))


def _validation(prepared: Prepared) -> Validation | None:
    """The validation rows, and how they are scored."""
    if prepared.validation is None:
        return None
    recipe = prepared.recipe
    scores = partial(scores_of, prepared.encoding, recipe.loss, metrics=recipe.metrics.values(), as_trained=True)
    return Validation(prepared.validation, recipe.network.outputs, scores)


def _check_metric(name: str, validation: Validation, engine: Engine, W: Vector) -> None:
    """Raises SettingError where the score that is to decide cannot be told of the validation rows."""
    if name == "loss":  # which every W has
        return
    (scores,) = validation.scores((engine.outputs(W, rows)[np.newaxis], rows) for rows in validation.store.blocks())
    if name not in scores:
        raise SettingError(f"metric is {name!r}: choose one of {', '.join(scores)}.")
    if np.isnan(scores[name]):
        raise SettingError(
            f"metric is {name!r}, which is undefined on these {len(validation.store):,} validation rows (one class, or "
            "one value, among them): give others, or choose another metric."
        )


def _record(prepared: Prepared, outcome: str, states: Sequence[TrainingState]) -> Record:
    return Record(
        outcome=outcome,
        epochs=max(state.epoch for state in states),
        steps=max(state.engine.step for state in states),
        best_epoch=round(sum(state.best_epoch for state in states) / len(states)),
        seconds=max(state.seconds for state in states),
        rows=prepared.rows,
        reasons=dict(prepared.recipe.reasons),
        left_out=dict(prepared.facts.left_out),
        notes=prepared.facts.notes,
    )


def _check_memory(recipe: Recipe) -> None:
    """A large network is held against the memory that is free; batches of any size are worked on part by part.

    Raises:
        SettingError: there is not enough.
    """
    parameters = recipe.members * recipe.network.parameters
    if parameters < _LARGE:
        return
    wanted, free = 4 * parameters * (_VECTORS + 3 * recipe.optimizer.memory), 2 * half_of_free_memory()
    if wanted > free:
        raise SettingError(
            f"There are {parameters:,} weights and biases: training them takes some {wanted / 1e9:,.1f} GB, and "
            f"{free / 1e9:,.1f} GB are free. Take a smaller network."
        )


def _first_W(prepared: Prepared, settings: Settings) -> Vector:
    """Where W starts: with a log link, whose targets are not standardised, at the best constant."""
    network = prepared.recipe.network
    W = network.initial(settings.seed)
    if prepared.encoding.schema.target.support != "real":
        network.dense[-1].biases(W)[:] = constant_outputs(prepared)
    return W


def _tell(observers: Iterable[Observer], event: JobEvent) -> None:
    for observer in observers:
        observer(event)
