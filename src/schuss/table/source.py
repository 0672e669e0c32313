"""Any source becomes a Table.

A source is read in pieces. Kinds of columns come from all rows of all files: each piece tells its own, and what
contradicts the others is read again. Nothing is told from a first part, nothing wraps, and a column of text keeps its
values as they were written.
"""

import warnings
from collections.abc import Collection, Sequence

import numpy as np

from schuss.errors import SourceError
from schuss.table.columns import ahead
from schuss.table.delimited import TableFormat
from schuss.table.formats import open_file
from schuss.table.objects import from_matrix, from_memory, from_tables, gives_tables
from schuss.table.paths import File, files_in
from schuss.table.pieces import Memory, Part, Source
from schuss.table.rejects import rejects_file
from schuss.table.table import Table
from schuss.table.union import read_part, union


def read_table(
    source: object,
    format: TableFormat = TableFormat(),  # noqa: B008
    *,
    text: Collection[str] = (),
    only: Collection[str] | None = None,
    memory: int | None = None,
) -> Table:
    """Reads a table from files or from memory.

    Arguments:
        source: a path or a list of paths (.csv .tsv .txt .data, each also with .gz or .zst; .parquet; .arrow .feather
            .ipc; a pipe of text), a glob pattern, a folder of such files (its folders named key=value make columns),
            the same as an address that pyarrow's file systems know (s3://bucket/x.parquet, gs://, abfs://, hdfs://),
            an Arrow table or whatever offers Arrow's stream interface, a pandas or polars DataFrame, a NumPy array
            [N, F], a dict of columns, or an iterable of any of the latter, which is gone through once and spooled.
        format: how text files are read.
        text: columns to keep as text exactly as written, such as those that a model knows as categories
            ("01" is then not taken for a number); names that do not occur are passed over.
        only: the columns that are wanted, where they occur: what others hold does not matter. None wants all.
        memory: how many bytes of columns stay in memory. What is beyond lies in temporary files, or, where the source
            is Parquet or Arrow, is read again by `Table.blocks`. None keeps all.

    Raises:
        SourceError: a file is missing, unreadable, empty, damaged or of another kind.
        ColumnError: a name is doubled or missing, the files differ, or a type cannot be used.
        OutputError: there is no room for the temporary files, or rejected rows cannot be written.

    >>> read_table({"size": [1, 2, None]}).data["size"].null_count
    1
    """
    if isinstance(source, Table):
        return source
    if (files := files_in(source)) is not None:
        return _read_files(files, format, text, only, memory)
    if (
        type(source) is np.ndarray
        and source.dtype.kind == "f"
        and source.ndim == 2
        and source.size
        and not (only or text)
    ):
        return from_matrix(source)
    if gives_tables(source):
        return from_tables(source, text, only, memory)
    name, data, notes = from_memory(source, only)
    names = data.column_names
    given = Source(name, names, lambda wanted, *_: iter([data if len(wanted) == len(names) else data.select(wanted)]))
    return union([read_part(given, text, only, Memory(None))], notes, Memory(None))


def _read_files(
    files: Sequence[File],
    format: TableFormat,
    text: Collection[str],
    only: Collection[str] | None,
    allowed: int | None,
) -> Table:
    """All files as one table."""
    memory = Memory(allowed)
    with (
        warnings.catch_warnings(),  # a thread for each file silences those of Arrow: here they all come back
        rejects_file(format.rejects, [file.address for file in files]) as writer,
    ):

        def read(file: File) -> Part:
            return _not_ragged(read_part(open_file(file, format, writer), text, only, memory))

        parts = list(map(read, files) if writer else ahead(read, files))  # rejects are written in their order
        notes = [f"{len(parts):,} files"] if len(parts) > 1 else []
        if rejected := sum(_rejected(part) for part in parts):
            rows = "row" if rejected == 1 else "rows"
            notes.append(f"{rejected:,} ragged {rows} left out, see {format.rejects}")
        return union(parts, notes, memory)


def _rejected(part: Part) -> int:
    """How many ragged rows were left out."""
    return len(part.source.rejects.spans) if part.source.rejects else 0


def _not_ragged(part: Part) -> Part:
    """A part, unless most of its rows were left out."""
    rejected = _rejected(part)
    if rejected > part.rows:
        raise SourceError(
            f"{part.source.name}: {rejected:,} of {rejected + part.rows:,} rows have too many or too few values. "
            "Give the right separator, or what lines of comment begin with."
        )
    return part
