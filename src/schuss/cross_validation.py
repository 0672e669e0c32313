"""Cross-validation: every row is predicted by a model that did not see it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from schuss.errors import SettingError
from schuss.files import STORAGE, Storage, replacing
from schuss.job import Fold, Observer, fit
from schuss.model.model import Model, Record
from schuss.model.predictions import column_names
from schuss.preparing import loss_of, make_settings, memory_of, names_of, prepare_parts, told_apart
from schuss.table.delimited import TableFormat
from schuss.table.memory import memory_for
from schuss.table.order import TEST
from schuss.table.parts import Parts
from schuss.table.schema import find_target
from schuss.table.source import read_table

MOST_FOLDS = 100


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """What cross-validation found.

    columns:     the names of the columns of a prediction.
    scores:      of each fold, on the rows that its model did not see.
    best_epochs: of each fold, the epoch whose W was kept; 0 for the last.
    fold:        [N] which fold a row was held out in, from 0; −1 for none.
    predictions: [N], or [N, …] of several targets or quantiles: of each row by the model of its fold, in the
        target's type and units; NaN or None where there is none.
    """

    columns: tuple[str, ...]
    scores: tuple[dict[str, float], ...]
    best_epochs: tuple[int, ...]
    fold: NDArray[np.int8]
    predictions: NDArray[Any]

    @property
    def mean(self) -> dict[str, float]:
        """The mean of each score over the folds."""
        return {name: float(np.mean([each[name] for each in self.scores])) for name in self.scores[0]}

    @property
    def deviation(self) -> dict[str, float]:
        """The standard deviation of each score between folds (n − 1)."""
        return {name: float(np.std([each[name] for each in self.scores], ddof=1)) for name in self.scores[0]}

    def save(self, path: Path, storage: Storage = STORAGE) -> None:
        """Writes one row for each row of the table, in order: the prediction under the target's name, and the fold.

        Raises:
            SettingError: the ending is neither .csv nor .parquet.
            OutputError: the file cannot be written.
        """
        check_ending(path)
        columns = dict(zip(self.columns, self.predictions.reshape(len(self.fold), -1).T, strict=True))
        columns["fold" if "fold" not in columns else "fold_"] = self.fold
        table = pa.table({name: _known(values, self.fold >= 0) for name, values in columns.items()})
        with replacing(path, storage) as file, pa.PythonFile(file, mode="w") as sink:
            (pyarrow.csv.write_csv if path.suffix == ".csv" else pyarrow.parquet.write_table)(table, sink)


def _known(values: NDArray[Any], known: NDArray[np.bool_]) -> pa.Array:
    """The values, null where they are not known."""
    return pa.array([value if own else None for value, own in zip(values.tolist(), known, strict=True)])


def with_scores(record: Record, found: CrossValidation) -> Record:
    """The record of a model that was trained as those of the folds were, with what cross-validation found."""
    told = {"cross-validation": found.mean, "deviation between folds": found.deviation}
    finite = {
        part: {name: value if np.isfinite(value) else None for name, value in scores.items()}
        for part, scores in told.items()
    }
    return replace(record, scores={**record.scores, **finite})


def check_ending(path: Path) -> None:
    """Raises SettingError where predictions cannot be written to such a file."""
    if path.suffix not in (".csv", ".parquet"):
        raise SettingError(f"{path}: predictions are written as .csv or .parquet; end the name with one of them.")


def cross_validate(
    table: object,
    target: str | int | Sequence[str],
    *,
    folds: int = 5,
    observers: Iterable[Observer] = (),
    interrupted: Callable[[], bool] = lambda: False,
    **others: Any,
) -> CrossValidation:
    """Trains a network for each fold, on the rows of the others, and scores it on the rows that it did not see.

    Rows are dealt to folds by a hash of (seed, row number), balanced over classes, the same for any cut of the files.
    With valid_by="group:…" each group is in one fold. With "time:…" rows are cut into folds + 1 stretches, and each but
    the first is predicted from those before it. Columns, levels and scales are learned from the training rows of each
    fold alone, and its validation rows, by which W is chosen, are taken from among them. No model is kept: train one on
    all rows. The predictions take 8 bytes for each row and target; the table is read once where it fits into memory.

    Arguments:
        folds: from 2 to 100.
        observers: called with a Fold after each.
        interrupted: asked as in schuss.train; True ends it with a KeyboardInterrupt.
        others: as in schuss.train.

    Raises:
        DataError, EngineError, DivergedError: as schuss.train.
        SettingError: a setting is out of range, or there are too few rows, groups or times.

    >>> table = {"x": [float(x) for x in range(20)], "y": [2.0 * x + 0.5 for x in range(20)]}
    >>> found = cross_validate(table, "y", folds=4, hidden=(), epochs=1)
    >>> len(found.scores), found.fold.tolist().count(0)
    (4, 5)
    """
    if isinstance(folds, bool) or not isinstance(folds, int) or not 2 <= folds <= MOST_FOLDS:
        raise SettingError(f"folds is {folds!r}: give a whole number from 2 to {MOST_FOLDS}.")
    roles, settings = told_apart(others)
    if roles.test is not None:
        raise SettingError("test has no meaning here: each row is tested in its fold.")
    chosen, watch = make_settings(settings), tuple(observers)
    names, loss = names_of(target), loss_of(chosen)
    roles.check(loss, len(names))
    read = read_table(table, roles.format or TableFormat(), memory=memory_for(table, memory_of(chosen)))
    aim = find_target(read, names, roles.task, loss)
    parts = Parts(read, aim, roles.weight, roles.by)
    if parts.usable < 2 * folds:
        raise SettingError(f"{read.name}: {parts.usable:,} rows are too few for {folds} folds.")
    parts.deal_folds(chosen.seed, folds)
    scores, best = [], []
    of_row, predictions = np.full(len(read), -1, np.int8), np.empty(0)
    nothing: Any = (None, object) if aim.classes or aim.task == "multilabel" else (np.nan, np.float64)
    for fold in range(folds):
        parts.hold_out(fold)
        prepared = prepare_parts(parts, aim, chosen, replace(roles, test=0.0))
        model, _ = fit(prepared, chosen, interrupted=interrupted)
        if interrupted():
            raise KeyboardInterrupt
        rows, values = parts.rows(TEST), _predictions(model, parts)
        if not fold:
            predictions = np.full((len(read), *values.shape[1:]), *nothing)
        of_row[rows], predictions[rows] = fold, values
        found = {name: np.nan if value is None else value for name, value in model.record.scores["test"].items()}
        scores.append(found)
        best.append(model.record.best_epoch)
        for observer in watch:
            observer(Fold(fold + 1, folds, found))
    if (of_row >= 0).all() and nothing[1] is object:
        predictions = np.array(predictions.tolist())  # as Model.predict gives them
    return CrossValidation(tuple(column_names(model)), tuple(scores), tuple(best), of_row, predictions)


def _predictions(model: Model, parts: Parts) -> NDArray[Any]:
    """Of the rows that are held out, [n] or [n, T]."""
    encoded = (model.encoding.encode(block, rows, target=False) for block, rows in parts.blocks(TEST))
    return np.concatenate([model.meaning(model.outputs_of(rows)) for rows in encoded])
