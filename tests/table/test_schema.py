"""A schema says what every column is; kinds come from all rows, statistics from the training rows alone."""

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, strategies as st

from schuss.errors import CellError, ColumnError, DataError, SettingError
from schuss.table.learning import learn_schema
from schuss.table.parts import Parts
from schuss.table.schema import (
    BooleanColumn,
    CategoricalColumn,
    Column,
    NumericColumn,
    Schema,
    Target,
    Task,
    counted_numbers,
    find_target,
    has_target,
)
from schuss.table.source import read_table
from schuss.table.table import Table, chosen


def learned(columns: dict[str, Any], training: Any = None, names: tuple[str, ...] = ("y",), **settings: Any) -> Schema:
    """The schema of a table whose target is y; numbers 0, 1, … unless it is given."""
    size = len(next(iter(columns.values())))
    table = read_table({"y": np.arange(size) + 0.5, **columns})
    rows = np.arange(size) if training is None else np.asarray(training)
    return learn_schema(table, find_target(table, names), chosen(table, rows), **settings)


def numeric(schema: Schema) -> NumericColumn:
    column = schema.columns[0]
    assert isinstance(column, NumericColumn)
    return column


def categorical(schema: Schema) -> CategoricalColumn:
    column = schema.columns[0]
    assert isinstance(column, CategoricalColumn)
    return column


# -- the target ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "task", "kind", "classes", "reason"),
    [
        ([0.5, 1.5, 2.5], "regression", "float", (), "3 distinct numbers"),
        (list(range(100)), "regression", "integer", (), "100 distinct numbers"),
        (list(range(21)) * 10, "regression", "integer", (), "21 distinct numbers"),
        ([0, 1, 2, 3], "regression", "integer", (), "4 distinct numbers"),
        ([0, 1] * 5, "binary", "integer", (0, 1), "2 distinct whole numbers"),
        ([1.0, 2.0, None] * 5, "binary", "float", (1.0, 2.0), "2 distinct whole numbers"),
        (list(range(20)) * 5, "multiclass", "integer", tuple(range(20)), "20 distinct whole numbers"),
        (["b", "a", None, "b"], "binary", "text", ("a", "b"), "2 distinct texts"),
        (["b", "a", "c"], "multiclass", "text", ("a", "b", "c"), "3 distinct texts"),
        ([True, False, None], "binary", "boolean", (False, True), "2 distinct truth values"),
    ],
)
def test_the_values_of_the_target_decide_the_task(
    values: list[Any], task: str, kind: str, classes: tuple[Any, ...], reason: str
) -> None:
    target = find_target(read_table({"y": values}), ["y"])
    assert (target.task, target.kind, target.classes, target.reason) == (task, kind, classes, reason)
    assert [type(label) for label in target.classes] == [type(label) for label in classes]


@pytest.mark.parametrize("values", [["a", "a"], [True, True]])
def test_fault_18_a_single_class_is_multiclass_with_one(values: list[Any]) -> None:
    target = find_target(read_table({"y": values}), ["y"])
    assert (target.task, len(target.classes)) == ("multiclass", 1)
    assert target.reason.startswith("1 distinct")


def test_fault_18_classes_come_from_all_rows() -> None:
    schema = learned({"x": [1, 2, 3, 4], "y": ["a", "b", "a", "c"]}, training=[0, 1])
    assert schema.target.classes == ("a", "b", "c")


@pytest.mark.parametrize(
    ("values", "asked"),
    [([0, 1] * 5, "regression"), ([0, 1] * 5, "multiclass"), ([0.5, 1.5], "binary"), ([True, False], "regression")],
)
def test_the_task_can_be_overruled(values: list[Any], asked: Task) -> None:
    target = find_target(read_table({"y": values}), ["y"], asked)
    assert (target.task, target.reason, bool(target.classes)) == (asked, "you asked for it", asked != "regression")


def test_a_task_that_does_not_fit_is_refused() -> None:
    table = read_table({"y": ["1", "x", "z"], "z": [0, 1, 2]})
    with pytest.raises(SettingError, match=r"regression.*'y' holds text\. dict, row 2 holds 'x'"):
        find_target(table, ["y"], "regression")
    with pytest.raises(SettingError, match="3 classes: binary means two"):
        find_target(table, ["z"], "binary")
    with pytest.raises(SettingError, match="several are a regression or multilabel"):
        find_target(table, ["y", "z"], "binary")
    with pytest.raises(SettingError):
        find_target(table, [])
    with pytest.raises(SettingError):
        find_target(table, ["z", "z"])


