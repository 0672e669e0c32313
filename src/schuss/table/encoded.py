"""Encoded tables: rows for training, validation and testing, in memory, or in the cache for this run and the next.

An entry of the cache holds the packed rows of each part, and what is known of the table. Its name is a digest of all
that these depend on, so that a run which finds it need not read the table at all.
"""

import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import numpy as np

import schuss
from schuss.arrays import Rows
from schuss.errors import SourceError
from schuss.table import cache
from schuss.table.cache import MANIFEST, cache_folder, new_entry, read_signed, write_signed
from schuss.table.encoding import Encoding
from schuss.table.memory import half_of_free_memory
from schuss.table.parts import Parts
from schuss.table.paths import files_of
from schuss.table.shards import PackedStore, pack
from schuss.table.sparse import WINDOW_BYTES, SparseStore, SparseTable
from schuss.table.store import MemoryStore, Store

FORMAT = 2  # of the entries
_PARTS, _SHARES = ("training", "validation", "test"), (0.75, 0.125, 0.125)  # of the memory
_LITTLE_MEMORY = float(1 << 26)  # bytes that are there in any case: to ask takes as long as a tenth of a small fit
_MOST_MEMORY = float(1 << 31)  # bytes for packed rows where none are given, so that W does not depend on what is free

Stores: TypeAlias = tuple[Store, Store | None, Store | None]  # of each part


@dataclass(frozen=True)
class Facts:
    """What is known of a table when its rows are encoded.

    name, rows: of the whole table. nulls: how many values are missing in each column that has gaps, of all rows.
    shares: Σ w_i of the training rows by class; of a regression all are one class. factors: of each class, which the
    weights of its training rows were multiplied with after that; () for none.
    left_out: rows that are in no part, by reason. notes: on the reading of the table.
    """

    name: str
    rows: int
    nulls: Mapping[str, int]
    encoding: Encoding
    left_out: Mapping[str, int]
    notes: tuple[str, ...]
    shares: tuple[float, ...] = ()
    factors: tuple[float, ...] = ()


@dataclass(frozen=True)
class Origin:
    """What encoded rows depend on. files: of each source; key: the name of their entry, "" if a source is no file."""

    sources: Sequence[object]
    files: Sequence[Any]
    key: str

    @classmethod
    def of(cls, sources: Sequence[object], *what: Any) -> "Origin":
        """That of rows made of these sources, and of plain values that tell how."""
        files = [files_of(source) for source in sources]
        described = msgspec.json.encode((schuss.__version__, FORMAT, files, what), enc_hook=str)
        return cls(sources, files, "" if None in files else hashlib.sha256(described).hexdigest()[:32])

    def is_unchanged(self) -> bool:
        """Whether the files are still the same."""
        return self.files == [files_of(source) for source in self.sources]


def encode(
    parts: Sequence[tuple[Parts, int]],
    facts: Facts,
    *,
    seed: int,
    memory: float | None,
    taken: int = 0,
    origin: Origin | None = None,
) -> tuple[Facts, Stores]:
    """The encoded rows of the parts, and the facts with the shares of the training rows.

    In memory if all of them fit; else they are packed on the disk, held-out parts of at most an eighth of the memory
    are held all the same, and three quarters are for training.

    Arguments:
        parts: for training, validation and testing; the last two may have no rows.
        facts: without shares.
        seed: deals packed rows.
        memory: bytes; None for half of what is free. taken: bytes of it that the table holds meanwhile.
        origin: by which other runs find the rows when they are packed; None gives the disk back when this process
            lets go of them.

    Raises:
        DataError: a row cannot be encoded, or a file was changed meanwhile.
        OutputError: the cache cannot be written, or its disk is too small.
    """
    encoding, counts = facts.encoding, [own.count(part) for own, part in parts]
    shares = _Shares(len(encoding.schema.target.classes))
    if fits(parts, encoding, memory, taken):
        training, validation, test = (_held(encoding, own, part) for own, part in parts)
        assert training
        if isinstance(training, MemoryStore):
            training.rows = _by_class(shares.add(training.rows), facts.factors)
        else:
            training.labels = _by_class(shares.add(training.labels), facts.factors)
        return replace(facts, shares=shares.found()), (training, validation, test)
    key = origin.key if origin else ""
    place = cache_folder() / (key or os.urandom(16).hex())
    with new_entry(place) as folder:
        for (own, part), count, name, share in zip(parts, counts, _PARTS, _SHARES, strict=True):
            trained, most = name == "training", int(share * _memory(memory))
            blocks = (encoding.encode(block, rows) for block, rows in own.blocks(part, encoding.column_names))
            if count:
                passing = (_by_class(shares.add(rows), facts.factors) for rows in blocks) if trained else blocks
                pack(passing, folder / name, count, seed=seed, memory=most, deal=trained)
        if origin and not origin.is_unchanged():
            raise SourceError(f"{facts.name} was changed while it was read. Start again.")
        write_signed(folder / MANIFEST, FORMAT, replace(facts, shares=shares.found()))
    found = _loaded(place, memory)
    if not key:
        shutil.rmtree(place, ignore_errors=True)
    return found


