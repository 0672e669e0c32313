"""One column at a time: every type that Arrow knows becomes one of four, and then numbers or codes.

A column of a table is int64, float64, bool or dictionary<int32, string>; null is the one form of a missing value.
"""

import difflib
import itertools
import os
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from schuss.arrays import RowIndex
from schuss.errors import ColumnError

Kind: TypeAlias = Literal["missing", "integer", "float", "boolean", "date", "text"]
Numbers: TypeAlias = NDArray[np.float64]
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
Each: TypeAlias = Callable[[Callable[[Any], Any], Sequence[Any]], list[Any]]  # like map

TEXT = pa.dictionary(pa.int32(), pa.string())
_ROWS_WORTH_THREADS = 65_536  # up to so many, starting threads takes longer than they save
_PER_DAY = {"days": 1, "s": 86_400, "ms": 86_400 * 10**3, "us": 86_400 * 10**6, "ns": 86_400 * 10**9}


@cache
def kind_of(type: pa.DataType) -> Kind | None:
    """What a column of this Arrow type holds; None when a network cannot use it (lists, structs, bytes).

    A dictionary is text whatever its values are: who declares categories means categories.
    """
    if pa.types.is_dictionary(type):
        kind = kind_of(type.value_type)
        return kind if kind in (None, "missing") else "text"
    if isinstance(type, pa.BaseExtensionType):
        return kind_of(type.storage_type)
    checks: tuple[tuple[Any, Kind], ...] = (
        (pa.types.is_null, "missing"),
        (pa.types.is_boolean, "boolean"),
        (pa.types.is_integer, "integer"),
        (pa.types.is_floating, "float"),
        (pa.types.is_decimal, "float"),
        (pa.types.is_temporal, "date"),
        (pa.types.is_string, "text"),
        (pa.types.is_large_string, "text"),
        (pa.types.is_string_view, "text"),
    )
    return next((kind for check, kind in checks if check(type)), None) if not pa.types.is_interval(type) else None


def common_kind(kinds: Iterable[Kind]) -> Kind:
    """The narrowest kind that holds columns of all these kinds: integer → float → text."""
    found = set(kinds) - {"missing"}
    if len(found) <= 1:
        return found.pop() if found else "missing"
    return "float" if found == {"integer", "float"} else "text"


def canonical(column: pa.ChunkedArray, kind: Kind) -> pa.Array:
    """The column as one array of the type that `kind` stands for; NaN and empty text become null."""
    column = _storage(column)
    if kind == "text":
        return words(column)
    if kind == "boolean":
        return _whole(column.cast(pa.bool_()))
    if kind == "integer":
        return _integers(column)
    numbers = _days(column) if pa.types.is_temporal(column.type) else _floats(column)
    if not numbers.null_count and not np.isnan(_to_numpy(numbers)).any():
        return numbers
    undefined = pc.is_nan(numbers)
    return _without(numbers, undefined) if undefined.true_count else numbers


def words(column: pa.ChunkedArray, missing: Collection[str] = (), suffix: str = "") -> pa.DictionaryArray:
    """Text as codes of a dictionary, without spaces around it and `suffix`; "" and the words of `missing` are null."""
    encoded = _whole(column.cast(pa.string()).dictionary_encode())
    stripped = pc.utf8_trim_whitespace(encoded.dictionary)
    if suffix:
        cut = pc.utf8_slice_codeunits(stripped, 0, -len(suffix))
        stripped = pc.utf8_rtrim_whitespace(pc.if_else(pc.ends_with(stripped, suffix), cut, stripped))
    kept = _without(stripped, pc.is_in(stripped, value_set=_texts(["", *missing])))
    return encoded if kept.equals(encoded.dictionary) else kept.take(encoded.indices).dictionary_encode()


def narrowed(text: pa.DictionaryArray) -> pa.Array:
    """Text of nothing but whole numbers, numbers or truth values as that type; codes and other text as they are."""
    if len(text.dictionary) and not are_codes(text.dictionary):
        for type in (pa.int64(), pa.float64(), pa.bool_()):
            try:
                return text.dictionary.cast(type).take(text.indices)
            except pa.ArrowInvalid:
                continue
    return text


