"""Text files of separated values: the bytes of one file in, typed columns or the exact line of a fault out.

A file is read in pieces, a few of them in memory at a time. The core reads columns of plain numbers, Arrow's reader all
others. They know no line numbers and let some faults pass, so the header, and a whole piece once something is wrong
with it, are read here as well.
"""

import contextlib
import csv
import io
import itertools
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv
from numpy.typing import NDArray

from schuss.arrays import RowIndex
from schuss.errors import SettingError, SourceError
from schuss.table.columns import TEXT, are_codes, check_names, kind_of, narrowed, words
from schuss.table.content import BLOCK_BYTES, MARK, Content, aligned_lines, filled, line_breaks, skip, unpacked
from schuss.table.numbers import number_columns
from schuss.table.rejects import Reject, Rejects

_SEPARATORS = ",;\t|"
_HEAD_BYTES = 1 << 18  # at first, for the header and the lines that a separator is told from
_SNIFFED_RECORDS = 20
_CODE_RECORDS = 300  # that tell numbers from codes: of random numbers, nine in ten are as long as the longest
_TRUE, _FALSE = ("true", "True", "TRUE"), ("false", "False", "FALSE")
_DIGITS = frozenset("01")  # numbers beside truth values make text, in one piece or in two
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_INK = re.compile(rb"\S")
_WIDE_MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16", b"\x00\x00\xfe\xff": "UTF-32"}

BLANK = pa.dictionary(pa.int32(), pa.null())  # of a column of missing values, some of them with spaces around
CODES = {b"codes": b""}  # metadata of a column of text that is numbers, were it not for their leading zeros
MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "?", "-nan", "n/a", "<NA>", "#N/A")


@dataclass(frozen=True)
class TableFormat:
    """How text files are read.

    separator: one character; None takes a tab for .tsv and otherwise whichever of , ; tab | fits the first lines. A
        blank means blanks and tabs, however many, and none around the values; it is found in lines with numbers, where
        nothing else fits and the file is no .csv.
    header: the first line holds the names of the columns; otherwise they are column_1, column_2, …
    missing: what stands for a missing value, beside nothing at all.
    comment: lines that begin with it are skipped, and so is every blank line of a file with one column; "" for none.
    suffix: cut off the end of texts that have it: "." makes "<=50K" of "<=50K.", and "%" a number of "12%".
    rejects: a file for the rows that have more or fewer values than there are columns, which are then left out of the
        table; None makes an error of the first one. More than half of a file's rows are an error all the same.
    """

    separator: str | None = None
    header: bool = True
    missing: tuple[str, ...] = MISSING
    comment: str = ""
    suffix: str = ""
    rejects: str | os.PathLike[str] | None = None


@dataclass(frozen=True)
class Record:
    """One record: how many lines are before it, its values, and the lines as they stand (one byte, one letter)."""

    line: int
    values: list[str]
    lines: list[str]


