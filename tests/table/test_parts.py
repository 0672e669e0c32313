"""Every row of a table is in one part or left out for a reason, whatever the blocks that it is read in."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from schuss.errors import CellError, ColumnError
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