def are_codes(texts: pa.Array) -> bool:
    """Whether these are codes of digits such as 007: equally long, three digits or more, some with a leading zero."""
    lengths = pc.min_max(pc.utf8_length(texts)).as_py()
    same = lengths["min"] == lengths["max"] and (lengths["min"] or 0) > 2
    return same and bool(pc.any(pc.starts_with(texts, "0")).as_py() and pc.all(pc.utf8_is_digit(texts)).as_py())


def numbers(column: pa.ChunkedArray) -> Numbers:
    """[N] float64 of a numeric or boolean column, NaN where a value is missing; a view where that is possible."""
    array = _floats(column)
    return _filled(array, np.full(len(array), np.nan)) if array.null_count else _to_numpy(array)


def integers(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """The values of a column of whole numbers, exactly, without those that are missing."""
    return _to_numpy(_whole(column.drop_null() if column.null_count else column))


def present(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    """[N] whether there is a value."""
    if not column.null_count:
        return np.ones(len(column), np.bool_)
    return _to_numpy(_whole(column.is_valid().cast(pa.int8()))).view(np.bool_)


def codes(column: pa.ChunkedArray) -> tuple[NDArray[np.int32], pa.Array]:
    """[N] place of each value in the array of distinct values, -1 where it is missing; and that array.

    A dictionary longer than the column, as a block of a large table may have, is cut down to what occurs.
    """
    array = _whole(column if pa.types.is_dictionary(column.type) else column.dictionary_encode())
    places = _filled(array.indices, np.full(len(array), -1, np.int32))
    if len(array.dictionary) <= len(array):
        return places, array.dictionary
    used, own = np.unique(places, return_inverse=True)
    gap = int(len(used) > 0 and used[0] < 0)
    return own.astype(np.int32) - np.int32(gap), array.dictionary.take(from_numpy(used[gap:]))


def positions(values: pa.Array, labels: Sequence[str], otherwise: int) -> NDArray[np.int32]:
    """[n] the place of each text among the labels, `otherwise` where it is none of them."""
    found = pc.index_in(values, value_set=_texts(labels))
    return _filled(found, np.full(len(found), otherwise, np.int32))


@contextmanager
def workers(rows: int) -> Iterator[Each]:
    """A function like map: in threads where there are rows enough to pay for them, since NumPy works without the lock.

    rows: how many are to be gone through.
    """
    if rows <= _ROWS_WORTH_THREADS:
        yield lambda function, items: [function(item) for item in items]
        return
    with ThreadPoolExecutor(processors()) as pool:
        yield lambda function, items: list(pool.map(function, items))


def ahead(function: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
    """Like map, in threads, one item more than there are cores ahead of what is asked for; one item takes none."""
    coming = iter(items)
    first = next(coming, None)
    second = next(coming, None)
    if first is None or second is None:
        yield from () if first is None else (function(first),)
        return
    cores, waiting = processors(), deque[Future[_Result]]()
    with ThreadPoolExecutor(cores) as pool:
        every = itertools.chain((first, second), coming)
        del first, second  # nobody keeps what has been used
        for item in every:
            waiting.append(pool.submit(function, item))
            del item
            if len(waiting) > cores:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def processors() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def from_numpy(values: NDArray[Any]) -> pa.Array:
    """[N] numbers, one after another in memory, as an array that shares it; NaN stays NaN."""
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, pa.py_buffer(values)])


def as_slice(rows: RowIndex) -> RowIndex | slice:
    """Rows in unbroken ascending order as a slice, which reads without a copy."""
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1 and (rows[1:] - rows[:-1] == 1).all():
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows


def first_not_number(column: pa.ChunkedArray) -> tuple[int, str] | None:
    """Row and value of the first text that does not read as a number; None when each of them does."""
    places, texts = codes(column)
    strange = np.append(~are_numbers(texts), False)
    rows = np.flatnonzero(strange[places])
    return (int(rows[0]), texts[places[rows[0]]].as_py()) if len(rows) else None


def are_numbers(texts: pa.Array) -> NDArray[np.bool_]:
    """[n] whether each text reads as a number."""
    return np.array([_is_number(text) for text in texts.to_pylist()], np.bool_)


def nearest(name: str, names: Sequence[str]) -> str:
    """Advice for a name that is not there: the nearest one, or all of them when they are few."""
    if sum(map(_is_number, names)) > len(names) / 4:
        return "The names look like values: if the first line is no header, say --no-header."
    by_lower = {known.lower(): known for known in names}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1)
    if close:
        return f"Did you mean {by_lower[close[0]]!r}?"
    return f"There are {', '.join(map(repr, names))}." if len(names) <= 12 else f"There are {len(names):,} others."


