"""Sources under one another as one table, each column of the narrowest kind that holds it in all their pieces."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from schuss.errors import ColumnError, SourceError
from schuss.table.columns import Kind, check_names, common_kind
from schuss.table.pieces import Memory, Part, Piece, Pieces, Source, made_piece, of_kind, unchanged
from schuss.table.spool import Spooled
from schuss.table.table import BLOCK_ROWS, Table


def read_part(source: Source, text: Collection[str], only: Collection[str] | None, memory: Memory) -> Part:
    """The wanted columns of all pieces; those of `text` as text."""
    check_names(source.names, source.name)
    names = wanted_names(source.names, only)
    tables = source.tables(names, text, None)
    pieces = list(map(lambda table: memory.keep(made_piece(table, source.name, text), source), tables))
    if any(piece.columns is None for piece in pieces):  # the others would only take memory
        pieces = [memory.let_go(piece) for piece in pieces]
    return Part(source, pieces)


def union(parts: Sequence[Part], notes: list[str], memory: Memory) -> Table:
    """The parts under one another, each column of the narrowest kind that holds it in all pieces."""
    first = parts[0].source
    name = first.name if len(parts) == 1 else f"{first.name} and {len(parts) - 1} more"
    for part in parts:
        check_same_columns(first.name, first.names, part.source.name, part.source.names)
    kinds = {column: _column_kind(column, parts) for column in parts[0].pieces[0].kinds}
    parts = [_reread(part, kinds, memory) for part in parts]
    places = tuple(part.place() for part in parts)
    notes += [f"{column}: dates as days since 1970-01-01" for column, kind in kinds.items() if kind == "date"]
    held: pa.Table | Pieces = Pieces(parts, kinds)
    columns = [piece.columns for part in parts for piece in part.pieces]
    inside = [each for each in columns if isinstance(each, dict)]
    if len(inside) == len(columns):
        held = pa.table([_column(column, kind, inside) for column, kind in kinds.items()], names=list(kinds))
    if not kinds or not held.num_rows:
        raise SourceError(f"{name} has no {'rows' if kinds else 'columns'}. Give a table with both.")
    dates = frozenset(column for column, kind in kinds.items() if kind == "date")
    missing = next((part.source.missing for part in parts if part.source.missing), ())
    return Table(name, held, tuple(notes), places, dates, missing, memory.taken)


def wanted_names(names: Sequence[str], only: Collection[str] | None) -> Sequence[str]:
    """The names that are wanted; all of them where none is, for a message that can say what there is."""
    return [name for name in names if only is None or name in only] or names


def check_same_columns(first: str, expected: Collection[str], other: str, found: Collection[str]) -> None:
    """Both have the same columns, in whatever order."""
    if set(expected) != set(found):
        differences = [f"{n!r} is missing" for n in sorted(set(expected).difference(found))]
        differences += [f"{n!r} is not in the first file" for n in sorted(set(found).difference(expected))]
        raise ColumnError(
            f"{other} has other columns than {first}: {', '.join(differences[:10])}. Give files with the same columns."
        )


def _column_kind(column: str, parts: Sequence[Part]) -> Kind:
    """The kind that holds this column in all pieces; dates of several clocks are text together."""
    pieces = [piece for part in parts for piece in part.pieces]
    joint = common_kind(piece.kinds[column] for piece in pieces)
    if joint == "text" and any(piece.codes.get(column) for piece in pieces):
        declared = {piece.kinds[column] for part in parts if part.source.typed for piece in part.pieces}
        return joint if declared - {"missing"} else _kind_of_codes(column, pieces)
    return "text" if joint == "date" and len({piece.clocks.get(column) for piece in pieces} - {None}) > 1 else joint


def _kind_of_codes(column: str, pieces: Sequence[Piece]) -> Kind:
    """Of a column with codes such as 007 in some pieces: text, unless others make them numbers of several lengths."""
    others = [piece for piece in pieces if column not in piece.codes and piece.kinds[column] != "missing"]
    kind = common_kind(["integer", *(piece.kinds[column] for piece in others)])
    lengths = {piece.codes[column] for piece in pieces if column in piece.codes}
    if kind == "integer" and len(lengths) == 1:
        ends = [pc.min_max(piece.read([column])[column]).as_py() for piece in others]
        lengths |= {len(str(number)) if number >= 0 else 0 for each in ends for number in each.values()}
    return "text" if kind == "integer" and len(lengths) == 1 else kind


def _reread(part: Part, kinds: Mapping[str, Kind], memory: Memory) -> Part:
    """Values as they were written in columns that became text although a piece holds none there."""
    changed = {
        number: names
        for number, piece in enumerate(part.pieces)
        if (names := [name for name, kind in kinds.items() if kind == "text" and piece.kinds[name] != "text"])
        and piece.columns is not None
    }
    if not changed:
        return part
    source, pieces = part.source, list(part.pieces)
    names = sorted(set().union(*changed.values()))
    for number, table in zip(changed, source.tables(names, names, list(changed)), strict=True):
        old = pieces[number]
        new = made_piece(unchanged(table, old, source.name), source.name, names)
        columns = old.read(list(old.kinds)) | new.read(names)
        if isinstance(old.columns, Spooled):
            old.columns.remove()
        pieces[number] = memory.keep(replace(old, columns=columns, nulls=old.nulls | new.nulls), source)
    return Part(source, pieces)


def _column(name: str, kind: Kind, pieces: Sequence[dict[str, pa.Array]]) -> pa.ChunkedArray:
    """One column of all pieces, which give it up: text in one, and a few rows; the numbers of many as they lie."""
    joined = pa.chunked_array([of_kind(piece.pop(name), kind) for piece in pieces])
    if joined.num_chunks == 1 or (kind != "text" and len(joined) > BLOCK_ROWS):
        return joined
    return pa.chunked_array([(joined.unify_dictionaries() if kind == "text" else joined).combine_chunks()])
