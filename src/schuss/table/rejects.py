"""Ragged rows that are left out of a table, and the file that they are written to."""

import contextlib
import csv
import io
import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.csv as arrow_csv

from schuss.errors import OutputError
from schuss.files import STORAGE, Storage, replacing

_HEADER = ["file", "line", "values", "columns", "row"]


class Reject(NamedTuple):
    """A ragged row: its first line, how many lines and values it has, and all of it as it stands."""

    line: int
    lines: int
    values: int
    text: str


class Rejects:
    """The ragged rows of one text file: where they stood, and the writer that they are handed to.

    spans: the first line of each and how many lines it takes, in their order.
    """

    def __init__(self, address: str, columns: int, writer: "Writer") -> None:
        self.spans: list[tuple[int, int]] = []
        self._address, self._columns, self._writer = address, columns, writer
        self._last = -1

    def take(self, start: int, rows: Iterable[Reject]) -> None:
        """Takes those of the piece that begins at byte `start`, unless they were taken when it was read before."""
        if start > self._last:
            self._last = start
            for row in rows:
                self.spans.append((row.line, row.lines))
                self._writer.write([self._address, row.line, row.values, self._columns, row.text])


class Writer:
    """Writes rejected rows of whatever file, as CSV."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.write(_HEADER)

    def write(self, values: Collection[object]) -> None:
        """One line."""
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(values)
        self._file.write(line.getvalue().encode())


@contextlib.contextmanager
def rejects_file(
    path: str | os.PathLike[str] | None, addresses: Collection[str], storage: Storage = STORAGE
) -> Iterator[Writer | None]:
    """What writes the rejected rows of the files at `addresses`; None where there is no path.

    Rows of other files that stand there already, such as those of the table that came before the validation rows, stay.

    Raises:
        OutputError: the file cannot be written, or holds something else.
    """
    if path is None:
        yield None
        return
    with replacing(path, storage) as file:
        writer = Writer(file)
        for row in _rows(Path(path)):
            if row["file"] not in addresses:
                writer.write(row.values())
        yield writer


def _rows(path: Path) -> list[dict[str, str]]:
    """What a file of rejected rows holds, which need not be there."""
    if not path.exists() or not (size := path.stat().st_size):
        return []
    with path.open("rb") as file:
        if file.readline() != ",".join(_HEADER).encode() + b"\n":
            raise OutputError(f"{path} is there already and holds no rejected rows: give another name.")
    table = arrow_csv.read_csv(
        path,
        read_options=arrow_csv.ReadOptions(block_size=size),
        parse_options=arrow_csv.ParseOptions(newlines_in_values=True),
        convert_options=arrow_csv.ConvertOptions(column_types=dict.fromkeys(_HEADER, pa.string())),
    )
    rows: list[dict[str, str]] = table.to_pylist()
    return rows
