"""One file as a source: which kind it is, and the pieces of text, Parquet and Arrow."""

import contextlib
import difflib
import itertools
import os
import stat
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

from schuss.errors import DataError, OutputError, SourceError, one_line
from schuss.table.columns import ahead, check_names, narrowed, words
from schuss.table.content import PACKINGS, Content, unpacked
from schuss.table.delimited import MISSING, TableFormat, TextFile, open_text
from schuss.table.paths import ARROW_ENDINGS, TEXT_ENDINGS, File, Identity, reading_remotely
from schuss.table.pieces import Source
from schuss.table.rejects import Rejects, Writer
from schuss.table.spool import Spool

_FOREIGN = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"PK\x03\x04": "a zip archive (or a spreadsheet)",
    b"%PDF": "a PDF document",
    b"\x93NUMPY": "a NumPy file",
    b"\x89HDF": "an HDF5 file",
    b"SQLite format 3": "an SQLite database",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ": "an xz file",
    b"FEA1": "a Feather file of version 1",
    **{bytes([0x80, version]): "a pickle, which is never loaded because it can run code" for version in range(2, 6)},
}
_HIVE_MISSING = "__HIVE_DEFAULT_PARTITION__"
_KNOWN = "Give CSV, TSV, Parquet or Arrow."
_HEAD_BYTES = 1 << 12  # at the start of a file, by which its kind is told
PIECE_BYTES = 1 << 23  # of text, and some of it of what is no text


def open_file(file: File, format: TableFormat, writer: Writer | None) -> Source:
    """One file of whatever kind, with a column more for each of its keys.

    Whoever reads it again, or to its end, is told when it was changed since. `writer` gets the ragged rows of text;
    where it is None, they are errors.
    """
    identity = file.identity()
    source = _keyed(_opened(file, format, writer), file.keys)
    return source if identity is None else _watched(source, file, identity)


def _opened(file: File, format: TableFormat, writer: Writer | None) -> Source:
    head, content = _head(file)
    kind = _file_kind(file.name, head, content is not None)
    if kind == "parquet" or kind == "arrow":
        if content is not None:
            raise SourceError(
                f"{file.name} is a pipe of {kind.capitalize()}, which is read from files alone. Save it as one."
            )
        return _parquet_source(file) if kind == "parquet" else _arrow_source(file)
    return _text_source(file, head, content or Content(opened=file.stream, packing=kind), format, writer)


def _watched(source: Source, file: File, identity: Identity) -> Source:
    """The same, as long as the file is."""

    def check() -> None:
        if file.identity() != identity:
            raise SourceError(f"{file.name} was changed while it was read. Read it again.")

    def tables(columns: Sequence[str], text: Collection[str], which: Sequence[int] | None) -> Iterator[pa.Table]:
        check()
        try:
            yield from source.tables(columns, text, which)
        except DataError:  # perhaps it is damaged because somebody writes it
            check()
            raise
        check()

    def line_of(row: int, rows: int) -> int | None:
        with contextlib.suppress(DataError, OSError):  # it is gone, or cannot be reached
            return source.line_of(row, rows) if file.identity() == identity else None
        return None

    return replace(source, tables=tables, line_of=line_of)


def _keyed(source: Source, keys: Mapping[str, str]) -> Source:
    """A file with a column more for each of the keys."""
    if not keys:
        return source

    def tables(columns: Sequence[str], text: Collection[str], which: Sequence[int] | None) -> Iterator[pa.Table]:
        own = [name for name in columns if name not in keys] or source.names
        for table in source.tables(own, text, which):
            for key, value in keys.items():
                values = words(pa.chunked_array([pa.repeat(value, len(table))]), (*MISSING, _HIVE_MISSING))
                table = table.append_column(key, values if key in text else narrowed(values))
            yield table.select(columns)

    return replace(source, names=[*source.names, *keys], tables=tables)


def _text_source(file: File, head: bytes, content: Content, format: TableFormat, writer: Writer | None) -> Source:
    """A text file."""
    with _reading(file, head):
        text_file = open_text(file.name, content, format)
    rejects = Rejects(file.address, len(text_file.names), writer) if writer else None
    text_file = replace(text_file, rejects=rejects)
    spans: list[tuple[int, int]] = []

    def noted(piece: TextFile) -> TextFile:
        if not spans or piece.start > spans[-1][0]:
            spans.append((piece.start, len(piece.rows or b"")))
        return piece

    def tables(columns: Sequence[str], text: Collection[str], which: Sequence[int] | None) -> Iterator[pa.Table]:
        with _reading(file, head):
            again = () if which is None else [spans[number] for number in which]
            pieces = text_file.pieces(PIECE_BYTES) if which is None else text_file.pieces_at(again)
            each: Any = map if rejects else ahead  # rejects are written in the order in which they stand
            yield from each(lambda piece: piece.read(text, only=columns), map(noted, pieces))

    return Source(file.name, text_file.names, tables, text_file.line_of, format.missing, rejects=text_file.rejects)