@dataclass(frozen=True)
class TextFile:
    """A text file whose header has been read, or a piece of one.

    start: where its first row begins, in bytes of the content. rows: the bytes of its rows, where it is a piece.
    rejects: what takes ragged rows; None makes errors of them. line: of the first row, where it is known.
    """

    name: str
    content: Content
    format: TableFormat
    separator: str
    names: list[str]
    start: int
    rows: bytearray | None = None
    rejects: Rejects | None = None
    line: int | None = None

    def pieces(self, size: int) -> Iterator["TextFile"]:
        """The file in pieces of some `size` bytes, read as they are asked for; each ends where a record ends.

        Raises:
            SourceError: a quoted value does not end, or the quotes are such that records must be told apart one by
                one, and one of them is ragged.
        """
        start, rest, wanted = self.start, bytearray(), size
        line = self.content.line(start) if self.rejects else None
        with self.content.open(start) as stream:
            while True:
                text = filled(stream, wanted, rest)
                ended = len(text) < wanted
                end = replace(self, start=start, rows=text)._end(text, ended)
                if not end and not ended:  # a record that is longer than a piece
                    rest, wanted = text, 2 * wanted
                    continue
                rest, wanted = text[end:], max(size, 2 * (len(text) - end))
                del text[end:]
                if text:
                    yield replace(self, start=start, rows=text, line=line)
                if ended:
                    return
                start += end
                line = line and line + line_breaks(text)
                del text  # before the next one is read

    def pieces_at(self, spans: Iterable[tuple[int, int]]) -> Iterator["TextFile"]:
        """The pieces that begin at these bytes, in ascending order, and are so long: read again, in one pass."""
        at = 0
        with self.content.open() as stream:
            for start, size in spans:
                skip(stream, start - at)
                yield replace(self, start=start, rows=filled(stream, size))
                at = start + size

    def read(
        self, as_text: Collection[str] = (), block_bytes: int = BLOCK_BYTES, only: Collection[str] | None = None
    ) -> pa.Table:
        """The typed columns, or `only` some; those named in `as_text` keep every value as it was written."""
        rows = bytearray().join(self.content.chunks(self.start)) if self.rows is None else self.rows
        if (at := rows.find(b"\0")) >= 0:
            raise _nul_byte(self.name, self.content.line(self.start + at))
        names = [name for name in self.names if only is None or name in only]
        columns = self._numbers(rows, [name for name in names if name not in as_text])
        if rest := [name for name in names if name not in columns]:
            columns |= self._values(rows, rest, set(as_text) & set(rest), block_bytes)
        fields = [
            pa.field(
                name, columns[name].type, metadata=CODES if name not in as_text and _are_codes(columns[name]) else None
            )
            for name in names
        ]
        return pa.table([columns[name] for name in names], schema=pa.schema(fields))

    def _numbers(self, rows: bytearray, names: list[str]) -> dict[str, pa.ChunkedArray]:
        """Those columns that hold nothing but plain numbers."""
        if len(self.names) == 1:  # where blank lines are values
            return {}
        missing = [word for word in self.format.missing if word]
        found = number_columns(rows, self.separator, self.names, names, missing)
        return {name: pa.chunked_array([column]) for name, column in found.items()}

    def _values(
        self, rows: bytearray, names: list[str], as_text: Collection[str], block_bytes: int
    ) -> dict[str, pa.ChunkedArray]:
        """The columns of whatever kind."""
        table = self._parse(rows, names, as_text, block_bytes)
        codes = self._maybe_codes(rows, table)
        texts = self._parse(rows, codes, codes, block_bytes) if codes else table
        return {name: self._typed(rows, (texts if name in codes else table)[name], name in as_text) for name in names}

    def _maybe_codes(self, rows: bytearray, table: pa.Table) -> list[str]:
        """Columns of whole numbers that may be codes such as 007, by the first rows: see `are_codes`."""
        whole = [name for name in table.column_names if pa.types.is_integer(table.schema.field(name).type)]
        if not whole:
            return []
        some = records(rows[:_HEAD_BYTES].decode("latin-1"), self.separator, self._open_quote)
        first: list[list[str]] = []
        with contextlib.suppress(SourceError):  # a value that is too long for the reader of records
            first.extend(record.values for record in itertools.islice(some, _CODE_RECORDS))
        if len(rows) > _HEAD_BYTES:
            first = first[:-1] or first  # the last may be cut off
        first = [row for row in first if len(row) == len(self.names)]
        none, found = {"", *self.format.missing}, []
        for name in whole:
            place = self.names.index(name)
            widths = {len(value) for values in first if (value := values[place].strip()) not in none}
            width = max(widths, default=len(str(pc.max(table[name]))))
            if len(widths) < 2 and width > max(2, len(str(pc.min(table[name])))):
                found.append(name)
        return found

    def line_of(self, row: int, rows: int) -> int | None:
        """The line of a row, counted from 0, when each of so many takes one line and none is blank; otherwise None."""
        rejected = self.rejects.spans if self.rejects else []
        if (line := self._first_line(rows + sum(count for _, count in rejected))) is None:
            return None
        line += row
        for at, count in rejected:
            line += count if at <= line else 0
        return line

    def _first_line(self, rows: int) -> int | None:
        """The line of the first of so many rows and rejected lines, where there are no others."""
        ending = b"\n" if b"\n" in self.content.head(self.start + _HEAD_BYTES) else b"\r"
        lines, blank = 1, 0
        for chunk in self.content.chunks(self.start):  # blank lines at the very end move no row
            end = len(chunk.rstrip())
            lines += blank + chunk.count(ending, 0, end) if end else 0
            blank = chunk.count(ending, end) + (0 if end else blank)
        return self.content.line(self.start) if lines == rows else None

    def _end(self, text: bytearray, ended: bool) -> int:
        """Where the last record ends that ends in a text; 0 where none does. ended: no more text follows it."""
        end = len(text) if ended else _line_end(text, len(text))
        if b'"' in text:
            end = self._end_of_quotes(text, end, ended)
        if len(self.names) == 1:  # blank lines count where a value follows them
            last = end
            while last and text[last - 1] in b"\r\n":
                last -= 1
            end = last and min(end, last + (2 if text[last : last + 2] == b"\r\n" else 1))
        return end

    def _end_of_quotes(self, text: bytearray, end: int, ended: bool) -> int:
        """The last line end up to `end` that is in no quotes, where quotes open and close values and nothing else."""
        letters = np.frombuffer(text, np.uint8)
        quotes = np.flatnonzero(letters == ord('"'))
        while (count := int(np.searchsorted(quotes, end))) % 2 and not ended:
            end = _line_end(text, int(quotes[count - 1]))
        if not end or count % 2 or not self._quotes_pair(letters, quotes[:count]):
            return self._end_of_records(text, ended)
        return end

    def _quotes_pair(self, letters: NDArray[np.uint8], quotes: RowIndex) -> bool:
        """Every quote that opens follows a separator, and every one that closes is followed by one."""
        before = letters.take(quotes[::2] - 1, mode="clip")
        after = letters.take(quotes[1::2] + 1, mode="clip")
        edges = np.frombuffer(f'{self.separator}\r\n"'.encode(), np.uint8)
        return bool(np.isin(before, edges).all() and np.isin(after, edges).all())

    def _end_of_records(self, text: bytearray, ended: bool) -> int:
        """Where the last whole record ends, each of them looked at. Raises as `_whole_records` does."""
        return max((end for end, _ in self._whole_records(text, ended)), default=0)

    def _even(self, rows: bytearray) -> bytearray:
        """These rows without the ragged ones, which are handed over."""
        even, start, ragged = bytearray(), 0, []
        for end, record in self._whole_records(rows, ended=True):
            if self._is_ragged(record):
                text = "".join(record.lines)
                even += rows[start : end - len(text)]
                start = end
                ragged.append((record, text.encode("latin-1").decode().rstrip("\r\n")))
        if self.rejects and ragged:
            found = (Reject(self._line(row.line), len(row.lines), len(row.values), text) for row, text in ragged)
            self.rejects.take(self.start, found)
        return even + rows[start:]

    def _is_ragged(self, record: Record) -> bool:
        return bool(record.values) and len(record.values) != len(self.names)

    def _whole_records(self, text: bytearray, ended: bool) -> Iterator[tuple[int, Record]]:
        """The records that end in a text, each with the byte behind it.

        Raises:
            SourceError: a quote does not end, or a record is ragged and nothing takes it.
        """
        end = 0
        for record in records(text.decode("latin-1"), self.separator, self._open_quote):
            after = end + sum(map(len, record.lines))
            if after == len(text) and not ended:  # it may go on
                break
            ragged = self._is_ragged(record)
            suspect = ragged or after == len(text)
            if (len(record.lines) > 1 and self._is_broken(record)) or (suspect and self._is_open(record)):
                raise self._open_quote(record.line)
            if ragged and not self.rejects:
                raise SourceError(
                    f"{self.name}, line {self._line(record.line):,}: {_count(len(record.values), 'value')} where there "
                    f"are {_count(len(self.names), 'column')}. Correct this line, or give the right separator, or what "
                    "lines of comment begin with."
                )
            end = after
            yield end, record

    def _parse(self, rows: bytearray, names: list[str], as_text: Collection[str], block_bytes: int) -> pa.Table:
        """Arrow's reader on these rows; its errors become ours, with the line.

        A blank line is a missing value where there is one column, and nothing otherwise.
        """
        try:
            return arrow_csv.read_csv(
                pa.BufferReader(rows),
                read_options=arrow_csv.ReadOptions(column_names=self.names, block_size=block_bytes),
                parse_options=arrow_csv.ParseOptions(
                    delimiter=self.separator,
                    newlines_in_values=b'"' in rows,
                    ignore_empty_lines=len(self.names) > 1 or bool(self.format.comment),
                ),
                convert_options=arrow_csv.ConvertOptions(
                    null_values=["", *self.format.missing],
                    strings_can_be_null=True,
                    true_values=_TRUE,
                    false_values=_FALSE,
                    column_types=dict.fromkeys(as_text, pa.string()),
                    include_columns=names,
                ),
                memory_pool=pa.system_memory_pool(),
            )
        except pa.ArrowCancelled:  # Arrow's own answer to Ctrl-C
            raise KeyboardInterrupt from None
        except pa.ArrowInvalid as error:
            self._report_encoding(rows)
            even = self._even(rows)
            if len(even) < len(rows):
                return self._parse(even, names, as_text, block_bytes) if even else pa.table({n: [] for n in names})
            if "straddling" in str(error) and block_bytes < len(rows):
                return self._parse(rows, names, as_text, len(rows))
            raise SourceError(f"{self.name} cannot be read: {error}") from None

    def _typed(self, rows: bytearray, column: pa.ChunkedArray, as_text: bool) -> pa.ChunkedArray:
        """Text without the spaces around it, and as numbers where the spaces alone made it text."""
        if kind_of(column.type) is None:  # Arrow's reader takes bytes that are no UTF-8 for binary values
            self._report_encoding(rows)
        if not pa.types.is_string(column.type):
            return column
        text = words(column, self.format.missing, self.format.suffix)
        if as_text:
            return pa.chunked_array([text])
        if not len(text.dictionary):  # another piece may tell what they are
            return pa.chunked_array([pa.nulls(len(text), BLANK)])
        numbers = narrowed(text)
        mixed = pa.types.is_boolean(numbers.type) and not _DIGITS.isdisjoint(text.dictionary.to_pylist())
        return pa.chunked_array([text if mixed else numbers])

    def _report_encoding(self, rows: bytearray) -> None:
        """Raises a SourceError with the line of the first byte that is not UTF-8, if there is one."""
        try:
            rows.decode()
        except UnicodeDecodeError as error:
            line = self.content.line(self.start + error.start)
            raise SourceError(
                f"{self.name}, line {line:,}: the byte {error.object[error.start]:#04x} is not UTF-8 (the file may be "
                "Latin-1 or Windows-1252). Save it as UTF-8."
            ) from None

    def _line(self, lines: int) -> int:
        """The number in the file of the line that so many others of this piece precede."""
        return (self.line or self.content.line(self.start)) + lines

    def _open_quote(self, lines: int) -> SourceError:
        return _open_quote(self.name, self._line(lines))

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