def test_several_targets_are_a_regression() -> None:
    schema = learned({"x": [1, 2, 3], "y": [0, 1, 1], "z": [1.5, 2.5, 3.5]}, names=("y", "z"))
    assert (schema.target.task, schema.target.kind) == ("regression", "float")
    assert schema.target.mean == pytest.approx((2 / 3, 2.5))
    assert (schema.target.least, schema.target.greatest) == ((0, 1.5), (1, 3.5))
    with pytest.raises(SettingError, match="holds text"):
        find_target(read_table({"y": [1], "z": ["a"]}), ["y", "z"])


def test_a_target_that_is_not_there_suggests_the_nearest() -> None:
    with pytest.raises(ColumnError, match=r"no target column 'prise'\. Did you mean 'price'"):
        find_target(read_table({"price": [1], "area": [2]}), ["prise"])


def test_fault_25_a_doubled_target_is_refused_by_the_reader() -> None:
    import pyarrow as pa

    with pytest.raises(ColumnError, match="'y' stands over columns 1 and 2"):
        read_table(pa.table([[1], [2]], names=["y", "y"]))


def test_too_many_classes_look_like_an_identifier() -> None:
    with pytest.raises(ColumnError, match="looks like an identifier"):
        find_target(read_table({"y": [f"id{i}" for i in range(20)]}), ["y"])
    with pytest.raises(ColumnError, match=r"1,001 classes.*looks like an identifier"):
        find_target(read_table({"y": [f"id{i}" for i in range(1001)] * 2}), ["y"])
    with pytest.raises(ColumnError, match=r"row 18 holds 'n\.a\.'"):
        find_target(read_table({"y": [str(i) for i in range(17)] + ["n.a."]}), ["y"])
    with pytest.raises(ColumnError, match="Make it a regression"):
        find_target(read_table({"y": np.arange(1001)}), ["y"], "multiclass")


def test_fault_15_rows_without_a_target_are_left_out() -> None:
    table = read_table({"y": [1.5, None, np.nan, 2.5], "z": [1, 2, 3, None]})
    assert np.flatnonzero(has_target(table, find_target(table, ["y"]))).tolist() == [0, 3]
    assert np.flatnonzero(has_target(table, find_target(table, ["y", "z"]))).tolist() == [0]


def test_fault_15_a_target_without_any_value_is_an_error() -> None:
    with pytest.raises(ColumnError, match="'y' has no value in any row"):
        find_target(read_table({"y": [None, None]}), ["y"])
    table = read_table({"y": [1.5, None], "z": [None, 1.5]})
    with pytest.raises(ColumnError, match="no row has a value in 'y' and 'z'"):
        Parts(table, find_target(table, ["y", "z"]))


def test_fault_15_an_infinite_target_is_told_with_its_row() -> None:
    table = read_table({"y": [1.5, None, np.inf, -np.inf]})
    with pytest.raises(CellError, match=r"dict, row 3: 'y' holds inf, the first of 2 infinite values"):
        has_target(table, find_target(table, ["y"]))


# -- columns ------------------------------------------------------------------------------------------------------


def test_numbers_are_described_by_their_training_rows() -> None:
    values = [4.0, 1.0, None, 2.0, 1.0, 1000.0]
    column = numeric(learned({"x": values}, training=[0, 1, 2, 3, 4]))
    deviation = float(np.std([4, 1, 2, 1]))
    assert column.quantiles[::32] == (1.0, 1.0, 2.0, 2.0, 4.0)
    assert column == NumericColumn("x", 1, 3, 1.0, 4.0, 2.0, deviation, column.quantiles, heavy=(1.0, 2.0, 4.0))


@given(st.lists(st.integers(-(10**9), 10**9).map(lambda number: number / 1000), min_size=2, max_size=60))
def test_statistics_are_those_of_numpy(values: list[float]) -> None:
    if len(set(values)) == 1:
        return
    column = numeric(learned({"x": values}))
    assert column.distinct == len(np.unique(values))
    assert (column.least, column.greatest) == (min(values), max(values))
    assert column.mean == pytest.approx(np.mean(values), rel=1e-9, abs=1e-9)
    assert column.deviation == pytest.approx(np.std(values), rel=1e-9)


