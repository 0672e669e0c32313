"""Every row of a table is in one part or left out for a reason, whatever the blocks that it is read in."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from schuss.errors import CellError, ColumnError, SettingError
from schuss.table.by import By
from schuss.table.order import TEST, TRAINING, VALIDATION
from schuss.table.parts import Parts
from schuss.table.schema import find_target
from schuss.table.source import read_table
from schuss.table.table import Table


def rows_of(parts: Parts, part: int) -> list[int]:
    """The row numbers of a part, from a column x that holds them."""
    found = [block.data["x"].to_numpy()[rows] for block, rows in parts.blocks(part)]
    return [int(x) for each in found for x in each]


def numbered(**columns: Any) -> Table:
    return read_table({"x": np.arange(len(next(iter(columns.values())))), **columns})


targets = st.lists(st.sampled_from([None, "a", "b", "c"]), min_size=1, max_size=60).filter(any)


@given(targets, st.floats(0, 0.45), st.floats(0, 0.45), st.integers(1, 20), st.integers(0, 100))
def test_parts_are_the_same_for_blocks_of_any_size(
    labels: list[str | None], validation: float, test: float, block: int, seed: int
) -> None:
    table = numbered(y=labels, w=[row % 3 for row in range(len(labels))])
    target = find_target(table, ["y"])

    def dealt() -> list[list[int]]:
        parts = Parts(table, target, "w")
        parts.deal(seed, validation, test)
        found = [rows_of(parts, part) for part in (TRAINING, VALIDATION, TEST)]
        assert [len(rows) for rows in found] == [parts.count(part) for part in (TRAINING, VALIDATION, TEST)]
        assert sum(map(len, found)) == parts.usable
        assert parts.usable + sum(parts.left_out.values()) == len(labels)
        return found

    whole = dealt()
    expected = [row for row, label in enumerate(labels) if label and row % 3]
    assert sorted(itertools.chain(*whole)) == expected
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("schuss.table.table.BLOCK_ROWS", block)
        assert dealt() == whole


def test_rows_are_left_out_for_one_reason_each() -> None:
    table = numbered(y=[1.5, None, 2.5, None, 3.5], w=[1, 1, 0, 0, 2])
    parts = Parts(table, find_target(table, ["y"]), "w")
    assert parts.left_out == {"no value in the target": 2, "weight 0": 1}
    assert rows_of(parts, TRAINING) == [0, 4]
    assert Parts(table, find_target(table, ["y"])).left_out == {"no value in the target": 2}


def test_a_weight_of_a_row_without_target_is_not_looked_at() -> None:
    table = numbered(y=[1.5, None, 2.5], w=[1.0, -1.0, 2.0])
    assert Parts(table, find_target(table, ["y"]), "w").usable == 2
    with pytest.raises(CellError, match=r"row 2: the weight in 'w' is -1"):
        Parts(table, find_target(table, ["x"]), "w")


def test_a_table_of_no_row_with_every_target_is_refused() -> None:
    table = numbered(y=[1.5, None], z=[None, 1.5])
    with pytest.raises(ColumnError, match="no row has a value in 'y' and 'z'"):
        Parts(table, find_target(table, ["y", "z"]))


def held_out_by(by: str, values: Any, validation: float, test: float, seed: int = 0, **others: Any) -> list[list[int]]:
    """The rows of training, validation and test."""
    table = numbered(y=np.arange(len(values)) / 7, key=values, **others)
    parts = Parts(table, find_target(table, ["y"]), by=By.of(f"{by}:key"))
    parts.deal(seed, validation, test)
    return [rows_of(parts, part) for part in (TRAINING, VALIDATION, TEST)]


def in_small_blocks(block: int, make: Any) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("schuss.table.table.BLOCK_ROWS", block)
        return make()


fractions = st.floats(0, 0.45)
keys = st.one_of(
    st.lists(st.integers(-(2**62), 2**62), min_size=3, max_size=6, unique=True),
    st.lists(st.floats(-1e300, 1e300), min_size=3, max_size=6, unique_by=lambda key: key + 0.0),
    st.lists(st.text("aäz0 ", max_size=3).map(lambda text: f"a{text}z"), min_size=3, max_size=6, unique=True),
)


@settings(max_examples=30)
@given(keys, st.data(), fractions, fractions, st.integers(1, 20), st.integers(0, 100))
def test_rows_of_a_group_are_in_one_part_for_blocks_of_any_size(
    keys: list[Any], data: st.DataObject, validation: float, test: float, block: int, seed: int
) -> None:
    values = data.draw(st.lists(st.sampled_from(keys), max_size=40)) + keys
    found = held_out_by("group", values, validation, test, seed)
    assert in_small_blocks(block, lambda: held_out_by("group", values, validation, test, seed)) == found
    groups = [{values[row] for row in rows} for rows in found]
    assert sum(map(len, groups)) == len(keys)
    assert sorted(itertools.chain(*found)) == list(range(len(values)))
    assert [bool(rows) for rows in found] == [True, validation > 0, test > 0]


@settings(max_examples=50)
@given(keys.filter(lambda keys: not isinstance(keys[0], str)), st.data(), fractions, fractions, st.integers(1, 20))
def test_later_times_are_held_out_for_blocks_of_any_size(
    keys: list[Any], data: st.DataObject, validation: float, test: float, block: int
) -> None:
    values = data.draw(st.permutations(data.draw(st.lists(st.sampled_from(keys), max_size=40)) + keys))
    try:
        found = held_out_by("time", values, validation, test)
    except SettingError as error:
        assert "too few different times" in str(error)  # noqa: PT017
        return
    assert in_small_blocks(block, lambda: held_out_by("time", values, validation, test)) == found
    spans = [{values[row] for row in rows} for rows in found if rows]
    for later, earlier in itertools.pairwise(reversed(spans)):
        assert min(later) > max(earlier)
    assert sorted(itertools.chain(*found)) == list(range(len(values)))
    assert [bool(rows) for rows in found] == [True, validation > 0, test > 0]


def test_sizes_are_as_near_to_the_fractions_as_groups_and_times_allow() -> None:
    for by in ("group", "time"):
        alone = held_out_by(by, np.random.default_rng(0).permutation(1000), 0.1, 0.2)
        assert [len(rows) for rows in alone] == [700, 100, 200]
    sizes = [500, 300, *[1] * 30]
    values = np.repeat(np.arange(len(sizes)), sizes)
    for seed in range(20):
        assert len(held_out_by("group", values, 0.0, 0.02, seed)[2]) == 17  # of 830 rows, whatever comes first
    years = np.repeat([2019, 2020, 2021, 2022, 2023], [20, 20, 20, 20, 20])
    assert [len(rows) for rows in held_out_by("time", years, 0.1, 0.1)] == [60, 20, 20]
    assert len(held_out_by("time", np.repeat([1, 2, 3], [60, 30, 8]), 0.0, 0.1)[2]) == 8  # 38 would be farther away


def test_groups_are_held_out_by_the_seed_and_all_sides_are_told() -> None:
    values = np.arange(1000) // 10
    first, again, other = (held_out_by("group", values, 0.1, 0.2, seed)[2] for seed in (0, 0, 1))
    assert first == again != other
    table = numbered(y=np.arange(1000) / 7, key=values)
    parts = Parts(table, find_target(table, ["y"]), by=By("group", "key"))
    parts.deal(0, 0.1, 0.2)
    assert parts.notes == ("groups in key: 20 for testing, 10 for validation, 70 for training",)


def test_rows_without_a_group_or_time_are_left_out() -> None:
    for by in ("group", "time"):
        table = numbered(y=[1.5, None, 2.5, 3.5, 4.5], key=[1, None, None, 2, 3])
        parts = Parts(table, find_target(table, ["y"]), by=By.of(f"{by}:key"))
        assert parts.left_out == {"no value in the target": 1, "no value in 'key'": 1}
        parts.deal(0, 0.3, 0.3)
        assert sorted(rows_of(parts, TRAINING) + rows_of(parts, VALIDATION) + rows_of(parts, TEST)) == [0, 3, 4]


def test_too_few_groups_or_times_and_strange_columns_are_errors() -> None:
    with pytest.raises(SettingError, match=r"There are 2 groups in 'key', and at least 3 are needed"):
        held_out_by("group", ["a", "b"] * 9, 0.1, 0.1)
    with pytest.raises(SettingError, match="too few different times in 'key'"):
        held_out_by("time", [1, 2] * 9, 0.1, 0.1)
    with pytest.raises(ColumnError, match="the time column 'key' holds text"):
        held_out_by("time", ["a", "b"] * 9, 0.1, 0.1)
    with pytest.raises(CellError, match="row 4: 'key' holds inf"):
        held_out_by("time", [1.0, 2.0, 3.0, np.inf], 0.1, 0.1)
    for words in ("key", "month:key", "group:"):
        with pytest.raises(SettingError, match="write group:COLUMN or time:COLUMN"):
            By.of(words)
    table = numbered(y=[1.5, 2.5])
    with pytest.raises(ColumnError, match="no group column 'key'"):
        Parts(table, find_target(table, ["y"]), by=By("group", "key"))


@settings(max_examples=50)
@given(targets, st.integers(2, 5), st.integers(1, 20), st.integers(0, 100))
def test_each_row_is_in_one_fold_and_folds_are_balanced(
    labels: list[str | None], folds: int, block: int, seed: int
) -> None:
    table = numbered(y=labels)

    def dealt() -> list[list[int]]:
        parts = Parts(table, find_target(table, ["y"], "multiclass"))
        parts.deal_folds(seed, folds)
        found = []
        for fold in range(folds):
            parts.hold_out(fold)
            found.append(rows_of(parts, TEST))
            assert sorted(found[-1] + rows_of(parts, TRAINING)) == [row for row, label in enumerate(labels) if label]
        return found

    found = dealt()
    assert in_small_blocks(block, dealt) == found
    assert sorted(itertools.chain(*found)) == [row for row, label in enumerate(labels) if label]
    for label in (*"abc", None):
        sizes = [sum(label in (labels[row], None) for row in rows) for rows in found]
        assert max(sizes) - min(sizes) <= 1


def test_folds_of_groups_are_whole_and_of_times_follow_one_another() -> None:
    values = np.random.default_rng(0).integers(0, 40, 500)
    table = numbered(y=np.arange(500) / 7, key=values)
    for by in ("group", "time"):
        parts = Parts(table, find_target(table, ["y"]), by=By.of(f"{by}:key"))
        parts.deal_folds(0, 4)
        seen: list[int] = []
        for fold in range(4):
            parts.hold_out(fold)
            testing, training = values[rows_of(parts, TEST)], values[rows_of(parts, TRAINING)]
            seen += rows_of(parts, TEST)
            if by == "time":
                assert testing.min() > training.max()
                assert 80 < len(testing) < 120
            else:
                assert not set(testing) & set(training)
                assert len(testing) + len(training) == 500
                assert 120 < len(testing) < 130
            parts.deal(0, 0.2, 0.0)
            assert not {*values[rows_of(parts, VALIDATION)]} & {*values[rows_of(parts, TRAINING)]}
        assert len(set(seen)) == len(seen)


def test_every_text_is_a_group_of_its_own() -> None:
    texts = ["".join(letters) for count in (1, 2, 3) for letters in itertools.product("abä\0", repeat=count)]
    table = read_table({"key": [text + "." for text in texts]})
    hashes = By("group", "key").keys(table, 0)
    assert len(set(hashes.tolist())) == len(texts)
    np.testing.assert_array_equal(By("group", "key").keys(table.slice(20, 40), 0), hashes[20:40])
    assert not np.intersect1d(By("group", "key").keys(table, 1), hashes).size
    bits = np.unpackbits(hashes.view(np.uint8)).reshape(-1, 64)
    assert np.abs(bits.mean(axis=0) - 0.5).max() < 0.25  # of 84 each: six deviations would be 0.33
