"""Text files of separated values: the bytes of one file in, typed columns or the exact line of a fault out.

Arrow's reader does the work, on all cores, and takes the kind of each column from all rows. It knows no line numbers
and lets some faults pass, so the header, and the whole file once something is wrong with it, are read here as well.
"""

import csv
import io
import itertools
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv

from schuss.errors import SettingError, SourceError
from schuss.table.columns import check_names, kind_of, narrowed, words

_SEPARATORS = ",;\t|"
_HEAD_BYTES = 1 << 18  # at first, for the header and the lines that a separator is told from
_SNIFFED_RECORDS = 20
_BLOCK_BYTES = 1 << 20  # of the sizes and memory pools tried, this one with the system's pool was fastest
_TAIL_BYTES = 1 << 12
_INK = re.compile(rb"\S")
_WIDE_MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16", b"\x00\x00\xfe\xff": "UTF-32"}

MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "?", "-nan", "n/a", "<NA>", "#N/A")


@dataclass(frozen=True)
class TableFormat:
    """How text files are read.

    separator: one character; None takes a tab for .tsv and otherwise whichever of , ; tab | fits the first lines.
    header: the first line holds the names of the columns; otherwise they are column_1, column_2, …
    missing: what stands for a missing value, beside nothing at all.
    comment: lines that begin with it are skipped, and so is every blank line of a file with one column; "" for none.
    suffix: cut off the end of texts that have it: "." makes "<=50K" of "<=50K.", and "%" a number of "12%".
    """

    separator: str | None = None
    header: bool = True
    missing: tuple[str, ...] = MISSING
    comment: str = ""
    suffix: str = ""


class Content:
    """The bytes of a text file: in memory, or on the disk and read only as far as they are needed."""

    def __init__(self, held: bytes | None = None, path: str = "") -> None:
        self._held, self._path = held, path

    @cached_property
    def whole(self) -> bytes:
        """All bytes: wanted where quotes are, and to find a fault."""
        return Path(self._path).read_bytes() if self._held is None else self._held

    def head(self, size: int) -> bytes:
        """The first bytes."""
        if self._held is not None:
            return self._held[:size]
        with open(self._path, "rb") as file:
            return file.read(size)

    def holds(self, *letters: bytes, start: int) -> list[bool]:
        """Whether each of these letters occurs from byte `start` on, found in one pass that keeps nothing."""
        if self._held is not None:
            return [self._held.find(letter, start) >= 0 for letter in letters]
        found, buffer = [False] * len(letters), bytearray(_BLOCK_BYTES)
        with open(self._path, "rb", buffering=0) as file:
            file.seek(start)
            while size := file.readinto(buffer):
                found = [seen or buffer.find(each, 0, size) >= 0 for seen, each in zip(found, letters, strict=True)]
        return found

    def stream(self, start: int, trimmed: bool) -> pa.NativeFile:
        """What Arrow reads from, from byte `start` on; trimmed: without the blank lines at the end."""
        if self._held is None and not trimmed and "whole" not in self.__dict__:
            file = pa.OSFile(self._path)
            file.seek(start)
            return file
        end = len(self.whole.rstrip(b"\r\n") if trimmed else self.whole)
        return pa.BufferReader(pa.py_buffer(self.whole).slice(start, end - start))


@dataclass(frozen=True)
class Record:
    """One record of a file: the line it begins on, its values, and the lines as they stand (one byte, one letter)."""

    line: int
    values: list[str]
    lines: list[str]