@pytest.mark.parametrize(
    "few",
    [[0.0, 255.0, 7.0], [-3, 4, 9_990], [-5.0, 1e4], [-0.0, 0.0, 1.0], [1.0, 1.5, 3.0], [0.25, 1.0], [2**62, -(2**62)],
     [2.0**60, 2.0**60 + 1024], [1e300, -1e300]],
)  # fmt: skip
def test_distinct_numbers_of_many_rows_are_those_that_occur_with_their_counts(few: list[float]) -> None:
    values = np.array(few)[np.random.default_rng(0).integers(0, len(few), 40_000)]
    found, counts = counted_numbers(values)
    assert found.dtype == values.dtype
    assert found.tolist() == sorted(set(few))
    assert counts.tolist() == [np.count_nonzero(values == value) for value in found]


@pytest.mark.parametrize("count", [10_000, 10_001, 70_000])
def test_distinct_numbers_are_counted_up_to_a_bound_wherever_they_stand(count: int) -> None:
    values = np.concatenate([np.zeros(70_000), np.arange(count) + 0.5])
    assert numeric(learned({"x": values})).distinct == min(count + 1, 10_001)
    reason = find_target(read_table({"y": values}), ["y"]).reason
    assert reason == ("more than 10,000 distinct numbers" if count >= 10_000 else f"{count + 1:,} distinct numbers")


def test_weights_weigh_mean_and_deviation() -> None:
    x, w = [1.0, 2.0, 4.0], [1, 3, 0]
    schema = learned({"x": x, "y": [0.5, 1.5, 9.5], "w": w}, weight="w")
    column = numeric(schema)
    assert (column.mean, column.deviation) == pytest.approx((1.75, np.sqrt(0.1875)))
    assert schema.target.mean == pytest.approx((1.25,))
    assert (schema.weight, len(schema.columns)) == ("w", 1)


def test_huge_and_tiny_numbers_have_finite_statistics() -> None:
    for scale in (1e300, 1.7e308, 1e-200, 5e-324):
        column = numeric(learned({"x": np.array([-1.0, 0.0, 1.0, 1.0]) * scale}))
        assert all(np.isfinite([column.mean, column.deviation]))
        assert column.deviation > 0


@pytest.mark.parametrize("scale", [1e-310, 1e-120, 1e120, 1e307])
def test_a_target_of_an_extreme_scale_is_an_error(scale: float) -> None:
    with pytest.raises(ColumnError, match=r"the target 'y' runs from .* Multiply it by a power of ten"):
        learned({"x": [1, 2, 3, 4], "y": np.array([-1.5, 0, 1, 1.5]) * scale})
    usual = learned({"x": [1, 2], "y": [1.5e-90, 2.5e-90], "z": [1.5e90, 2.5e90]}, names=("y", "z"))
    assert usual.target.deviation == pytest.approx((0.5e-90, 0.5e90))


def test_a_target_that_varies_only_in_rows_of_no_weight_has_a_scale_of_one() -> None:
    schema = learned({"x": [1, 2, 3], "y": [0.5, 0.5, 9.5], "w": [1, 1, 0]}, weight="w")
    assert schema.target.deviation == (1.0,)


def test_a_column_knows_that_it_was_dates() -> None:
    schema = learned({"day": np.array([1, 2, 3], "M8[D]"), "n": [1, 2, 3]})
    assert [column.date for column in schema.columns if isinstance(column, NumericColumn)] == [True, False]


def test_a_schema_knows_the_words_for_missing_values() -> None:
    assert learned({"x": [1, 2]}).missing == ()
    table = replace(read_table({"x": [1, 2], "y": [1.5, 2.5]}), missing=("", "-999"))
    assert learn_schema(table, find_target(table, ["y"]), chosen(table, np.arange(2))).missing == ("", "-999")


def test_a_table_without_a_target_is_described() -> None:
    nothing = Target((), "regression", "", "float")
    table = read_table({"x": [1.5, None, 2.5], "c": ["a", "b", "a"], "k": [7, 7, 7]})
    schema = learn_schema(table, nothing, chosen(table, np.flatnonzero(has_target(table, nothing))))
    assert [column.name for column in schema.columns] == ["x", "c"]
    assert (schema.target, schema.dropped, schema.rows) == (nothing, (("k", "constant"),), 3)
    constant = read_table({"k": [7, 7]})
    assert learn_schema(constant, nothing, chosen(constant, np.arange(2))).dropped == (("k", "constant"),)