def _are_codes(column: pa.ChunkedArray) -> bool:
    return bool(column.type == TEXT and column.num_chunks and are_codes(column.chunk(0).dictionary))


def open_text(name: str, content: Content, format: TableFormat) -> TextFile:
    """Reads the header of a text file and finds its separator.

    Raises:
        SourceError: it is empty, holds no rows, or is no UTF-8 text.
        ColumnError: a column has no name, or two have the same.
        SettingError: the separator is not one character.
    """
    content = content.without(format.comment)
    mark, head = _head(name, content)
    separator = _separator(format, name, head)
    if separator == " ":
        content = content.aligned()
        mark, head = _head(name, content)
    taken = records(head, separator, lambda lines: _open_quote(name, lines + 1))
    first = next((record for record in taken if record.values), None)
    if first is None:
        raise SourceError(f"{name} is empty. Give a file with a header and rows.")
    lines = first.line if format.header or format.comment else 0
    if format.header:
        names = [_decoded(value, name, first.line + 1).strip() for value in first.values]
        check_names(names, name)
        lines += len(first.lines)
    else:
        names = [f"column_{number}" for number in range(1, len(first.values) + 1)]
    start = mark + sum(map(len, itertools.islice(io.StringIO(head, newline=""), lines)))
    if not any(_INK.search(chunk) for chunk in content.chunks(start)):
        raise SourceError(f"{name} has a header and no rows. Give a file with at least one row.")
    return TextFile(name, content, format, separator, names, start)


