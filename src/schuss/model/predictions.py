"""Predictions of a table of any size, written to a file block by block."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from schuss.arrays import Outputs
from schuss.errors import SettingError
from schuss.files import STORAGE, Storage, replacing
from schuss.losses import Gaussian, Quantile
from schuss.model.model import Model
from schuss.table.table import Table

_GROUP_ROWS = 65_536  # that are written together, a row group of Parquet


def write_predictions(
    model: Model,
    table: Table,
    path: Path,
    probabilities: bool = False,
    storage: Storage = STORAGE,
    *,
    spread: bool = False,
) -> None:
    """Writes one row for each row of the table, in order: the prediction, under the target's name.

    Of several quantiles each is "NAME at LEVEL"; after the loss gaussian there is "spread of NAME" too.

    Arguments:
        table: from `read_for`; what it holds in memory is all that grows with its rows.
        path: .csv or .parquet; the ending decides.
        probabilities: adds "probability of CLASS" for each class.
        spread: adds the standard deviation between the members of an ensemble, as "members' spread of NAME" for each
            number that is predicted, or for the probability of each CLASS.

    Raises:
        SettingError: the ending is another, probabilities are asked of a regression, or a spread of a single network.
        DataError: a column is missing or of another kind.
        OutputError: the file cannot be written.
    """
    if path.suffix not in (".csv", ".parquet"):
        raise SettingError(f"{path}: predictions are written as .csv or .parquet; end the name with one of them.")
    groups = (_columns(model, outputs, probabilities, spread) for outputs in _groups(model.member_blocks(table)))
    first = next(groups)
    with replacing(path, storage) as file, pa.PythonFile(file, mode="w") as sink:
        if path.suffix == ".csv":
            writer = pyarrow.csv.CSVWriter(sink, first.schema)
        else:
            repeated = list(model.encoding.schema.target.names) if model.classes else False  # labels, and nothing else
            writer = pyarrow.parquet.ParquetWriter(sink, first.schema, use_dictionary=repeated)
        with writer:
            writer.write(first)
            for group in groups:
                writer.write(group)


def column_names(model: Model) -> list[str]:
    """How the columns of a prediction are called."""
    names = list(model.encoding.schema.target.names)
    if isinstance(model.loss, Quantile) and len(model.loss.levels) > 1:
        return [f"{names[0]} at {level:g}" for level in model.loss.levels]
    return names


def _groups(blocks: Iterable[Outputs]) -> Iterator[Outputs]:
    """Outputs of as many rows each, the last fewer, however the blocks were cut."""
    held: list[Outputs] = []
    room = _GROUP_ROWS
    for block in blocks:
        while len(block) >= room:
            yield np.concatenate([*held, block[:room]])
            block, held, room = block[room:], [], _GROUP_ROWS
        held.append(block)
        room -= len(block)
    if room < _GROUP_ROWS:
        yield np.concatenate(held)


def _columns(model: Model, by_member: Outputs, probabilities: bool, spread: bool) -> pa.Table:
    """The columns of the file for some rows, from their outputs [n, members, K]."""
    outputs = model.average(by_member)
    predicted, names = model.meaning(outputs), column_names(model)
    columns = dict(zip(names, predicted.reshape(len(predicted), -1).T, strict=True))
    if isinstance(model.loss, Gaussian):
        columns[f"spread of {names[0]}"] = model.deviation(outputs)
    if probabilities:
        shares = model.probabilities(outputs)
        columns |= {f"probability of {label}": shares[:, i] for i, label in enumerate(model.classes or names)}
    if spread:
        each = model.spread_of(by_member)
        told = zip(model.classes or names, each.reshape(len(each), -1).T, strict=True)
        columns |= {f"members' spread of {label}": values for label, values in told}
    return pa.table(columns)
