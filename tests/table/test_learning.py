"""What is learned of a column does not depend on the blocks that it is learned from."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from schuss.errors import CellError
from schuss.table import learning
from schuss.table.learning import learn_schema
from schuss.table.schema import QUANTILES, BooleanColumn, CategoricalColumn, NumericColumn, Schema, find_target
from schuss.table.source import read_table
from schuss.table.table import BLOCK_ROWS, Blocks, Table, chosen

TEXTS = [None, "a", "b", "c", "dd"]


def blocks(table: Table, sizes: Sequence[int]) -> Blocks:
    """The table in blocks of these sizes, again and again, every row of which is learned from."""
    start = 0
    while start < len(table):
        for size in sizes:
            stop = min(start + size, len(table))
            if stop > start:
                yield table.slice(start, stop), slice(0, stop - start)
            start = stop


def learned(table: Table, sizes: Sequence[int], **settings: Any) -> Schema:
    return learn_schema(table, find_target(table, ["y"]), blocks(table, sizes), **settings)


def spread(column: NumericColumn) -> tuple[tuple[float, ...], ...]:
    return column.quantiles, column.heavy, column.others, column.spikes


def assert_alike(schema: Schema, expected: Schema) -> None:
    assert schema.dropped == expected.dropped
    assert schema.rows == expected.rows
    for column, other in zip(schema.columns, expected.columns, strict=True):
        if isinstance(column, NumericColumn) and isinstance(other, NumericColumn):
            assert math.isclose(column.mean, other.mean, rel_tol=1e-12, abs_tol=1e-12 * other.deviation)
            assert math.isclose(column.deviation, other.deviation, rel_tol=1e-9)
            exact = (column.missing, column.distinct, column.least, column.greatest, *spread(column))
            assert exact == (other.missing, other.distinct, other.least, other.greatest, *spread(other))
        else:
            assert column == other


numbers = st.one_of(st.none(), st.integers(-3, 3), st.floats(-1e6, 1e6))
rows = st.tuples(numbers, st.sampled_from([None, True, False]), st.sampled_from(TEXTS), st.sampled_from([1.0, 0.5, 3]))


@given(st.lists(rows, min_size=2, max_size=40), st.lists(st.integers(1, 9), min_size=1, max_size=4), st.booleans())
def test_blocks_of_any_size_teach_the_same(values: list[Any], sizes: list[int], weighted: bool) -> None:
    number, truth, text, weight = (list(each) for each in zip(*values, strict=True))
    columns = {"n": [None if v is None else float(v) for v in number], "t": truth, "c": text, "w": weight}
    table = read_table({"y": np.arange(len(values)) * 0.5, "x": np.arange(len(values)) ** 2, **columns})
    settings = {"weight": "w"} if weighted else {"exclude": "w"}
    assert_alike(learned(table, sizes, **settings), learned(table, [len(values)], **settings))


@given(st.lists(st.sampled_from(TEXTS[1:]), min_size=2, max_size=30), st.integers(1, 7))
def test_blocks_with_dictionaries_of_their_own_are_counted_by_their_texts(texts: list[str], size: int) -> None:
    numbers = np.arange(len(texts))
    whole = read_table({"y": numbers * 0.5, "x": numbers, "c": texts})
    cuts = range(0, len(texts), size)
    parts = [read_table({"y": numbers[i : i + size] * 0.5, "x": numbers[i : i + size], "c": texts[i : i + size]})
             for i in cuts]  # fmt: skip
    schema = learn_schema(whole, find_target(whole, ["y"]), [(part, slice(0, len(part))) for part in parts])
    assert_alike(schema, learned(whole, [len(texts)]))


def test_a_table_in_memory_is_learned_from_in_blocks_of_a_fixed_size() -> None:
    count = 2 * BLOCK_ROWS + 7
    table = read_table({"y": np.arange(count) * 0.5, "x": np.arange(count)})
    training = np.flatnonzero(np.arange(count) % 3)
    seen = [(len(block), block.data["x"].to_numpy()[rows].tolist()) for block, rows in chosen(table, training)]
    assert [size for size, _ in seen] == [BLOCK_ROWS, BLOCK_ROWS, 7]
    assert [x for _, found in seen for x in found] == training.tolist()
    column = learn_schema(table, find_target(table, ["y"]), chosen(table, training)).columns[0]
    assert isinstance(column, NumericColumn)
    assert math.isclose(column.mean, training.mean(), rel_tol=1e-14)
    assert math.isclose(column.deviation, training.std(), rel_tol=1e-14)


def test_the_rarest_of_too_many_texts_are_let_go_but_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "_MOST_TEXTS", 20)
    texts = [f"rare {number}" for number in range(300)] + ["often"] * 500 + ["seldom"] * 10
    order = np.random.default_rng(0).permutation(len(texts))
    parts = [read_table({"y": [0.5] * len(some), "c": [texts[i] for i in some]}) for some in np.array_split(order, 30)]
    whole = read_table({"y": np.arange(len(texts)) * 0.5, "c": texts})
    schema = learn_schema(whole, find_target(whole, ["y"]), [(part, slice(0, len(part))) for part in parts])
    column = schema.columns[0]
    assert isinstance(column, CategoricalColumn)
    assert column.levels[0] == "often"
    assert column.counts[0] == 500
    assert sum(column.counts) + column.other == len(texts)
    assert column.distinct >= 302


@pytest.mark.parametrize("values", [[1e308, -1e308] * 3, [5e-324, 0.0] * 3, [1e308, 1.7e308] * 3])
def test_the_largest_and_smallest_numbers_neither_overflow_nor_vanish(values: list[float]) -> None:
    table = read_table({"y": np.arange(6) * 0.5, "x": values})
    column = learned(table, [1]).columns[0]
    assert isinstance(column, NumericColumn)
    assert math.isfinite(column.mean)
    assert math.isclose(column.mean / values[0], (1 + values[1] / values[0]) / 2, abs_tol=0.51)
    assert 0 < column.deviation < math.inf


def test_a_column_that_is_constant_in_every_block_is_not_constant() -> None:
    table = read_table({"y": np.arange(4) * 0.5, "x": [1, 1, 2, 2], "t": [True, True, False, False]})
    number, truth = learned(table, [2]).columns
    assert isinstance(number, NumericColumn)
    assert isinstance(truth, BooleanColumn)
    assert (number.distinct, number.mean, number.deviation, truth.share) == (2, 1.5, 0.5, 0.5)


def test_a_weight_in_any_block_is_enough_and_none_is_refused() -> None:
    table = read_table({"y": np.arange(4) * 0.5, "x": [1, 2, 3, 5], "w": [0, 0, 1, 3]})
    column = learned(table, [2], weight="w").columns[0]
    assert isinstance(column, NumericColumn)
    assert (column.mean, column.least, column.greatest) == (4.5, 1.0, 5.0)
    nothing = read_table({"y": np.arange(4) * 0.5, "x": [1, 2, 3, 5], "w": [0, 0, 0, 0]})
    with pytest.raises(CellError, match="all weights in 'w' are 0"):
        learned(nothing, [2], weight="w")


def test_a_value_that_is_infinite_is_named_by_its_row_in_whatever_block_it_stands() -> None:
    table = read_table({"y": np.arange(5) * 0.5, "x": [1, 2, 3, math.inf, 5]})
    with pytest.raises(CellError, match="row 4: 'x' holds inf"):
        learned(table, [2])


@given(st.lists(st.one_of(st.none(), st.floats(-1e300, 1e300)), min_size=3, max_size=300))
def test_quantiles_of_few_rows_are_values_of_theirs(values: list[float | None]) -> None:
    table = read_table({"y": np.arange(len(values)) * 0.5, "x": np.arange(len(values)), "z": values})
    known = np.array([value for value in values if value is not None])
    for column in learned(table, [7]).columns[1:]:
        assert isinstance(column, NumericColumn)
        expected = np.quantile(known, np.linspace(0, 1, QUANTILES), method="nearest")
        assert column.quantiles == tuple(expected.tolist())


def test_quantiles_of_many_rows_come_from_a_sample_that_no_cut_changes() -> None:
    count = 150_000
    values = np.random.default_rng(0).exponential(size=count)
    gaps = np.where(np.arange(count) % 3, values, np.nan)
    table = read_table(
        {"y": np.arange(count) * 0.5, "x": np.sort(values), "z": gaps, "rare": [None, 1.0, *[None] * (count - 3), 2.0]}
    )
    column, thinned, rare = learned(table, [count]).columns
    assert isinstance(column, NumericColumn)
    assert isinstance(thinned, NumericColumn)
    assert isinstance(rare, NumericColumn)
    levels = np.linspace(0, 1, QUANTILES)
    assert np.abs(1 - np.exp(-np.array(column.quantiles)) - levels).max() < 0.03
    assert np.abs(1 - np.exp(-np.array(thinned.quantiles)) - levels).max() < 0.04
    assert (column.quantiles[0], column.quantiles[-1]) == (values.min(), values.max())
    assert set(rare.quantiles) == {1.0, 2.0}
    assert_alike(learned(table, [65_536]), learned(table, [30_000, 1, 999]))


@given(st.lists(st.sampled_from([None, -2.0, 0.0, 0.0, 0.5, 7.0, 1e9]), min_size=3, max_size=300))
def test_few_distinct_numbers_are_all_known(values: list[float | None]) -> None:
    table = read_table({"y": np.arange(len(values)) * 0.5, "x": np.arange(len(values)), "z": values})
    for column in learned(table, [11]).columns[1:]:
        assert isinstance(column, NumericColumn)
        assert sorted(column.heavy + column.others) == sorted({value for value in values if value is not None})
        counts = [values.count(value) for value in column.others]
        assert all(count * 128 < len(values) - column.missing for count in counts)


def test_heavy_numbers_stand_apart_from_the_quantiles_of_the_others() -> None:
    count, random = 120_000, np.random.default_rng(3)
    kinds = random.random(count)
    values = np.select([kinds < 0.9, kinds < 0.93], [0.0, 99_999.0], 5000 + 1000 * random.normal(size=count))
    values[7] = np.nan
    table = read_table({"y": np.arange(count) * 0.5, "x": values, "z": random.normal(size=count)})
    column, plain = learned(table, [count]).columns
    assert isinstance(column, NumericColumn)
    assert isinstance(plain, NumericColumn)
    assert column.heavy == (0.0, 99_999.0)
    assert len(column.others) == QUANTILES
    between = np.array(column.others)
    assert np.abs(between[32] - 4325) < 150
    assert np.abs(between[96] - 5675) < 150
    assert (plain.heavy, plain.others) == ((), ())
    assert_alike(learned(table, [50_000, 7]), learned(table, [count]))


@given(st.lists(st.sampled_from([None, -2.0, 0.0, 0.0, 0.0, 0.5, 7.0, 1e9]), min_size=3, max_size=100))
def test_spikes_are_the_frequent_numbers_of_a_column_that_is_mostly_one(values: list[float | None]) -> None:
    table = read_table({"y": np.arange(len(values)) * 0.5, "x": np.arange(len(values)), "z": values})
    counts = Counter(value for value in values if value is not None)
    for column in learned(table, [11]).columns[1:]:
        assert isinstance(column, NumericColumn)
        spiked = len(counts) > 2 and 2 * max(counts.values()) >= counts.total()
        assert list(column.spikes) == sorted(value for value, count in counts.items() if spiked and count >= 3)


@pytest.mark.parametrize("kinds", [200, 30_000])
def test_spikes_of_many_distinct_numbers_are_the_most_frequent(kinds: int) -> None:
    count = 60_000
    values = np.where(np.arange(count) % 3, -1.0, np.arange(count) // 3 % kinds + 0.5)
    values[:6000] = -2.0
    table = read_table({"y": np.arange(count) * 0.5, "x": np.random.default_rng(0).permutation(values)})
    (column,) = learned(table, [count]).columns
    assert isinstance(column, NumericColumn)
    assert column.spikes[:2] == (-2.0, -1.0)
    assert len(column.spikes) == (128 if kinds == 200 else 2)
    assert_alike(learned(table, [9999, 1]), learned(table, [count]))


def many_texts(count: int, texts: int) -> list[str]:
    """Texts of which the first are the most frequent."""
    chances = 1 / np.arange(1, texts + 1)
    drawn = np.random.default_rng(5).choice(texts, count, p=chances / chances.sum())
    return [f"user {number}" for number in drawn.tolist()]


@pytest.mark.parametrize(("bound", "buckets"), [(10, 16), (60, 14), (73, 1)])
def test_of_more_levels_than_the_bound_the_others_are_spread_over_buckets(
    bound: int, buckets: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "MOST_LEVELS", bound)
    monkeypatch.setattr(learning, "MOST_BUCKETS", 16)
    texts = many_texts(1000, 150)
    counts = {text: texts.count(text) for text in texts}
    frequent = sorted((text for text in counts if counts[text] >= 3), key=lambda text: (-counts[text], text))
    assert len(frequent) == 74
    table = read_table({"y": np.arange(1000) * 0.5, "c": texts})
    schema = learned(table, [1000])
    (column,) = schema.columns
    assert isinstance(column, CategoricalColumn)
    assert column.levels == tuple(frequent[:bound])
    assert column.buckets == buckets
    assert column.codes == bound + buckets
    assert_alike(learned(table, [64, 3]), schema)


def test_texts_that_are_rare_share_one_code_and_no_buckets() -> None:
    texts = [f"once {number}" for number in range(2000)] + ["a", "b", "c"] * 1000
    table = read_table({"y": np.arange(len(texts)) * 0.5, "c": texts})
    (column,) = learned(table, [700]).columns
    assert column == CategoricalColumn("c", 0, ("a", "b", "c"), (1000,) * 3, 2003, 2000, buckets=1)