def records(text: str, separator: str, open_quote: Callable[[int], SourceError]) -> Iterator[Record]:
    """The records of a text, blank lines as records without values.

    open_quote: the error for a value without end, given how many lines are before its record.
    """
    taken: list[str] = []
    line = 0

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
            raise open_quote(line) from None
        yield Record(line, values, list(taken))
        line += len(taken)


def _line_end(text: bytearray, stop: int) -> int:
    r"""Behind the last line break before byte `stop`, 0 where there is none; \r at the very end may be half of one."""
    end = text.rfind(b"\n", 0, stop) + 1
    return max(end, text.rfind(b"\r", end, min(stop, len(text) - 1)) + 1)


def _nul_byte(name: str, line: int) -> SourceError:
    return SourceError(f"{name}, line {line:,}: a NUL byte, which text does not hold. Save it as UTF-8 text.")


def _head(name: str, content: Content) -> tuple[int, str]:
    """How long the mark is that a file begins with, and then its first lines as letters of one byte each.

    There are more lines than a separator is told from.
    """
    size = _HEAD_BYTES
    head = content.head(size)
    for mark, encoding in _WIDE_MARKS.items():
        if head.startswith(mark):
            raise SourceError(f"{name} is text in {encoding}. Save it as UTF-8.")
    if head.startswith(b"\0\0\x08"):
        raise SourceError(f"{name} is an IDX file of pictures or labels, not a table. Make columns of it, a row each.")
    while len(head) == size and head.count(b"\n") + head.count(b"\r") < 2 * _SNIFFED_RECORDS:
        size *= 4
        head = content.head(size)
    if (at := head.find(b"\0")) >= 0:
        raise _nul_byte(name, content.line(at))
    mark = MARK if head.startswith(MARK) else b""
    return len(mark), head.removeprefix(mark).decode("latin-1")


