"""SchussRegressor and SchussClassifier: the same training behind scikit-learn's interface."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import fields, is_dataclass, replace
from numbers import Integral
from typing import Any, Self, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import _check_sample_weight, check_array, check_is_fitted, column_or_1d, validate_data

from schuss.arrays import Matrix, Outputs
from schuss.configuration import Configuration
from schuss.descent.averaging import Averaging, averaging_named
from schuss.descent.optimizers import Optimizer, Rule, optimizer_named
from schuss.descent.schedules import Schedule, schedule_named
from schuss.engine.protocol import EngineState
from schuss.errors import SettingError
from schuss.evaluating import mean_scores
from schuss.job import JobEvent, Observer, fit, repeating
from schuss.keeping import Keeper
from schuss.losses import Loss, check_use, loss_named
from schuss.metrics import Measure
from schuss.model import Model
from schuss.network.specifications import Hidden
from schuss.numeric import Numeric, numeric_named
from schuss.preparing import ClassWeight, Roles, make_settings, prepare
from schuss.recipe import with_network
from schuss.settings import Settings
from schuss.table.columns import from_numpy
from schuss.table.schema import Offset, Target
from schuss.table.source import read_table
from schuss.table.sparse import SparseTable
from schuss.table.table import Table
from schuss.training.events import Epoch, MemberEvent
from schuss.training.run_folder import RunFolder, read_events
from schuss.training.state import TrainingState

Columns: TypeAlias = dict[str, pa.Array]

_DEFAULTS = Settings()
_WEIGHT = "sample_weight"
_OFFSET = "offset"
_NO_Y = "{} requires y to be passed, but the target y is None."
# Parameters that may be a group of numbers, and how a group is found that is given in words.
_GROUPS: dict[str, Callable[[Any], Any]] = {
    "loss": loss_named,
    "optimizer": optimizer_named,
    "schedule": schedule_named,
    "averaging": averaging_named,
    "numeric": numeric_named,
}
_OF_THE_NETWORK = ("hidden", "effort", "activation", "numeric", "embedding", "dropout", "members")


class _SchussEstimator(BaseEstimator):  # type: ignore[misc]
    """What the two estimators share: they differ in what they do with y."""

    model_: Model
    _states: tuple[TrainingState, ...]  # of the networks
    _kind: tuple[Any, ...]  # what must stay from call to call where W goes on

    def __init__(
        self,
        hidden: Hidden | None = _DEFAULTS.hidden,
        effort: str = _DEFAULTS.effort,
        activation: str | None = _DEFAULTS.activation,
        numeric: str | Numeric | None = _DEFAULTS.numeric,
        embedding: int | None = _DEFAULTS.embedding,
        loss: str | Loss | None = _DEFAULTS.loss,
        optimizer: str | Optimizer | Rule | None = _DEFAULTS.optimizer,
        learning_rate: float | None = _DEFAULTS.learning_rate,
        schedule: str | Schedule | None = _DEFAULTS.schedule,
        averaging: str | Averaging | None = _DEFAULTS.averaging,
        l1: float = _DEFAULTS.l1,
        l2: float = _DEFAULTS.l2,
        weight_decay: float | None = _DEFAULTS.weight_decay,
        dropout: float | None = _DEFAULTS.dropout,
        clip_value: float | None = _DEFAULTS.clip_value,
        clip_norm: float | None = _DEFAULTS.clip_norm,
        members: int | None = _DEFAULTS.members,
        batch_size: int | None = _DEFAULTS.batch_size,
        epochs: int | None = _DEFAULTS.epochs,
        seconds: float | None = _DEFAULTS.seconds,
        validation: float | None = None,
        steps: int | None = _DEFAULTS.steps,
        valid_by: str | None = None,
        patience: int | None = _DEFAULTS.patience,
        metrics: Sequence[str | Measure] | None = _DEFAULTS.metrics,
        metric: str = _DEFAULTS.metric,
        min_improvement: float = _DEFAULTS.min_improvement,
        target_score: float | None = _DEFAULTS.target_score,
        retries: int = _DEFAULTS.retries,
        checkpoint_seconds: float = _DEFAULTS.checkpoint_seconds,
        checkpoints: int = _DEFAULTS.checkpoints,
        random_state: int | np.random.RandomState | None = None,
        n_jobs: int | None = _DEFAULTS.threads,
        precision: str = _DEFAULTS.precision,
        memory: float | str | None = _DEFAULTS.memory,
        class_weight: ClassWeight = None,
        callbacks: Sequence[Observer] | None = None,
        run: str | os.PathLike[str] | None = None,
        resume: bool = False,
        verbose: bool = False,
        warm_start: bool = False,
    ) -> None:
        self.hidden = hidden
        self.effort = effort
        self.activation = activation
        self.numeric = numeric
        self.embedding = embedding
        self.loss = loss
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.averaging = averaging
        self.l1 = l1
        self.l2 = l2
        self.weight_decay = weight_decay
        self.dropout = dropout
        self.clip_value = clip_value
        self.clip_norm = clip_norm
        self.members = members
        self.batch_size = batch_size
        self.epochs = epochs
        self.seconds = seconds
        self.validation = validation
        self.steps = steps
        self.valid_by = valid_by
        self.patience = patience
        self.metrics = metrics
        self.metric = metric
        self.min_improvement = min_improvement
        self.target_score = target_score
        self.retries = retries
        self.checkpoint_seconds = checkpoint_seconds
        self.checkpoints = checkpoints
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.precision = precision
        self.memory = memory
        self.class_weight = class_weight
        self.callbacks = callbacks
        self.run = run
        self.resume = resume
        self.verbose = verbose
        self.warm_start = warm_start

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """All parameters; deep: also the numbers of the groups in words, as loss__delta."""
        found: dict[str, Any] = super().get_params(deep)
        for name in _GROUPS if deep else ():
            with suppress(SettingError):  # fit tells of words that cannot be read
                found |= {f"{name}__{key}": value for key, value in _numbers(name, found[name])[1].items()}
        return found

    def set_params(self, **params: Any) -> Self:
        """Parameters by the names of get_params. A group of numbers, such as a loss, becomes a changed copy.

        Raises:
            ValueError: there is no such parameter, or a number is out of range.
        """
        changes: dict[str, dict[str, Any]] = {}
        for key in list(params):
            name, _, number = key.partition("__")
            if number and name in _GROUPS:
                changes.setdefault(name, {})[number] = params.pop(key)
        super().set_params(**params)
        for name, numbers in changes.items():
            group, known = _numbers(name, getattr(self, name))
            for number in numbers:
                if number not in known:
                    there = f"choose from {', '.join(known)}" if known else f"set {name} to one that has numbers"
                    raise SettingError(f"{name} is {getattr(self, name)!r}, which has no {number!r}: {there}.")
            setattr(self, name, replace(group, **numbers))
        return self

    def evaluate(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None = None,
        offset: ArrayLike | None = None,
        metrics: Sequence[str | Measure] | None = None,
    ) -> dict[str, float]:
        """Average and total loss and metrics (None: those of the estimator) on any rows, such as a set for testing."""
        check_is_fitted(self)
        self._check_offset(offset)
        table, _ = self._training_table(X, self._target_columns(y), sample_weight, offset, reset=False)
        return self.model_.evaluate(table, metrics=self.metrics if metrics is None else metrics)

    def _fit(
        self, X: Any, targets: Columns, sample_weight: Any, validation_data: Any, groups: Any, offset: Any
    ) -> None:
        """Trains from a fresh W, or on from the present one with warm_start."""
        going_on = self._goes_on()
        table, target = self._training_table(X, targets, sample_weight, offset, reset=not going_on)
        by, added = self.valid_by, None if offset is None else table.names[-2]
        if groups is not None:
            table, by = _with_groups(table, groups)
        held_out = self._held_out(validation_data, offset, self.validation)
        start = [TrainingState(engine) for engine in self._engines()] if going_on else []
        self._history: dict[int, list[Epoch]] = {}
        settings = self._settings()
        with self._keeper(settings) as keeper:
            self._train(table, target, settings, held_out, start, by, added, keeper)
        self._states = tuple(
            TrainingState(state.engine if state.best_W is None else best, epoch=state.epoch)
            for state, best in zip(self._states, self._engines(), strict=True)
        )
        if keeper:  # of what was before it went on, too
            folders = keeper.folder.members or [keeper.folder]
            told = [[line for line in read_events(each.path) if line["event"] == "epoch"] for each in folders]
            self._keep_curves([[(line["loss"], line["validation"]) for line in lines] for lines in told])

    def _engines(self) -> list[EngineState]:
        """The engines' states with the W of the model."""
        each = zip(self._states, np.atleast_2d(self.model_.W), strict=True)
        return [replace(state.engine, W=W, average=None) for state, W in each]

    def _keep_curves(self, histories: Sequence[Sequence[tuple[float, Mapping[str, float]]]]) -> None:
        """Losses and scores of epochs, of several networks their means over those that got as far."""
        epochs = [[own[n] for own in histories if n < len(own)] for n in range(max(map(len, histories), default=0))]
        self.loss_curve_ = [float(np.mean([loss for loss, _ in each])) for each in epochs]
        self.validation_scores_ = [mean_scores([scores for _, scores in each]) for each in epochs if each[0][1]]

    def _goes_on(self) -> bool:
        return self.warm_start and hasattr(self, "model_")

    def _partial_fit(
        self, X: Any, targets: Columns, sample_weight: Any, validation_data: Any, offset: Any, first: bool
    ) -> None:
        """One epoch at a constant learning rate; scales and levels are those of the first call."""
        table, target = self._training_table(X, targets, sample_weight, offset, reset=first)
        held_out = self._held_out(validation_data, offset, 0.0)
        start: Sequence[TrainingState] = ()
        if first:
            self._history = {}
        elif validation_data is None:
            start = [TrainingState(state.engine, epoch=state.epoch) for state in self._states]
        else:
            start = [replace(state, seconds=0.0) for state in self._states]
        epochs = 1 + max((state.epoch for state in start), default=0)
        decay = 0.0 if self.weight_decay is None else self.weight_decay  # what the recipe takes is for a whole training
        settings = self._settings(epochs=epochs, schedule="constant", weight_decay=decay)
        self._train(table, target, settings, held_out, start, None, None if offset is None else table.names[-2])

    def _held_out(self, validation_data: Any, offset: Any, fraction: float | None) -> Any:
        """The table of the validation data, or the fraction of the rows where there are none."""
        if validation_data is None:
            return fraction
        X, y, *others = validation_data
        if (offset is None) != (len(others) < 2 or others[1] is None):
            raise ValueError("validation_data is (X, y, sample_weight, offset) where fit has an offset, and only then.")
        return self._training_table(X, self._target_columns(y), *others, reset=False)[0]

    @contextmanager
    def _keeper(self, settings: Settings) -> Iterator[Keeper | None]:
        """What keeps the training in the folder of the run, while that is open."""
        if self.run is None and self.resume:
            raise SettingError("There is nothing to resume without the folder of a run: give it as run.")
        with nullcontext() if self.run is None else RunFolder(self.run, resume=self.resume) as folder:
            yield Keeper(folder, self._asked(settings), self.resume, force=False) if folder else None

    def _asked(self, settings: Settings) -> Configuration:
        """What was chosen; of the table there is only how it is taken."""
        data = ("class_weight", "valid_by", "validation")
        chosen = {item.name: getattr(settings, item.name) for item in fields(settings)}
        if not isinstance(self.random_state, Integral):  # a seed by chance is that of before
            del chosen["seed"]
        return Configuration(
            {name: value for name in data if (value := getattr(self, name)) is not None},
            {name: value for name, value in chosen.items() if value is not None},
        )

    def _train(
        self,
        table: Table,
        target: Target,
        settings: Settings,
        held_out: Any,
        start: Sequence[TrainingState],
        by: str | None = None,
        offset: str | None = None,
        keeper: Keeper | None = None,
    ) -> None:
        """Trains from `start`, or afresh; the last column of the table holds the weights. offset: the column of it."""
        if start:
            self._check_offset(offset)
        encoding = self.model_.encoding if start else None
        if keeper:
            settings = make_settings({"seed": settings.seed, **keeper.asked.settings})
        of_network = [getattr(settings, name) for name in _OF_THE_NETWORK]
        if start:
            settings = replace(settings, members=len(start))
        roles = Roles(
            weight=table.names[-1],
            offset=offset,
            class_weight=self.class_weight,
            validation=held_out,
            test=0.0,
            valid_by=by,
        )
        prepared = prepare(table, target, settings, roles, encoding=encoding)
        if keeper:
            prepared = repeating(prepared, keeper.asked, {}, keeper if self.resume else None)
        recipe = prepared.recipe
        kind = of_network, recipe.network.outputs, type(recipe.optimizer), settings.precision
        if start:
            if kind != self._kind:
                raise ValueError(
                    "Network, scaling, optimizer or precision changed since the last fit: set warm_start=False."
                )
            recipe = with_network(recipe, self.model_.network, self.model_.record.reasons)
            prepared = replace(prepared, recipe=recipe)
        self._kind = kind
        with _report() if self.verbose else nullcontext() as report:
            observers = [self._remember, *(self.callbacks or ()), *([report] if report else [])]
            self.model_, self._states = fit(prepared, settings, start=start, keeper=keeper, observers=observers)
        self.n_epochs_ = max(state.epoch for state in self._states)
        self._keep_curves([[(event.loss, event.scores) for event in own] for own in self._history.values()])

    def _remember(self, event: JobEvent) -> None:
        number, event = (event.number, event.event) if isinstance(event, MemberEvent) else (1, event)
        if isinstance(event, Epoch):
            self._history.setdefault(number, []).append(event)

    def _settings(self, **others: Any) -> Settings:
        """The parameters as settings; what scikit-learn calls random_state and n_jobs is seed and threads elsewhere."""
        chosen = {name: getattr(self, name) for name in Settings.__dataclass_fields__ if hasattr(self, name)}
        state, jobs = self.random_state, self.n_jobs
        seed = int(state) if isinstance(state, Integral) else check_random_state(state).randint(2**31 - 1)
        return Settings(**{**chosen, "seed": seed, "threads": None if jobs is None or jobs < 1 else jobs, **others})

    def _training_table(
        self, X: Any, targets: Columns, sample_weight: Any = None, offset: Any = None, *, reset: bool
    ) -> tuple[Table, Target]:
        """One table of features, target, offset if there is one, and weights, these in the last column."""
        table = _table(self._validated(X, reset))
        for column in targets.values():
            if len(column) != len(table):
                raise ValueError(f"X has {len(table)} rows and y {len(column)}: they must be as many.")
        weights = np.ones(len(table))
        if sample_weight is not None:
            weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
            if not weights.any():
                raise ValueError("All sample weights are zero: at least one must be above.")
        names = _free_names(list(targets), table.names)
        others = {_WEIGHT: from_numpy(weights)}
        if offset is not None:
            others = {_OFFSET: _offset_column(offset, len(table)), **others}
        free = _free_names(list(others), [*table.names, *names])
        columns = [*table.data.columns, *targets.values(), *others.values()]
        data = pa.table(columns, names=[*table.names, *names, *free])
        return replace(table, held=data), self._target(names)

    def _validated(self, X: Any, reset: bool) -> Any:
        """X checked as scikit-learn does: a frame keeps its columns and their kinds, all else becomes a float array."""
        if reset and _is_plain(X, 2, "df"):  # then this is all that validate_data does
            self.n_features_in_ = X.shape[1]
            self.__dict__.pop("feature_names_in_", None)
            return X
        if hasattr(X, "columns") or hasattr(X, "column_names"):
            validate_data(self, X, reset=reset, skip_check_array=True)
            return X
        return validate_data(
            self,
            X,
            reset=reset,
            accept_sparse="csr",
            dtype=[np.float64, np.float32],
            ensure_all_finite="allow-nan",
            ensure_min_samples=2 if reset else 1,
        )

    def spread(self, X: Any, offset: ArrayLike | None = None) -> NDArray[np.float64]:
        """The standard deviation between the members, [N] or [N, K] as of schuss.Model.spread.

        offset: [N], where fit had one.
        """
        return self.model_.spread_of(self._member_outputs(X, offset))

    def _outputs(self, X: Any, offset: Any) -> Matrix:
        """Outputs before the link, [N, K]."""
        outputs = self._member_outputs(X, offset)
        return self.model_.average(outputs)

    def _member_outputs(self, X: Any, offset: Any) -> Outputs:
        """Outputs of each member before the link, [N, members, K]."""
        check_is_fitted(self)
        table, known = _table(self._validated(X, reset=False)), self._check_offset(offset)
        if known:
            columns = [*table.data.columns, _offset_column(offset, len(table))]
            table = replace(table, held=pa.table(columns, names=[*table.names, known.name]))
        parts = table.windows(self.model_.encoding.features) if isinstance(table, SparseTable) else [table]
        return np.concatenate([block for part in parts for block in self.model_.member_blocks(part)])

    def _check_offset(self, offset: Any) -> Offset | None:
        """That of the model; where there is one, there must be one now."""
        known = self.model_.encoding.schema.offset
        if (offset is None) == (known is not None):
            raise ValueError(f"fit was called {'with' if known else 'without'} an offset: do so here too.")
        return known

    def _target_columns(self, y: Any) -> Columns:
        """Y, checked, as columns of a table."""
        raise NotImplementedError

    def _target(self, names: tuple[str, ...]) -> Target:
        """What is predicted."""
        raise NotImplementedError

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.sparse = True
        return tags