@dataclass(frozen=True)
class TextFile:
    """A text file whose header has been read.

    start: where its first row begins, in bytes; line: on which line. quoted: whether there is a quote in its rows.
    """

    name: str
    content: Content
    quoted: bool
    format: TableFormat
    separator: str
    names: list[str]
    start: int
    line: int

    def read(self, as_text: Collection[str] = (), block_bytes: int = _BLOCK_BYTES) -> pa.Table:
        """The typed columns; those named in `as_text` keep every value as it was written."""
        if self.quoted and not self._quotes_pair():
            self._report_fault()
        table = self._parse(set(as_text) & set(self.names), block_bytes)
        doubtful = self._maybe_codes(table)
        texts = self._parse(doubtful, block_bytes, doubtful) if doubtful else table
        columns = [self._typed((texts if name in doubtful else table)[name], name in as_text) for name in self.names]
        return pa.table(columns, names=self.names)

    def _maybe_codes(self, table: pa.Table) -> list[str]:
        """Columns of whole numbers that may be codes such as 007, by the first rows: see `are_codes`."""
        whole = [place for place, type in enumerate(table.schema.types) if pa.types.is_integer(type)]
        if not whole:
            return []
        first = records(_head(self.content, self.start), self.separator, self.line, self.name)
        rows = [record.values for record in itertools.islice(first, _SNIFFED_RECORDS) if record.values]
        none = {"", *self.format.missing}
        widths = {place: {len(row[place].strip()) for row in rows if row[place].strip() not in none} for place in whole}
        return [
            self.names[place]
            for place, found in widths.items()
            if len(found) == 1 and max(found) > max(2, len(str(pc.min(table[place]))))
        ]

    def first_line(self, rows: int) -> int | None:
        """The line of the first row, when every row takes one line and none is blank, so that lines can be counted."""
        content = self.content.whole
        ending = b"\n" if b"\n" in content else b"\r"
        tail = content[-_TAIL_BYTES:]  # blank lines at the very end move no row
        end = len(content) - len(tail) + len(tail.rstrip())
        lines = content.count(ending, self.start, end) + 1
        return self.line if lines == rows else None

    def _parse(self, as_text: Collection[str], block_bytes: int, only: Sequence[str] = ()) -> pa.Table:
        """Arrow's reader on what follows the header; its errors become ours, with the line. only: () for all columns.

        A blank line is a missing value where there is one column, and nothing otherwise or at the end of the file.
        """
        single = len(self.names) == 1
        try:
            return arrow_csv.read_csv(
                self.content.stream(self.start, trimmed=single),
                read_options=arrow_csv.ReadOptions(column_names=self.names, block_size=block_bytes),
                parse_options=arrow_csv.ParseOptions(
                    delimiter=self.separator,
                    newlines_in_values=self.quoted,
                    ignore_empty_lines=not single or bool(self.format.comment),
                ),
                convert_options=arrow_csv.ConvertOptions(
                    null_values=["", *self.format.missing],
                    strings_can_be_null=True,
                    column_types=dict.fromkeys(as_text, pa.string()),
                    include_columns=only,
                ),
                memory_pool=pa.system_memory_pool(),
            )
        except pa.ArrowCancelled:  # Arrow's own answer to Ctrl-C
            raise KeyboardInterrupt from None
        except pa.ArrowInvalid as error:
            self._report_encoding()
            self._report_fault()
            if "straddling" in str(error) and block_bytes < len(self.content.whole):
                return self._parse(as_text, len(self.content.whole), only)
            raise SourceError(f"{self.name} cannot be read: {error}") from None

    def _typed(self, column: pa.ChunkedArray, as_text: bool) -> pa.ChunkedArray:
        """Text without the spaces around it, and as numbers where the spaces alone made it text."""
        if kind_of(column.type) is None:  # Arrow's reader takes bytes that are no UTF-8 for binary values
            self._report_encoding()
        if not pa.types.is_string(column.type):
            return column
        text = words(column, self.format.missing, self.format.suffix)
        return pa.chunked_array([text if as_text else narrowed(text)])

    def _quotes_pair(self) -> bool:
        """Every quote that opens follows a separator, and every one that closes is followed by one."""
        letters = np.frombuffer(self.content.whole, np.uint8)[self.start :]
        quotes = np.flatnonzero(letters == ord('"'))
        if len(quotes) % 2:
            return False
        before = letters.take(quotes[::2] - 1, mode="wrap")
        after = letters.take(quotes[1::2] + 1, mode="wrap")
        edges = np.frombuffer(f'{self.separator}\r\n"'.encode(), np.uint8)
        return bool(np.isin(before, edges).all() and np.isin(after, edges).all())

    def _report_encoding(self) -> None:
        """Raises a SourceError with the line of the first byte that is not UTF-8, if there is one."""
        try:
            self.content.whole.decode()
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            raise SourceError(
                f"{self.name}, line {line:,}: the byte {error.object[error.start]:#04x} is not UTF-8 (the file may be "
                "Latin-1 or Windows-1252). Save it as UTF-8."
            ) from None

    def _report_fault(self) -> None:
        """Raises a SourceError with the line of the first ragged record or quote without end, if there is one."""
        last = None
        for record in records(self.content.whole[self.start :].decode("latin-1"), self.separator, self.line, self.name):
            ragged = bool(record.values) and len(record.values) != len(self.names)
            if (len(record.lines) > 1 and self._is_broken(record)) or (ragged and self._is_open(record)):
                raise _open_quote(self.name, record.line)
            if ragged:
                raise SourceError(
                    f"{self.name}, line {record.line:,}: {_count(len(record.values), 'value')} where there are "
                    f"{_count(len(self.names), 'column')}. Correct this line, or give the right separator, "
                    "or what lines of comment begin with."
                )
            last = record
        if last is not None and self._is_open(last):
            raise _open_quote(self.name, last.line)

    def _is_open(self, record: Record) -> bool:
        """The record ends inside a quoted value: it would take in one more line."""
        return len(list(csv.reader([*record.lines, "\n"], delimiter=self.separator))) == 1

    def _is_broken(self, record: Record) -> bool:
        """The quotes of this record do not follow RFC 4180."""
        try:
            list(csv.reader(record.lines, delimiter=self.separator, strict=True))
        except csv.Error:
            return True
        return False