def _separator(format: TableFormat, name: str, head: str) -> str:
    """The separator that was set, that the ending says, or that splits the first records into equally many values."""
    if format.separator is not None:
        if len(format.separator) != 1 or format.separator in '"\r\n' or not format.separator.isascii():
            raise SettingError(f"The separator is {format.separator!r}: give one character, such as ',' or ';'.")
        return format.separator
    if unpacked(name).endswith(".tsv"):
        return "\t"
    widths = {separator: _width(head, separator) for separator in _SEPARATORS}
    if max(widths.values()) > 1:
        return max(_SEPARATORS, key=widths.__getitem__)
    if not unpacked(name).endswith(".csv") and _is_aligned(head):
        return " "
    return max(_SEPARATORS, key=head.lstrip().partition("\n")[0].count)


def _first_records(head: str, separator: str) -> list[list[str]]:
    """The values of the first records that have any; no records where a quote does not end."""
    filled = (record.values for record in records(head, separator, lambda _: SourceError()) if record.values)
    try:
        return list(itertools.islice(filled, _SNIFFED_RECORDS))
    except SourceError:
        return []


def _width(head: str, separator: str) -> int:
    """How many values each of the first records has with this separator; 0 when they differ."""
    widths = {len(values) for values in _first_records(head, separator)}
    return widths.pop() if len(widths) == 1 else 0


def _is_aligned(head: str) -> bool:
    """Blanks make equally many values, several, of the first lines, and numbers among those of each but the header."""
    lines = aligned_lines(head.encode("latin-1")).decode("latin-1")
    return _width(lines, " ") > 1 and all(any(map(_NUMBER.fullmatch, each)) for each in _first_records(lines, " ")[1:])


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