class SchussRegressor(RegressorMixin, _SchussEstimator):  # type: ignore[misc]
    """Predicts one number, or several, with a network.

    Every parameter left at None is decided by the recipe from the table; `model_.record.reasons` says why. The
    numbers of a loss, optimizer, schedule … are parameters too: of "huber" set_params(loss__delta=2).

    Arguments:
        hidden: widths of the hidden layers, or a list of widths, schuss.Dense, LayerNorm, Dropout and Residual; () is
            linear regression.
        effort: how much time to spend on what is left to the recipe: "fast" (one small network), "standard", or
            "thorough" (more networks and epochs).
        activation: of the hidden layers that have none of their own: identity, relu, leaky_relu, tanh, sigmoid, gelu,
            silu, selu, mish or softplus.
        numeric: what numbers become: standard, robust, quantile or "piecewise(bins=64)", see schuss.numeric.
        embedding: numbers that stand for a level of a categorical column that has more levels; 0 for one-hot levels.
        loss: squared_error, absolute_error, huber(delta), quantile(levels), gaussian, poisson, gamma or tweedie(power),
            as a name, in words such as "huber(delta=2)", or as a typed group such as schuss.losses.Huber(2.0).
        optimizer: a name (gradient_descent, momentum, nesterov, adagrad, rmsprop, adam, adamw, nadam, lion, lbfgs), a
            typed group such as schuss.Adam(beta1=0.8), or any object with step(W, gradient, learning_rate, t) in place.
        learning_rate: α, above 0.
        schedule: constant, step, exponential, polynomial, cosine, one_cycle, coslog4 or plateau; with numbers in words
            such as "cosine(cycles=3, warmup=0.05)", or a typed group such as schuss.Cosine(final=0.1).
        averaging: none, ema or swa, or schuss.EMA(decay=0.99): an average of W is validated and kept in its place.
        l1: λ of the penalty λ Σ |weight| in the cost. l2: λ of ½ λ ‖weights‖².
        weight_decay: decoupled decay, per unit of learning rate.
        dropout: probability with which a step leaves out each unit of hidden layers given as widths, below 1; never in
            predictions.
        clip_value: limit ± of each component of a step's gradient; None for none.
        clip_norm: norm to which a longer gradient of a step is scaled down; None for none.
        members: networks that are trained, each validated on other rows, and whose predictions are averaged; `spread`
            tells how far they differ.
        batch_size: rows a step looks at; as many as there are rows is full-batch descent.
        epochs: passes over the rows, at most. seconds: time, at most.
        validation: fraction of the rows by which the best W is chosen; 0 for none; None takes a tenth of 100 rows or
            more, and none for a linear network. fit(validation_data=(X, y)) takes its place.
        steps: at most.
        valid_by: "group:COLUMN" or "time:COLUMN" of a DataFrame X, which is then no feature: the validation rows are
            whole groups, or the latest rows (see schuss.train). fit(groups=…) takes its place.
        patience: epochs without a better validation score after which training stops.
        metrics: what validation_scores_ tell beside the loss, such as ["rmse", "mae"] or a schuss.Metric.
        metric: the validation score that decides which W is best and when to stop.
        min_improvement: by how much it must become better for patience to go on. target_score: at which training stops.
        retries: times that training goes on with a tenth of the learning rate after it diverged.
        checkpoint_seconds: between two checkpoints of a run folder; checkpoints: how many stay.
        random_state: int for the same W every time.
        n_jobs: threads at most; None or -1 for all that the process may use. How many are worth it is measured, and W
            does not depend on it.
        precision: float32; bf16 for products in bf16 with sums and W in float32, where the processor has it; auto for
            bf16 where a trial on the first steps finds its gradients close enough; float64 for the slow NumPy engine.
        memory: for the encoded rows, such as "2GB"; more of them are read from a packed copy on disk. None for half of
            what is free. Of a large sparse matrix 32 MiB of rows, or one batch, are dense at a time.
        class_weight: of a SchussClassifier: "balanced", or a factor for each class, which the weights of its rows are
            multiplied with in training; balanced is N / (classes · N of the class).
        callbacks: called with every event of training (see observers of schuss.train); they only look. What one of them
            raises ends the fit.
        run: a folder for what happens in one fit: configuration, events, checkpoints, the best model so far; of
            partial_fit it keeps nothing. resume: fit goes on from the last checkpoint in that folder, on the same rows,
            as if it had never been ended.
        verbose: whether to show progress.
        warm_start: whether fit goes on from the present W.

    Attributes:
        model_: the schuss.Model: save it, look at its W. n_epochs_: taken. loss_curve_: mean loss of each epoch.
        validation_scores_: scores after each epoch; partial_fit adds to both. Of several members they are the means.
        n_features_in_, feature_names_in_: as everywhere.

    >>> X, y = [[0.0], [1.0], [2.0], [3.0]], [1.0, 3.0, 5.0, 7.0]
    >>> SchussRegressor(hidden=(), epochs=500, learning_rate=0.1, random_state=0).fit(X, y).predict([[4.0]]).round(1)
    array([9.])
    """

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None = None,
        validation_data: tuple[Any, ...] | None = None,
        groups: ArrayLike | None = None,
        offset: ArrayLike | None = None,
    ) -> Self:
        """Trains a network.

        Arguments:
            X: array or SciPy sparse matrix [N, F] (NaN is missing, what is not stored is 0), or a DataFrame with
                numeric, boolean and categorical columns.
            y: [N], or [N, T] for several numbers.
            sample_weight: [N], at least 0.
            validation_data: (X, y), (X, y, sample_weight) or (X, y, sample_weight, offset), scored after every epoch:
                the best W is chosen by it. It is one set, for only one can decide; `evaluate` scores any other.
            groups: [N] of which each is for training or for validation as a whole.
            offset: [N] added to the output before the link; in the units of y, with poisson, gamma and tweedie in
                those of its logarithm.
        """
        self._fit(X, self._target_columns(y), sample_weight, validation_data, groups, offset)
        return self

    def partial_fit(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None = None,
        validation_data: tuple[Any, ...] | None = None,
        offset: ArrayLike | None = None,
    ) -> Self:
        """One more epoch, over these rows; arguments as in fit.

        validation_data: the same in every call. Each call goes on from the W of the last one, model_ has the best W of
            these calls, and model_.record.outcome is "early_stopped" when `patience` calls were no better.
        """
        first = not hasattr(self, "model_")
        self._partial_fit(X, self._target_columns(y), sample_weight, validation_data, offset, first)
        return self

    def score(self, X: Any, y: Any, sample_weight: ArrayLike | None = None, offset: ArrayLike | None = None) -> float:
        """R² of the predictions. offset: [N], where fit had one."""
        return float(r2_score(y, self.predict(X, offset=offset), sample_weight=sample_weight))

    def predict(self, X: Any, return_std: bool = False, offset: ArrayLike | None = None) -> Any:
        """Predictions in the units of y: [N], or [N, T] where y had several columns, [N, levels] of several quantiles.

        They are an array, of a frame too, as everywhere in scikit-learn: pd.Series(…, X.index) gives them its index.

        return_std: after the loss gaussian, also the standard deviation around each prediction, [N].
        offset: [N], where fit had one.
        """
        outputs = self._outputs(X, offset)
        predicted = np.asarray(self.model_.meaning(outputs), np.float64)
        return (predicted, self.model_.deviation(outputs)) if return_std else predicted

    def _target_columns(self, y: Any) -> Columns:
        if y is None:
            raise ValueError(_NO_Y.format(type(self).__name__))
        values = y
        if not _is_plain(y, 1, "d"):
            values = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y", estimator=self)
        if values.ndim == 2 and values.shape[1] == 1:
            values = column_or_1d(values, warn=True)
        if values.ndim == 1:
            return {"y": from_numpy(np.ascontiguousarray(values))}
        return {f"y{i}": from_numpy(np.ascontiguousarray(values[:, i])) for i in range(values.shape[1])}

    def _target(self, names: tuple[str, ...]) -> Target:
        reason = "you asked for it" if len(names) == 1 else f"{len(names)} targets"
        loss = loss_named(self.loss or "squared_error")
        check_use(loss, "regression", len(names))
        return Target(names, "regression", reason, "float", support=loss.support)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class SchussClassifier(ClassifierMixin, _SchussEstimator):  # type: ignore[misc]
    """Predicts a class, and the probability of each, with a network.

    Parameters and attributes as in SchussRegressor (hidden=() is logistic regression; loss: log_loss(smoothing) for two
    classes, cross_entropy(smoothing), focal(gamma)), and

    Attributes:
        classes_: the labels, in the order of predict_proba's columns; of a matrix of labels the numbers of its columns.

    >>> X, y = [[0.0], [1.0], [2.0], [3.0]], ["low", "low", "high", "high"]
    >>> SchussClassifier(hidden=(), epochs=200, learning_rate=0.1, random_state=0).fit(X, y).predict([[4.0]])
    array(['high'], dtype='<U4')
    """

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None = None,
        validation_data: tuple[Any, ...] | None = None,
        groups: ArrayLike | None = None,
        offset: ArrayLike | None = None,
    ) -> Self:
        """Trains a network.

        Arguments:
            X: array or SciPy sparse matrix [N, F] (NaN is missing, what is not stored is 0), or a DataFrame with
                numeric, boolean and categorical columns.
            y: [N] labels: text, numbers or booleans; or [N, T], 1 where a row has label t, else 0.
            sample_weight: [N], at least 0.
            validation_data: (X, y), (X, y, sample_weight) or (X, y, sample_weight, offset), scored after every epoch:
                the best W is chosen by it. It is one set, for only one can decide; `evaluate` scores any other.
            groups: [N] of which each is for training or for validation as a whole.
            offset: [N] added to the output before the link; with log_loss.
        """
        if self._goes_on():
            targets = self._target_columns(y)
        else:
            labels = self._checked(y)
            self.classes_, targets = _distinct(labels), _column(labels)
        self._fit(X, targets, sample_weight, validation_data, groups, offset)
        return self

    def partial_fit(
        self,
        X: Any,
        y: Any,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        validation_data: tuple[Any, ...] | None = None,
        offset: ArrayLike | None = None,
    ) -> Self:
        """One more epoch, as in SchussRegressor. classes: all labels, wanted in the first call unless y holds them."""
        first = not hasattr(self, "model_")
        if first:
            self.classes_ = _distinct(self._checked(y if classes is None else classes))
        self._partial_fit(X, self._target_columns(y), sample_weight, validation_data, offset, first)
        return self

    def score(self, X: Any, y: Any, sample_weight: ArrayLike | None = None, offset: ArrayLike | None = None) -> float:
        """The share of rows whose label, or labels, are predicted. offset: [N], where fit had one."""
        return float(accuracy_score(y, self.predict(X, offset=offset), sample_weight=sample_weight))

    def predict(self, X: Any, offset: ArrayLike | None = None) -> NDArray[Any]:
        """The most probable label of each row, [N], or of a matrix of labels [N, T]. offset: [N], where fit had one."""
        probabilities = self.predict_proba(X, offset)
        if self.model_.encoding.schema.target.task == "multilabel":
            return np.asarray(probabilities > 0.5, np.int64)
        return np.asarray(self.classes_[probabilities.argmax(axis=1)])

    def predict_proba(self, X: Any, offset: ArrayLike | None = None) -> NDArray[np.float64]:
        """The probability of each class, [N, classes], where rows sum to 1, or of each of several labels, [N, T].

        offset: [N], where fit had one.
        """
        outputs = self._outputs(X, offset)
        return np.asarray(self.model_.probabilities(outputs))

    def _checked(self, y: Any) -> NDArray[Any]:
        """[N] labels, or [N, T] of 0 and 1."""
        if y is None:
            raise ValueError(_NO_Y.format(type(self).__name__))
        if _is_plain(y, 1, "?bhilqBHILQfd"):
            return np.asarray(y)
        labels = check_array(y, ensure_2d=False, dtype=None, input_name="y", ensure_min_samples=0)
        if labels.ndim == 2 and type_of_target(labels) == "multilabel-indicator":
            return np.asarray(labels)
        return np.asarray(column_or_1d(labels, warn=True))

    def _target_columns(self, y: Any) -> Columns:
        labels = self._checked(y)
        if labels.ndim == 2:
            return _column(labels)
        unknown = ~np.isin(labels, self.classes_)
        if unknown.any():
            raise ValueError(f"y holds {labels[unknown][0]!r}, which is none of the classes {list(self.classes_)}.")
        return _column(labels)

    def _target(self, names: tuple[str, ...]) -> Target:
        if len(names) > 1:
            check_use(loss_named(self.loss or "log_loss"), "multilabel", len(names))
            return Target(names, "multilabel", f"{len(names)} labels", "integer")
        classes = tuple(self.classes_.tolist())
        kind: Any = {"b": "boolean", "i": "integer", "u": "integer", "f": "float"}.get(self.classes_.dtype.kind, "text")
        task: Any = "binary" if len(classes) == 2 else "multiclass"
        if self.loss is not None:
            check_use(loss_named(self.loss), task, 1)
        return Target(names, task, f"{len(classes)} classes", kind, classes)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