def check_names(names: Sequence[str], source: str) -> None:
    """Every column has a name, and no two have the same."""
    for number, name in enumerate(names, 1):
        if not name:
            raise ColumnError(f"{source}: column {number} has no name. Give it one, or remove it.")
    doubled = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if doubled:
        places = [str(number) for number, name in enumerate(names, 1) if name == doubled[0]]
        raise ColumnError(f"{source}: the name {doubled[0]!r} stands over columns {' and '.join(places)}. Rename one.")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _whole(column: pa.ChunkedArray) -> pa.Array:
    """One array, dictionaries of several chunks made one."""
    if column.num_chunks == 1:
        return column.chunk(0)
    return (column.unify_dictionaries() if pa.types.is_dictionary(column.type) else column).combine_chunks()


def _floats(column: pa.ChunkedArray) -> pa.Array:
    """The numbers of a column as float64 in one array."""
    return _whole(column if column.type == pa.float64() else column.cast(pa.float64(), safe=False))


def _storage(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """What an extension type stands for, and a dictionary as text; no code of an extension is ever run."""
    if isinstance(column.type, pa.BaseExtensionType):
        stored = [chunk.storage for chunk in column.chunks]
        return _storage(pa.chunked_array(stored, column.type.storage_type))
    if pa.types.is_dictionary(column.type) and column.type != TEXT:
        texts = [chunk.dictionary.cast(pa.string()).take(chunk.indices) for chunk in column.chunks]
        return pa.chunked_array(texts, pa.string())
    return column


def _integers(column: pa.ChunkedArray) -> pa.Array:
    """int64, or float64 where a number is too large for it: nothing wraps."""
    try:
        return _whole(column.cast(pa.int64()))
    except pa.ArrowInvalid:
        return _floats(column)


def _days(column: pa.ChunkedArray) -> pa.Array:
    """Dates as days since 1970-01-01, times of day and durations as days, float64: the same whatever their unit."""
    unit = {pa.date32(): "days", pa.date64(): "ms"}.get(column.type) or column.type.unit
    counts = _whole(column.cast(pa.int32() if column.type.bit_width == 32 else pa.int64()).cast(pa.int64()))
    days, rest = np.divmod(_filled(counts, np.zeros(len(counts), np.int64)), _PER_DAY[unit])
    return _without(from_numpy(days + rest / _PER_DAY[unit]), counts.is_null())


# pa.array, pa.scalar, to_numpy and every function that is given a Python value import pandas where it is installed,
# which takes longer than most tables; what follows, and from_numpy, does without.


def _to_numpy(array: pa.Array) -> NDArray[Any]:
    """[N] the numbers of an array without nulls, sharing its memory."""
    values: NDArray[Any] = np.from_dlpack(array)
    return values


def _filled(array: pa.Array, filling: NDArray[Any]) -> NDArray[Any]:
    """[N] the numbers of an array, those of `filling` where it has none."""
    return _to_numpy(pc.coalesce(array, from_numpy(filling)))


def _texts(values: Sequence[str]) -> pa.Array:
    """A few texts as an array."""
    written = [value.encode() for value in values]
    ends = np.cumsum([0, *map(len, written)], dtype=np.int32)
    return pa.StringArray.from_buffers(len(values), pa.py_buffer(ends), pa.py_buffer(b"".join(written)))


def _without(values: pa.Array, absent: pa.Array) -> pa.Array:
    """The values, null where they are to be absent."""
    return pc.if_else(absent, pa.nulls(len(values), values.type), values)