def open_text(name: str, content: Content, format: TableFormat) -> TextFile:
    """Reads the header of a text file and finds its separator.

    Raises:
        SourceError: it is empty, holds no rows, or is no UTF-8 text.
        ColumnError: a column has no name, or two have the same.
        SettingError: the separator is not one character.
    """
    _check_encoding(name, content)
    content = _without_comments(content, format.comment)
    mark = 3 if content.head(3) == b"\xef\xbb\xbf" else 0
    head = _head(content, mark)
    if "\0" in head:
        raise _nul_byte(name, content)
    separator = _separator(format, name, head)
    first = next((record for record in records(head, separator, 1, name) if record.values), None)
    if first is None:
        raise SourceError(f"{name} is empty. Give a file with a header and rows.")
    lines = first.line - 1 if format.header or format.comment else 0
    if format.header:
        names = [_decoded(value, name, first.line).strip() for value in first.values]
        check_names(names, name)
        lines += len(first.lines)
    else:
        names = [f"column_{number}" for number in range(1, len(first.values) + 1)]
    start = mark + sum(map(len, itertools.islice(io.StringIO(head, newline=""), lines)))
    if _INK.search(content.head(start + _HEAD_BYTES), start) is None and _INK.search(content.whole, start) is None:
        raise SourceError(f"{name} has a header and no rows. Give a file with at least one row.")
    has_nul, quoted = content.holds(b"\0", b'"', start=start)
    if has_nul:
        raise _nul_byte(name, content)
    return TextFile(name, content, quoted, format, separator, names, start, lines + 1)


def records(text: str, separator: str, line: int, name: str) -> Iterator[Record]:
    """The records of a text, blank lines as records without values; `line` is the number of its first line."""
    taken: list[str] = []

    def lines() -> Iterator[str]:
        for each in io.StringIO(text, newline=""):
            taken.append(each)
            yield each

    reader = csv.reader(lines(), delimiter=separator)
    while True:
        taken.clear()
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error:  # a value beyond csv.field_size_limit()
            raise _open_quote(name, line) from None
        yield Record(line, values, list(taken))
        line += len(taken)


def _check_encoding(name: str, content: Content) -> None:
    """The first bytes are not those of another encoding than UTF-8."""
    for mark, encoding in _WIDE_MARKS.items():
        if content.head(4).startswith(mark):
            raise SourceError(f"{name} is text in {encoding}. Save it as UTF-8.")
    if content.head(3) == b"\0\0\x08":
        raise SourceError(f"{name} is an IDX file of pictures or labels, not a table. Make columns of it, a row each.")


def _without_comments(content: Content, comment: str) -> Content:
    """The bytes with every line of comment blank, so that the others keep their numbers."""
    if not comment:
        return content
    line = rb"(?<![^\r\n])(?:\xef\xbb\xbf)?" + re.escape(comment.encode()) + rb"[^\r\n]*"
    return Content(re.sub(line, b"", content.whole))


def _nul_byte(name: str, content: Content) -> SourceError:
    line = content.whole.count(b"\n", 0, content.whole.find(b"\0")) + 1
    return SourceError(f"{name}, line {line:,}: a NUL byte, which text does not hold. Save it as UTF-8 text.")


def _head(content: Content, start: int) -> str:
    """The first lines of a file as letters of one byte each, more lines than a separator is told from."""
    size = start + _HEAD_BYTES
    head = content.head(size)
    while len(head) == size and head.count(b"\n", start) + head.count(b"\r", start) < 2 * _SNIFFED_RECORDS:
        size *= 4
        head = content.head(size)
    return head[start:].decode("latin-1")


def _separator(format: TableFormat, name: str, head: str) -> str:
    """The separator that was set, that the ending says, or that splits the first records into equally many values."""
    if format.separator is not None:
        if len(format.separator) != 1 or format.separator in '"\r\n' or not format.separator.isascii():
            raise SettingError(f"The separator is {format.separator!r}: give one character, such as ',' or ';'.")
        return format.separator
    if name.lower().removesuffix(".gz").endswith(".tsv"):
        return "\t"
    widths = {separator: _width(head, separator, name) for separator in _SEPARATORS}
    if max(widths.values()) > 1:
        return max(_SEPARATORS, key=widths.__getitem__)
    return max(_SEPARATORS, key=head.lstrip().partition("\n")[0].count)


def _width(head: str, separator: str, name: str) -> int:
    """How many values each of the first records has with this separator; 0 when they differ."""
    try:
        filled = (record for record in records(head, separator, 1, name) if record.values)
        widths = {len(record.values) for record in itertools.islice(filled, _SNIFFED_RECORDS)}
    except SourceError:
        return 0
    return widths.pop() if len(widths) == 1 else 0


def _decoded(value: str, name: str, line: int) -> str:
    """A name of the header, whose bytes were kept as letters, as the UTF-8 text it is."""
    try:
        return value.encode("latin-1").decode()
    except UnicodeDecodeError:
        raise SourceError(f"{name}, line {line:,}: the header is not UTF-8. Save the file as UTF-8.") from None


def _open_quote(name: str, line: int) -> SourceError:
    return SourceError(f"{name}, line {line:,}: a quoted value begins here and does not end. Close the quote.")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