def load(origin: Origin, memory: float | None) -> tuple[Facts, Stores] | None:
    """As encode, of the rows that an earlier run left there; None where none has.

    Raises:
        SourceError: the entry is damaged.
    """
    place = cache_folder() / origin.key
    if not origin.key or not (place / MANIFEST).is_file():
        return None
    facts, stores = _loaded(place, memory)
    return replace(facts, notes=(*facts.notes, "the copy is that of an earlier run (see `schuss cache`)")), stores


def name_of(entry: cache.Entry) -> str:
    """What a person knows an entry of the cache by: its table, or where it lies if it is damaged."""
    try:
        facts = read_signed(entry.folder / MANIFEST, FORMAT, Facts)
    except SourceError:
        return f"{entry.folder} (damaged)"
    return f"{facts.name}: {facts.rows:,} rows"


def _loaded(entry: Path, memory: float | None) -> tuple[Facts, Stores]:
    """What an entry holds."""
    facts = read_signed(entry / MANIFEST, FORMAT, Facts)
    most, row_bytes = _memory(memory), facts.encoding.row_bytes

    def held_out(name: str, share: float) -> Store | None:
        if not (entry / f"{name}.json").exists():
            return None
        packed = PackedStore(entry / name)
        return MemoryStore(packed.rows()) if len(packed) * row_bytes <= share * most else packed

    training = PackedStore(entry / _PARTS[0])
    validation, test = map(held_out, _PARTS[1:], _SHARES[1:])
    size = len(training) * row_bytes / 1e6
    note = f"the training rows take {size:,.1f} MB, more than --memory: they are read from a copy on disk"
    return replace(facts, notes=(*facts.notes, note)), (training, validation, test)


def _held(encoding: Encoding, own: Parts, part: int) -> MemoryStore | SparseStore | None:
    """The rows of a part in memory, those of a sparse matrix as they are stored there."""
    count = own.count(part)
    if not count:
        return None
    small = count * encoding.row_bytes <= WINDOW_BYTES
    if small or encoding.categories or not isinstance(own.table, SparseTable):  # a window has no codes
        return MemoryStore(encoding.encode_blocks(own.blocks(part, encoding.column_names), count))
    labels = encoding.encode_labels(own.blocks(part), count)
    return SparseStore(labels, own.rows(part), encoding.features, partial(encoding.write_stored, own.table))


def fits(parts: Sequence[tuple[Parts, int]], encoding: Encoding, memory: float | None, taken: int) -> bool:
    """Whether all these rows, encoded, may lie in memory, and those of folds twice; arguments as of encode."""
    if isinstance(parts[0][0].table, SparseTable):
        return True
    folds = parts[0][0].folds
    rows = sum(own.count(part) for own, part in parts) + (0 if folds is None else np.count_nonzero(folds >= 0))
    return _fits(int(rows) * encoding.row_bytes, memory, taken)


def _fits(size: int, memory: float | None, taken: int) -> bool:
    """Whether so many bytes are there, beside those that are taken; as few as can be are not asked for."""
    if memory is not None:
        return size <= memory - taken
    return size <= _LITTLE_MEMORY or size <= half_of_free_memory()


def _memory(given: float | None) -> float:
    """Bytes for packed rows."""
    return min(half_of_free_memory(), _MOST_MEMORY) if given is None else given


def _by_class(rows: Rows, factors: Sequence[float]) -> Rows:
    """The rows with their weights multiplied by the factor of their class."""
    if not factors:
        return rows
    own = np.array(factors, np.float32)[rows.targets[:, 0].astype(int)]
    return replace(rows, weights=own if rows.weights is None else own * rows.weights)


def without_factors(rows: Rows, facts: Facts) -> Rows:
    """Training rows with the weights that they had before the factors of their classes."""
    if not facts.factors:
        return rows
    if facts.encoding.schema.weight is None:
        return replace(rows, weights=None)
    return _by_class(rows, [1 / factor if factor else 0.0 for factor in facts.factors])


class _Shares:
    """Σ w_i of the rows of each class, summed up as they pass; of a regression all are of one class."""

    def __init__(self, classes: int) -> None:
        self._classes, self._weights = classes, np.zeros(max(classes, 2))

    def add(self, rows: Rows) -> Rows:
        """The rows, as they are."""
        if self._classes:
            self._weights += np.bincount(rows.targets[:, 0].astype(int), rows.weights, len(self._weights))
        else:
            self._weights[0] += rows.total_weight
        return rows

    def found(self) -> tuple[float, ...]:
        """One number for each class, at least two."""
        return tuple(self._weights.tolist())