def test_one_name_can_be_excluded_as_it_is() -> None:
    schema = learned({"id": [1, 2], "i": [1, 2], "d": [1, 2]}, exclude="id")
    assert [column.name for column in schema.columns] == ["i", "d"]
    assert schema.dropped == (("id", "excluded by you"),)


def test_truth_values_have_their_share() -> None:
    assert learned({"x": [True, False, None, True]}).columns == (BooleanColumn("x", 1, 2 / 3),)


def test_levels_are_ordered_by_count_and_rare_ones_folded() -> None:
    words = ["b"] * 40 + ["a"] * 40 + ["c"] * 45 + ["d", "d", "e"] + [None] * 7
    column = categorical(learned({"x": words}))
    assert column == CategoricalColumn("x", 7, ("c", "a", "b"), (45, 40, 40), 5, 3)
    assert (column.codes, column.other_code, column.missing_code) == (5, 3, 4)


def test_small_tables_keep_every_level() -> None:
    column = categorical(learned({"x": ["a", "b", "c", "a"]}))
    assert (column.levels, column.other, column.codes) == (("a", "b", "c"), 0, 3)
    assert (column.other_code, column.missing_code) == (-1, -1)


def test_levels_stop_at_a_thousand() -> None:
    column = categorical(learned({"x": [f"{i:04d}" for i in range(1100) for _ in range(3)]}))
    assert (len(column.levels), column.distinct, column.other, column.levels[-1]) == (1000, 1100, 300, "0999")


def test_levels_come_from_training_rows_alone() -> None:
    assert categorical(learned({"x": ["a", "b", "c", None]}, training=[0, 1])).levels == ("a", "b")


def test_fault_16_columns_that_say_nothing_are_dropped_with_the_reason() -> None:
    many = 200
    schema = learned(
        {
            "good": np.arange(many),
            "one": np.ones(many),
            "flag": np.ones(many, bool),
            "word": ["x"] * many,
            "gone": [None] * many,
            "later": [None] * 100 + [1.0] * 100,
            "id": [f"id{i}" for i in range(many)],
            "rare": [f"r{i // 2}" for i in range(many)],
            "mine": np.arange(many),
        },
        training=np.arange(100),
        exclude=["mine"],
    )
    assert [column.name for column in schema.columns] == ["good"]
    assert dict(schema.dropped) == {
        "one": "constant",
        "flag": "constant",
        "word": "constant",
        "gone": "all missing",
        "later": "all missing",
        "id": "an identifier: 100 distinct texts in 100 rows",
        "rare": "no text in it occurs 3 times",
        "mine": "excluded by you",
    }
    assert schema.rows == 100


def test_fault_16_constant_columns_with_gaps_stay_for_their_gaps() -> None:
    schema = learned({"x": [1.0, None, 1.0], "f": [True, None, True], "w": ["a", None, "a"]})
    number, truth, text = schema.columns
    assert isinstance(number, NumericColumn)
    assert (number.distinct, number.missing, number.deviation) == (1, 1, 1.0)
    assert truth == BooleanColumn("f", 1, 1.0)
    assert text == CategoricalColumn("w", 1, ("a",), (2,), 1, 0)


def test_fault_16_a_constant_target_has_a_scale_of_one() -> None:
    schema = learned({"x": [1, 2, 3], "y": [0.1, 0.1, 0.1]})
    assert (schema.target.mean, schema.target.deviation) == ((0.1,), (1.0,))


def test_fault_16_a_table_without_a_usable_column_is_an_error() -> None:
    with pytest.raises(ColumnError, match=r"no column left to predict from \('x': constant\)"):
        learned({"x": [1, 1]})
    with pytest.raises(ColumnError, match="only the target"):
        learned({"y": [1.5, 2.5]})


def test_fault_15_an_infinite_feature_is_told_with_count_and_first_row() -> None:
    with pytest.raises(CellError, match=r"dict, row 2: 'x' holds -inf, the first of 3 infinite values"):
        learned({"x": [1.0, -np.inf, np.inf, np.inf]})