@contextlib.contextmanager
def _reading(file: File, head: bytes) -> Iterator[None]:
    """What goes wrong with a text file in the words of ours."""
    try:
        yield
    except DataError as error:
        if _looks_like_markup(head):
            raise type(error)(f"{error} The file looks like JSON or a web page, not like a table.") from None
        raise
    except OSError as error:
        if error.errno is None:  # not the system's, but that of what unpacks
            raise _cut_off(file, error) from None
        raise SourceError(f"{file.name} cannot be read: {error.strerror}.") from None


def _cut_off(file: File, error: Exception) -> SourceError:
    """What another library says of a file that cannot be read."""
    if file.system is None:
        return SourceError(f"{file.name} is damaged or cut off: {one_line(error)}. Copy it again.")
    return SourceError(
        f"{file.name} cannot be read to its end: {one_line(error)}. Check the connection, or copy it again."
    )


def _head(file: File) -> tuple[bytes, Content | None]:
    """The first bytes of a file, and the content of what is read only once (a pipe); errors of the system as ours."""
    if file.system is not None:
        with reading_remotely(file.address), file.open() as stream:
            return stream.read(_HEAD_BYTES), None
    path = file.path
    try:
        with open(path, "rb") as stream:
            if stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                return stream.read(_HEAD_BYTES), None
            piped = stream.read(PIECE_BYTES)
            return piped[:_HEAD_BYTES], _piped(piped, stream)
    except OutputError:
        raise
    except FileNotFoundError:
        raise SourceError(f"{path!r} does not exist. {_near_file(path)}") from None
    except IsADirectoryError:
        raise SourceError(f"{path!r} is a folder. Give a file, or a pattern such as '{path}/*.csv'.") from None
    except PermissionError:
        raise SourceError(f"{path!r} may not be read. Ask for permission to read it.") from None
    except (OSError, ValueError) as error:
        raise SourceError(f"{path!r} cannot be read: {error}.") from None


def _piped(first: bytes, pipe: BinaryIO) -> Content:
    """What came through a pipe and what still comes: in memory, or in a temporary file where it is long."""
    packing = next((packing for packing, mark in PACKINGS.values() if first.startswith(mark)), "")
    if len(first) < PIECE_BYTES and not packing:
        return Content(first)
    spool = Spool()
    path = spool.write(itertools.chain([first], iter(lambda: pipe.read(PIECE_BYTES), b"")))
    return Content(opened=lambda: pa.OSFile(str(spool.folder / path.name)), packing=packing)  # which keeps the spool


def _near_file(path: str) -> str:
    """Advice for a path that does not exist."""
    folder = Path(path).parent
    names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    close = difflib.get_close_matches(Path(path).name, names, n=1)
    if close:
        return f"Did you mean {str(folder / close[0])!r}?"
    return "Check the path." if folder.is_dir() else f"There is no folder {str(folder)!r}."


def _file_kind(name: str, head: bytes, piped: bool) -> str:
    """What a file is by its ending: parquet, arrow, text ("") or what packs the text; its first bytes must agree.

    Of a file with the ending of text, letters and digits at its start may be a header: they tell nothing without a NUL.
    """
    lower = name.lower()
    text_ending = unpacked(name).endswith(TEXT_ENDINGS)

    def marked(mark: bytes) -> bool:
        readable = text_ending and mark.replace(b" ", b"").isalnum()
        return head.startswith(mark) and (not readable or b"\0" in head)

    for mark, description in _FOREIGN.items():
        if marked(mark):
            raise SourceError(f"{name} is {description}, not a table. {_KNOWN}")
    by_content = "parquet" if marked(b"PAR1") else "arrow" if marked(b"ARROW1") else ""
    packing = ""
    for ending, (how, mark) in () if piped else PACKINGS.items():
        if lower.endswith(ending) != head.startswith(mark):
            not_packed = "not " if lower.endswith(ending) else ""
            raise SourceError(f"{name} is {not_packed}compressed with {how}. Rename it as what it is.")
        packing = how if head.startswith(mark) else packing
    if lower.endswith(".parquet") and by_content != "parquet":
        raise SourceError(f"{name} is {'empty' if not head else 'no Parquet file'}. {_KNOWN}")
    if lower.endswith(ARROW_ENDINGS):
        if by_content != "arrow" and not head.startswith(b"\xff\xff\xff\xff"):
            raise SourceError(f"{name} is {'empty' if not head else 'no Arrow file'}. {_KNOWN}")
        return "arrow"
    if text_ending and by_content:
        raise SourceError(f"{name} is a {by_content.capitalize()} file. Rename it to end in .{by_content}.")
    if not by_content and not text_ending and _looks_like_markup(head):
        raise SourceError(f"{name} looks like JSON or a web page, not a table. {_KNOWN}")
    return by_content or packing


