"""Predictions of a whole table, written to a file."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from schuss.errors import SettingError
from schuss.files import STORAGE, Storage, replacing
from schuss.model.model import Model
from schuss.table.table import Table


def write_predictions(
    model: Model, table: Table, path: Path, probabilities: bool = False, storage: Storage = STORAGE
) -> None:
    """Writes one row for each row of the table, in order: the prediction, under the target's name.

    Arguments:
        path: .csv or .parquet; the ending decides.
        probabilities: adds "probability of CLASS" for each class.

    Raises:
        SettingError: the ending is another, or probabilities are asked of a regression.
        OutputError: the file cannot be written.
    """
    if path.suffix not in (".csv", ".parquet"):
        raise SettingError(f"{path}: predictions are written as .csv or .parquet; end the name with one of them.")
    outputs = model.outputs(table)
    predicted = model.encoding.decode(outputs)
    names = model.encoding.schema.target.names
    columns = {name: _column(predicted, number) for number, name in enumerate(names)}
    if probabilities:
        shares = model.probabilities(outputs)
        columns |= {f"probability of {label}": pa.array(shares[:, i]) for i, label in enumerate(model.classes)}
    with replacing(path, storage) as file:
        if path.suffix == ".csv":
            pyarrow.csv.write_csv(pa.table(columns), pa.PythonFile(file, mode="w"))
        else:
            pyarrow.parquet.write_table(pa.table(columns), pa.PythonFile(file, mode="w"))


def _column(predicted: NDArray[np.generic], number: int) -> pa.Array:
    return pa.array(predicted if predicted.ndim == 1 else predicted[:, number])