def test_fault_17_one_row_has_a_schema_or_a_clear_error() -> None:
    with pytest.raises(DataError, match="no column left"):
        learned({"x": [1.0]})


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        ([1, None, 1], "row 2: the weight in 'w' is missing"),
        ([1, 1, -2], "row 3: the weight in 'w' is -2"),
        ([np.inf, 1, 1], "row 1: the weight in 'w' is inf"),
        ([0, 0, 0], "all weights in 'w' are 0"),
        ([1, 1e39, 1], r"row 2: the weight in 'w' is 1e\+39. Weights are 0 or from 1e-37 to 3e\+38"),
        ([1, 0, 1e-38], "row 3: the weight in 'w' is 1e-38"),
    ],
)
def test_impossible_weights_are_told_with_their_row(weights: list[Any], told: str) -> None:
    with pytest.raises(CellError, match=told):
        learned({"x": [1, 2, 3], "w": weights}, weight="w")


def test_weights_of_other_rows_do_not_matter() -> None:
    assert learned({"x": [1, 2, 3], "w": [1, 1, None]}, training=[0, 1], weight="w").weight == "w"


def test_roles_of_columns_do_not_overlap() -> None:
    columns = {"x": [1, 2], "w": [1, 1]}
    with pytest.raises(SettingError, match="'y' is the target and cannot be excluded"):
        learned(columns, exclude=["y"])
    with pytest.raises(SettingError, match="'y' is the target and cannot be the weight"):
        learned(columns, weight="y")
    with pytest.raises(SettingError, match="'w' is the weight"):
        learned(columns, weight="w", exclude=["w"])
    with pytest.raises(ColumnError, match=r"'ww' to exclude\. Did you mean 'w'"):
        learned(columns, exclude=["ww"])
    with pytest.raises(ColumnError, match="no weight column 'u'"):
        learned(columns, weight="u")
    with pytest.raises(ColumnError, match="'t' holds no numbers"):
        learned({"x": [1, 2], "t": ["a", "b"]}, weight="t")


# -- through JSON and back ----------------------------------------------------------------------------------------

numbers = st.floats(allow_nan=False, allow_infinity=False)
counts = st.integers(0, 2**53)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
each = st.lists(numbers, max_size=3).map(tuple)
columns: st.SearchStrategy[Column] = st.one_of(
    st.builds(NumericColumn, texts, counts, counts, numbers, numbers, numbers, numbers, each, st.booleans()),
    st.builds(BooleanColumn, texts, counts, numbers),
    st.builds(
        CategoricalColumn, texts, counts, st.lists(texts).map(tuple), st.lists(counts).map(tuple), counts, counts
    ),
)
labels: st.SearchStrategy[tuple[Any, ...]] = st.one_of(
    st.lists(texts, max_size=3).map(tuple),
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3).map(tuple),
    st.lists(numbers, max_size=3).map(tuple),
    st.sampled_from([(), (False,), (True,), (False, True)]),
)
targets = st.builds(
    Target,
    st.lists(texts, min_size=1, max_size=3).map(tuple),
    st.sampled_from(["regression", "binary", "multiclass"]),
    texts,
    st.sampled_from(["integer", "float", "boolean", "text"]),
    labels,
    each,
    each,
    each,
    each,
)
schemas = st.builds(
    Schema,
    st.lists(columns, max_size=4).map(tuple),
    targets,
    st.none() | texts,
    st.lists(st.tuples(texts, texts), max_size=3).map(tuple),
    counts,
    st.lists(texts, max_size=3).map(tuple),
)


@given(schemas)
def test_a_schema_goes_through_json_and_back_unchanged(schema: Schema) -> None:
    back = msgspec.json.decode(msgspec.json.encode(schema), type=Schema)
    assert back == schema
    assert [type(label) for label in back.target.classes] == [type(label) for label in schema.target.classes]


def test_a_learned_schema_goes_through_json_and_back_unchanged() -> None:
    columns = {"n": [1.5, None, 2.5, 0.1], "b": [True, False, None, True], "c": ["x", "y", None, "x"]}
    schema = learned({**columns, "y": ["u", "v", "u", "v"]}, exclude=())
    assert msgspec.json.decode(msgspec.json.encode(schema), type=Schema) == schema


def test_the_kind_of_a_column_comes_from_all_rows() -> None:
    table: Table = read_table({"x": np.array([1, 2, 3, "late"], dtype=object), "y": [0.5, 1.5, 2.5, 3.5]})
    schema = learn_schema(table, find_target(table, ["y"]), chosen(table, np.arange(3)))
    assert isinstance(schema.columns[0], CategoricalColumn)