def _looks_like_markup(head: bytes) -> bool:
    return head.lstrip()[:1] in (b"{", b"[", b"<")


def _parquet_source(file: File) -> Source:
    """A Parquet file, a few row groups at a time, its page checksums compared where it has them."""
    with _parquet_file(file) as opened:
        names = opened.schema_arrow.names
        sizes = [opened.metadata.row_group(group).total_byte_size for group in range(opened.num_row_groups)]
    ends = np.cumsum([0, *sizes]) // PIECE_BYTES
    pieces = [[*groups] for _, groups in itertools.groupby(range(len(sizes)), lambda group: ends[group])] or [[]]

    def tables(columns: Sequence[str], _: Collection[str], which: Sequence[int] | None) -> Iterator[pa.Table]:
        with _parquet_file(file) as opened, warnings.catch_warnings(action="ignore"):
            for number in range(len(pieces)) if which is None else which:
                try:
                    yield opened.read_row_groups(pieces[number], columns)
                except (pa.ArrowException, OSError) as error:
                    group = _damaged_group(opened)
                    raise SourceError(
                        f"{file.name} is damaged in row group {group}: {one_line(error)}. Copy it again."
                    ) from None

    return Source(file.name, names, tables, typed=True)


def _parquet_file(file: File) -> parquet.ParquetFile:
    """A Parquet file whose columns have names."""
    try:
        with warnings.catch_warnings(action="ignore"):  # Arrow warns of the extension types that it does not load
            remote = file.system is not None  # where few large reads are faster than many
            opened = parquet.ParquetFile(
                file.path, filesystem=file.system, pre_buffer=remote, page_checksum_verification=True
            )
            check_names(opened.schema_arrow.names, file.name)
            return opened
    except (pa.ArrowException, OSError) as error:
        raise _cut_off(file, error) from None


def _damaged_group(file: parquet.ParquetFile) -> str:
    """The first row group, counted from 0, that cannot be read."""
    for group in range(file.num_row_groups):
        try:
            file.read_row_group(group)
        except (pa.ArrowException, OSError):
            return f"{group} of {file.num_row_groups}"
    return "unknown"


def _arrow_source(file: File) -> Source:
    """An Arrow file or stream, some batches at a time, each checked in full before anything is believed."""
    with _arrow_reader(file) as reader:
        schema = reader.schema

    def tables(columns: Sequence[str], _: Collection[str], which: Sequence[int] | None) -> Iterator[pa.Table]:
        with _arrow_reader(file) as reader:
            for number, batches in enumerate(_several(reader)):
                data = pa.Table.from_batches(batches, schema)
                data.validate(full=True)
                if which is None or number in which:
                    yield data.select(columns)

    return Source(file.name, schema.names, tables, typed=True)


@contextlib.contextmanager
def _arrow_reader(file: File) -> Iterator[Any]:
    """What reads the batches of an Arrow file or stream."""
    try:
        with warnings.catch_warnings(action="ignore"), file.open() as opened:
            start = opened.read(6)
            opened.seek(0)
            yield pa.ipc.open_file(opened) if start == b"ARROW1" else pa.ipc.open_stream(opened)
    except (pa.ArrowException, OSError) as error:
        raise _cut_off(file, error) from None


def _several(reader: Any) -> Iterator[list[pa.RecordBatch]]:
    """The batches of a reader, as many together as make a piece; one list without any where there are none."""
    random = isinstance(reader, pa.ipc.RecordBatchFileReader)
    batches = map(reader.get_batch, range(reader.num_record_batches)) if random else iter(reader)
    taken: list[pa.RecordBatch] = []
    for batch in batches:
        taken.append(batch)
        if sum(batch.nbytes for batch in taken) >= PIECE_BYTES:
            yield taken
            taken = []
    yield taken