def _numbers(name: str, choice: Any) -> tuple[Any, dict[str, Any]]:
    """The group that a parameter is, or names, and its numbers: none of what is no group. Raises SettingError."""
    group = _GROUPS[name](choice) if isinstance(choice, str) else choice
    if not is_dataclass(group) or isinstance(group, type):
        return group, {}
    return group, {item.name: getattr(group, item.name) for item in fields(group) if item.init}


def _table(X: Any) -> Table:
    """A frame, an array, or a csr matrix, as a table."""
    if not hasattr(X, "indptr"):
        return read_table(X)
    if not X.has_canonical_format:  # cells that are stored twice are to be added up
        X = X.copy()
        X.sum_duplicates()
    return SparseTable("sparse matrix", pa.table({}), matrix=X)


def _with_groups(table: Table, groups: Any) -> tuple[Table, str]:
    """The table with the groups [N] of its rows as one more column, before that of the weights."""
    values = np.asarray(column_or_1d(groups))
    if len(values) != len(table):
        raise ValueError(f"X has {len(table)} rows and groups {len(values)}: they must be as many.")
    (name,) = _free_names(["groups"], table.names)
    distinct, places = np.unique(values, return_inverse=True)  # whatever they are, numbers stand for them
    if distinct.dtype.kind == "f" and np.isnan(distinct).any():
        raise ValueError("groups contains NaN: give every row a group.")
    data = table.data
    return replace(table, held=data.add_column(data.num_columns - 1, name, from_numpy(places))), f"group:{name}"


def _offset_column(offset: Any, count: int) -> pa.Array:
    """Offsets, checked, as a column."""
    values = column_or_1d(offset, dtype=np.float64)
    if len(values) != count or not np.isfinite(values).all():
        raise ValueError(f"offset has {len(values)} values for {count} rows: give one finite number for each.")
    return from_numpy(np.ascontiguousarray(values))


def _report() -> Any:
    """Words and a bar; they are imported by those who look, for it takes as long as many small fits."""
    from schuss.progress import Progress

    return Progress()


def _is_plain(values: Any, axes: int, types: str) -> bool:
    """Whether scikit-learn's checks, which take as long as all others, would pass an array on as it is.

    It has so many axes, two rows or more, one of the types (characters of NumPy), and is finite.
    """
    if type(values) is not np.ndarray or values.ndim != axes or values.size < 2 or len(values) < 2:
        return False
    return values.dtype.char in types and values.dtype.isnative and bool(np.isfinite(values).all())


def _distinct(labels: NDArray[Any]) -> NDArray[Any]:
    """The distinct labels, ascending; of a matrix the numbers of its columns."""
    if labels.ndim == 2:
        return np.arange(labels.shape[1])
    if labels.dtype.kind not in "biu":  # these are labels in any case
        check_classification_targets(labels)
    return np.asarray(np.unique(labels))


def _column(labels: NDArray[Any]) -> Columns:
    """Labels [N] as a column, or [N, T] as several."""
    if labels.ndim == 2:
        return {f"y{i}": from_numpy(labels[:, i].astype(np.int64)) for i in range(labels.shape[1])}
    if labels.dtype.kind in "if":
        return {"y": from_numpy(labels.astype(np.int64 if labels.dtype.kind == "i" else np.float64))}
    return {"y": pa.array(labels.tolist())}


def _free_names(names: list[str], taken: list[str]) -> tuple[str, ...]:
    """The names, with underscores behind them as long as a feature is called the same."""
    while set(names) & set(taken):
        names = [f"{name}_" for name in names]
    return tuple(names)
