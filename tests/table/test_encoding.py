"""Encoded rows: what training saw and what prediction sees are the same function of the same values."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from sklearn.preprocessing import QuantileTransformer, RobustScaler

import schuss
from schuss.errors import CellError, ColumnError
from schuss.numeric import Scaling
from schuss.table import encoding as encoding_module
from schuss.table.delimited import TableFormat
from schuss.table.encoding import Encoding, Feature, places_of
from schuss.table.learning import learn_schema
from schuss.table.schema import CategoricalColumn, find_target, has_target
from schuss.table.source import read_table
from schuss.table.table import Table, chosen

DATA = Path(__file__).parents[2] / "../shared/data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the real tables are not here")


def encoding(columns: dict[str, Any], names: tuple[str, ...] = ("y",), **settings: Any) -> tuple[Encoding, Table]:
    """An encoding learned from all rows of a table whose target is y, and that table."""
    size = len(next(iter(columns.values())))
    table = read_table({"y": np.arange(size) + 0.5, **columns})
    target = find_target(table, names)
    return Encoding(
        learn_schema(table, target, chosen(table, np.flatnonzero(has_target(table, target))), **settings)
    ), table


MIXED: dict[str, Any] = {
    "age": [20, None, 40, 60],
    "smoker": [True, False, None, True],
    "town": ["b", "a", None, "b"],
    "height": [1.5, 1.6, 1.7, 1.9],
}


# -- training rows ------------------------------------------------------------------------------------------------


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    made, table = encoding(MIXED)
    monkeypatch.setattr("schuss.table.columns._ROWS_WORTH_THREADS", 0)
    again, _ = encoding(MIXED)
    assert made == again
    np.testing.assert_array_equal(made.encode(table).features, again.encode(table).features)


def test_features_stand_in_the_order_of_the_table_with_their_indicators() -> None:
    made, table = encoding(MIXED)
    assert made.feature_names == ("age", "age is missing", "smoker", "smoker is missing", "height")
    assert (made.features, made.categories, made.category_names, made.targets) == (5, (3,), ("town",), 1)
    rows = made.encode(table)
    assert rows.features.dtype == np.float32
    assert rows.features.flags.c_contiguous
    assert rows.features.shape == (4, 5)
    assert rows.codes.tolist() == [[0], [1], [2], [0]]
    assert rows.weights is None


def test_scaling_is_that_of_the_formula() -> None:
    made, table = encoding({"x": [1.0, 2.0, 4.0, None]})
    x = np.array([1.0, 2.0, 4.0])
    wanted = np.append((x - x.mean()) / x.std(), 0.0)
    assert made.encode(table).features[:, 0].tolist() == wanted.astype(np.float32).tolist()
    assert made.encode(table).features[:, 1].tolist() == [0, 0, 0, 1]


def test_truth_values_are_standardised() -> None:
    made, table = encoding({"x": [True, False, None, True]})
    share = 2 / 3
    wanted = (np.array([1, 0, 1]) - share) / np.sqrt(share * (1 - share))
    np.testing.assert_allclose(made.encode(table).features[[0, 1, 3], 0], wanted, rtol=1e-6)
    assert made.encode(table).features[2].tolist() == [0, 1]


def test_fault_16_a_constant_column_with_gaps_is_its_indicator() -> None:
    made, table = encoding({"x": [7, None, 7], "f": [None, False, False]})
    assert made.feature_names == ("x is missing", "f is missing")
    assert made.encode(table).features.tolist() == [[0, 1], [1, 0], [0, 0]]


def test_fault_14_missing_numbers_become_the_middle_and_an_indicator() -> None:
    made, table = encoding({"x": [1.0, np.nan, 3.0], "z": [1, 2, 3]})
    assert np.isfinite(made.encode(table).features).all()
    later = made.encode(read_table({"x": [np.nan], "z": [None]}), target=False)
    assert later.features[0, [0, 1, 2]].tolist() == [0.0, 1.0, 0.0]


def test_rounding_happens_once() -> None:
    x = np.array([1e9, 1e9 + 1e-3, 1e9 + 2e-3])
    made, table = encoding({"x": x})
    np.testing.assert_allclose(made.encode(table).features[:, 0], (x - x.mean()) / x.std(), rtol=1e-5)


def test_targets_of_a_regression_are_standardised() -> None:
    made, table = encoding({"x": [1, 2, 3], "y": [1e6 + 1.5, 1e6 + 2.5, 1e6 + 3.5]})
    assert made.encode(table).targets.ravel().tolist() == pytest.approx([-np.sqrt(1.5), 0, np.sqrt(1.5)])
    two, both = encoding({"x": [1, 2], "y": [1.5, 2.5], "z": [0, 4]}, names=("y", "z"))
    assert (two.targets, two.encode(both).targets.tolist()) == (2, [[-1, -1], [1, 1]])


@pytest.mark.parametrize(
    ("labels", "numbers"),
    [
        (["no", "yes", "no"], [0, 1, 0]),
        ([True, False, True], [1, 0, 1]),
        ([7, 3, 7] * 5, [1, 0, 1] * 5),
        ([2.0, None, 5.0] * 5, [0, 1] * 5),
        (["c", "a", "b"], [2, 0, 1]),
    ],
)
def test_classes_become_their_numbers_and_back(labels: list[Any], numbers: list[int]) -> None:
    made, table = encoding({"x": np.arange(len(labels)), "y": labels})
    rows = made.encode(table, np.flatnonzero(has_target(table, made.schema.target)))
    assert rows.targets.ravel().tolist() == numbers
    classes = made.schema.target.classes
    outputs = np.eye(len(classes))[numbers] if len(classes) > 2 else np.array(numbers)[:, np.newaxis] - 0.5
    assert made.decode(outputs).tolist() == [label for label in labels if label is not None]


def test_decoded_labels_have_the_type_of_the_target() -> None:
    for labels, kind in ((["a", "b"], "U"), ([True, False], "b"), ([1, 2] * 5, "i"), ([1.0, 2.0] * 5, "f")):
        made, _ = encoding({"x": np.arange(len(labels)), "y": labels})
        assert made.decode(np.array([[0.5], [-0.5]])).dtype.kind == kind
        assert made.decode(np.array([[0.0, 1.0]])).tolist() == [made.schema.target.classes[1]]


def test_outputs_of_a_regression_come_back_in_its_units() -> None:
    made, table = encoding({"x": [1, 2, 3], "y": [100.5, 200.5, 600.5]})
    back = made.decode(made.encode(table).targets)
    assert back.shape == (3,)
    assert back.dtype == np.float64
    np.testing.assert_allclose(back, [100.5, 200.5, 600.5], rtol=1e-6)
    two, both = encoding({"x": [1, 2], "y": [1.5, 2.5], "z": [0, 4]}, names=("y", "z"))
    assert two.decode(two.encode(both).targets).tolist() == [[1.5, 0], [2.5, 4]]


def test_weights_come_as_they_are() -> None:
    made, table = encoding({"x": [1, 2, 3], "w": [0.5, 0, 2]}, weight="w")
    weights = made.encode(table).weights
    assert weights is not None
    assert weights.tolist() == [0.5, 0, 2]
    assert made.encode(table, np.array([1])).weights is not None
    assert made.encode(read_table({"x": [1]}), target=False).weights is None
    assert made.encode(read_table({"x": [1], "y": [1.5]})).weights is None


def test_prediction_has_no_targets() -> None:
    made, _ = encoding({"x": [1, 2, 3]})
    assert made.encode(read_table({"x": [5]}), target=False).targets.shape == (1, 0)


cells = st.one_of(st.none(), st.floats(-1e3, 1e3))


@given(
    st.lists(
        st.tuples(cells, st.sampled_from(["a", "b", "c", None]), st.sampled_from([True, False, None])), min_size=2
    ),
    st.data(),
)
@settings(max_examples=60)
def test_a_row_is_encoded_alike_however_the_table_is_cut(rows: list[tuple[Any, Any, Any]], data: st.DataObject) -> None:
    x, c, b = zip(*rows, strict=True)
    made, table = encoding({"z": np.arange(len(x)), "x": x, "c": c, "b": b})
    whole = made.encode(table)
    index = np.array(data.draw(st.lists(st.integers(0, len(x) - 1), max_size=20)), np.int64)
    start = data.draw(st.integers(0, len(x) - 1))
    for piece in (index, np.arange(start, len(x)), np.arange(len(x))[::-1]):
        part, wanted = made.encode(table, piece), whole.take(piece)
        for name in ("features", "codes", "targets"):
            np.testing.assert_array_equal(getattr(part, name), getattr(wanted, name))
    sliced = made.encode(table.slice(start, len(x)))
    np.testing.assert_array_equal(sliced.features, whole.features[start:])


def test_many_blocks_are_encoded_as_one() -> None:
    x = np.random.default_rng(0).normal(size=50_000)
    made, table = encoding({"x": x, "c": np.where(x > 0, "p", "n")})
    inner = np.random.default_rng(1).permutation(np.arange(1, len(x) - 1))
    order = np.array([0, *inner, len(x) - 1])  # its ends are those of an unbroken order
    np.testing.assert_array_equal(made.encode(table, order).features, made.encode(table).features[order])
    wanted = ((x - made.schema.columns[0].mean) / x.std()).astype(np.float32)  # type: ignore[union-attr]
    np.testing.assert_allclose(made.encode(table).features[:, 0], wanted, rtol=1e-6)


# -- prediction ---------------------------------------------------------------------------------------------------


def test_fault_20_columns_are_matched_by_name() -> None:
    made, table = encoding(MIXED)
    shuffled = {"more": [1, 2, 3, 4], **{name: MIXED[name] for name in reversed(MIXED)}}
    predicted = made.encode(read_table(shuffled), target=False)
    np.testing.assert_array_equal(predicted.features, made.encode(table).features)
    np.testing.assert_array_equal(predicted.codes, made.encode(table).codes)


def test_fault_20_a_missing_column_is_named() -> None:
    made, _ = encoding(MIXED)
    with pytest.raises(ColumnError, match=r"dict has no column 'town'\. Did you mean 'Towns'"):
        made.encode(
            read_table({**{n: MIXED[n] for n in ("age", "smoker", "height")}, "Towns": ["a"] * 4}), target=False
        )


def test_fault_19_unseen_and_rare_texts_share_a_level_when_training_had_one() -> None:
    made, table = encoding({"x": ["a"] * 60 + ["b"] * 60 + ["rare", None]})
    later = read_table({"x": ["b", "a", "rare", "new", None]})
    assert made.categories == (4,)
    assert made.encode(later, target=False).codes.ravel().tolist() == [1, 0, 2, 2, 3]
    assert made.encode(table).codes.ravel().tolist()[-2:] == [2, 3]


def test_fault_19_unseen_texts_have_no_level_when_training_had_none_to_spare() -> None:
    made, _ = encoding({"x": ["a", "b", "a"]})
    assert made.encode(read_table({"x": ["b", "new", None]}), target=False).codes.ravel().tolist() == [1, -1, -1]


def test_fault_21_text_among_numbers_is_told_with_value_and_row(tmp_path: Path) -> None:
    made, _ = encoding(MIXED)
    path = tmp_path / "new.csv"
    path.write_text("age,smoker,town,height\n20,true,a,1.5\n30,true,a,tall\n40,true,a,short\n")
    with pytest.raises(CellError, match=r"new\.csv, line 3: 'height' holds 'tall', and was a number in training"):
        made.encode(read_table(path), target=False)


def test_fault_21_numbers_as_text_are_told_with_their_column() -> None:
    made, _ = encoding({"x": [1, 2, 3]})
    with pytest.raises(ColumnError, match="'x' holds numbers written as text"):
        made.encode(read_table({"x": ["1", "2"]}), target=False)


def test_fault_21_numbers_other_than_0_and_1_are_no_truth_values() -> None:
    made, table = encoding({"x": [True, False, True]})
    plain = made.encode(read_table({"x": [1, 0, 1]}), target=False).features
    np.testing.assert_array_equal(plain, made.encode(table).features)
    with pytest.raises(CellError, match="row 2: 'x' holds 2, and was true or false"):
        made.encode(read_table({"x": [1, 2]}), target=False)
    with pytest.raises(CellError, match="row 1: 'x' holds 'perhaps'"):
        made.encode(read_table({"x": ["perhaps"]}), target=False)


def test_truth_values_are_numbers_where_numbers_are_expected() -> None:
    made, table = encoding({"x": [0, 1, 1]})
    later = made.encode(read_table({"x": [False, True, True]}), target=False)
    np.testing.assert_array_equal(later.features, made.encode(table).features)


DAYS = np.array(["2020-01-01", "2020-01-02", "NaT"], "M8[D]")


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        ([1, 2, 3], DAYS, "'x' holds dates or times, and held numbers in training"),
        ([True, False, True], DAYS, "'x' holds dates or times, and held truth values"),
        (["a", "b", "a"], DAYS, "'x' holds dates or times, and held text"),
        (DAYS, [18262, 18263, 18264], "'x' holds numbers, and held dates or times"),
        (DAYS, [True, False, None], "'x' holds truth values, and held dates or times"),
        (DAYS, ["2020-01-01", "soon", None], "'x' holds text, and held dates or times"),
        ([1, 2, 3], [True, False, None], "'x' holds truth values, and held numbers"),
        ([-0.5, 0, 1], [True, False, None], "'x' holds truth values, and held numbers"),
    ],
)
def test_fault_21_dates_and_truth_values_do_not_pass_for_numbers(before: Any, now: Any, told: str) -> None:
    made, table = encoding({"x": before})
    made.encode(table)
    with pytest.raises(ColumnError, match=f"dict: {told}"):
        made.encode(read_table({"x": now}), target=False)
    for nothing in ([None], np.array(["NaT"], "M8[D]"), pd.array([None], dtype="boolean")):
        assert len(made.encode(read_table({"x": nothing}), target=False)) == 1


def test_fault_21_dates_are_taken_from_any_rows_of_a_table() -> None:
    made, table = encoding({"x": DAYS})
    whole = made.encode(table).features
    np.testing.assert_array_equal(made.encode(table.slice(1, 3), target=False).features, whole[1:])
    later = read_table({"x": DAYS.astype("M8[us]")})
    np.testing.assert_array_equal(made.encode(later, target=False).features, whole)


def test_declared_categories_are_found_again_in_plain_numbers() -> None:
    made, table = encoding({"x": pd.Categorical([30, 4, 30])})
    assert made.category_names == ("x",)
    assert made.encode(table).codes.ravel().tolist() == [0, 1, 0]
    for text in ((), ("x",)):
        later = read_table({"x": [4, 30, 5]}, text=text)
        assert made.encode(later, target=False).codes.ravel().tolist() == [1, 0, -1]


@pytest.mark.parametrize(
    ("levels", "values", "codes"),
    [
        (["3", "4", "x"], [3, 4, 5], [0, 1, -1]),
        (["3", "4", "x"], [3.0, None, 4.0], [0, -2, 1]),
        (["2.5", "x"], [2.5], [0]),
        (["2.50", "x"], [2.5], [0]),
        (["01", "x"], [1], [0]),
        (["01", "1", "x"], [1], [1]),
        (["01", "001", "x"], [1], [-1]),
        (["TRUE", "false", "1"], [True, False], [0, 1]),
        (["true", "1"], [1], [1]),
        ([3, 4], [3.0, 4.0, 4.5], [0, 1, -1]),
        ([False, True], [1, 0], [1, 0]),
        ([3, 4], ["3"], [-1]),
    ],
)
def test_fault_21_numbers_stand_for_the_text_that_reads_as_them(
    levels: list[Any], values: list[Any], codes: list[int]
) -> None:
    table = read_table({"x": values})
    assert places_of(table.data["x"], levels, -1, -2).tolist() == codes


def test_texts_of_digits_are_found_again_in_a_file_that_has_nothing_else(tmp_path: Path) -> None:
    made, _ = encoding({"x": ["01", "1", "x", "1"]})
    path = tmp_path / "new.csv"
    path.write_text("x\n01\n1\n")
    table = read_table(path, text=made.category_names)
    assert made.encode(table, target=False).codes.ravel().tolist() == [1, 0]


def test_a_column_without_values_is_missing_whatever_its_type() -> None:
    made, _ = encoding(MIXED)
    for empty in (None, np.nan, "", pd.NaT):
        column = pd.Series([empty], dtype=object)
        later = read_table(pd.DataFrame(dict.fromkeys(MIXED, column)))
        rows = made.encode(later, target=False)
        assert rows.features.tolist() == [[0, 1, 0, 1, 0]]
        assert rows.codes.tolist() == [[2]]


def test_fault_15_infinite_values_are_refused_at_prediction() -> None:
    made, _ = encoding({"x": [1.0, 2.0]})
    with pytest.raises(CellError, match="row 2: 'x' holds inf"):
        made.encode(read_table({"x": [1.0, np.inf]}), target=False)


def test_a_value_beyond_float32_is_told_with_its_row() -> None:
    made, _ = encoding({"x": [1.0, 2.0]})
    with pytest.raises(CellError, match="row 2: the value of 'x' lies too far"):
        made.encode(read_table({"x": [1.0, 1e200]}), target=False)


def test_a_value_beyond_float32_is_found_in_any_block() -> None:
    made, _ = encoding({"x": [1.0, 2.0], "z": [1.0, 3.0]})
    z = np.ones(30_000)
    z[20_000] = 1e200
    with pytest.raises(CellError, match="row 20,001: the value of 'z' lies too far"):
        made.encode(read_table({"x": np.ones(30_000), "z": z}), target=False)


def test_a_target_beyond_float32_is_told_with_its_row() -> None:
    made, _ = encoding({"x": [1.0, 2.0]})
    later = read_table({"x": [1.0, 1.0, 2.0], "y": [0.5, 1.0, 1e200]})
    for rows in (None, np.array([2, 0])):
        with pytest.raises(CellError, match=r"row 3: the value of 'y' lies too far .* leave the row out"):
            made.encode(later, rows)


def test_an_unseen_class_is_told_with_its_label() -> None:
    made, _ = encoding({"x": [1, 2, 3], "y": ["a", "b", "a"]})
    with pytest.raises(CellError, match="row 2: the class 'c' in 'y' did not occur"):
        made.encode(read_table({"x": [1, 2], "y": ["a", "c"]}))


def test_a_missing_target_is_told_with_its_row() -> None:
    for values in (["a", "b", None], [1.5, 2.5, None]):
        made, table = encoding({"x": [1, 2, 3], "y": values})
        with pytest.raises(CellError, match="row 3: the target 'y' is missing"):
            made.encode(table)


def test_errors_name_the_line_of_the_table_also_for_some_of_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("x,y\n1,1.5\n2,2.5\n3,\n4,4.5\n")
    table = read_table(path)
    target = find_target(table, ["y"])
    made = Encoding(learn_schema(table, target, chosen(table, np.flatnonzero(has_target(table, target)))))
    for rows in (np.array([1, 2]), np.array([0, 2]), np.array([3, 2])):
        with pytest.raises(CellError, match=r"t\.csv, line 4: the target 'y' is missing"):
            made.encode(table, rows)


# -- scaling and knots ---------------------------------------------------------------------------------------------


def scaled(column: Any, scaling: Scaling, later: Any = None) -> Any:
    """The features of a column after this scaling; later: of other values of it, once these were learned from."""
    made, table = encoding({"x": column})
    table = table if later is None else read_table({"x": later})
    return Encoding(made.schema, scaling).encode(table, target=False).features


SKEWED = np.random.default_rng(0).permutation(np.random.default_rng(1).lognormal(size=1025))


def test_robust_scaling_is_that_of_scikit_learn_and_clips_smoothly() -> None:
    u = RobustScaler().fit_transform(SKEWED[:, np.newaxis])
    np.testing.assert_allclose(scaled(SKEWED, "robust"), u / np.sqrt(1 + (u / 3) ** 2), rtol=2e-6, atol=1e-6)


def test_quantile_scaling_is_that_of_scikit_learn() -> None:
    expected = QuantileTransformer(n_quantiles=129, output_distribution="normal").fit(SKEWED[:, np.newaxis])
    ordered = np.sort(SKEWED)
    quantiles, inside = ordered[8:-8:8], ordered[100:-100]
    for values, tolerance in ((quantiles, 1e-6), (inside, 0.003)):  # between quantiles it is linear before the spread
        there = expected.transform(values[:, np.newaxis])
        np.testing.assert_allclose(scaled(SKEWED, "quantile", values), there, atol=tolerance)
    assert scaled(SKEWED, "quantile", [-1e9, ordered[0], ordered[-1], 1e9]).ravel().tolist() == [-3, -3, 3, 3]


@pytest.mark.parametrize(
    ("column", "scale"),
    [
        ([0.0] * 80 + [2.0] * 20, 2.0),  # quartiles are alike: 5 and 95 %
        ([0.0] * 98 + [1.0, 2.0], np.std([0.0] * 98 + [1.0, 2.0])),  # these too: the deviation
        ([-1e308, 1e308] * 50, 1e308),  # the distance is no number
    ],
)
def test_robust_scaling_without_a_distance_takes_the_next(column: list[float], scale: float) -> None:
    made, _ = encoding({"x": column})
    assert Encoding(made.schema, "robust").layout[0].scale == pytest.approx(scale)


def test_the_place_of_a_heavy_value_is_that_of_its_middle() -> None:
    column = [0.0] * 64 + list(range(1, 66))
    assert scaled(column, "quantile", [0.0, 33.0])[:, 0] == pytest.approx([-0.6843, 0.6745], abs=0.03)


@pytest.mark.parametrize("scaling", get_args(Scaling))
def test_fault_14_a_missing_number_is_0_after_any_scaling(scaling: Scaling) -> None:
    column = [None, *SKEWED.tolist()]
    assert scaled(column, scaling)[0].tolist() == [0, 1]
    assert scaled(column, scaling)[1:, 1].max() == 0
    with pytest.raises(CellError, match="row 2: 'x' holds inf"):
        scaled(column, scaling, [1.0, np.inf])


@pytest.mark.parametrize("scaling", get_args(Scaling))
@given(values=st.lists(st.none() | st.floats(-1e308, 1e308), min_size=2, max_size=60))
def test_fault_16_every_scaling_of_any_column_is_finite_and_in_order(
    scaling: Scaling, values: list[float | None]
) -> None:
    present = np.array([value for value in values if value is not None])
    if not len(present) or np.ptp(present / 2) == 0:
        return
    found = scaled(values, scaling)[[value is not None for value in values], 0]
    assert np.isfinite(found).all()
    assert (np.diff(found[np.argsort(present)]) >= 0).all()
    assert scaling == "standard" or np.abs(found).max() <= 3


def test_an_encoding_goes_through_json_and_back() -> None:
    made = Encoding(encoding(MIXED)[0].schema, "quantile")
    again = msgspec.json.decode(msgspec.json.encode(made), type=Encoding)
    assert (again, again.knots(8)) == (made, made.knots(8))


@given(
    st.lists(st.none() | st.sampled_from([0.0, 0.0, 99.0]) | st.floats(-1e3, 1e3), min_size=2, max_size=400),
    st.integers(2, 128),
    st.sampled_from(get_args(Scaling)),
)
def test_knots_are_few_ascending_values_of_their_column(
    values: list[float | None], bins: int, scaling: Scaling
) -> None:
    made, _ = encoding({"x": values, "row": np.arange(len(values))})
    made = Encoding(made.schema, scaling)
    all_knots = made.knots(bins)
    assert len(all_knots) == made.features
    for feature, knots in zip(made.layout, all_knots, strict=True):
        if feature.column != "x":
            continue
        present = np.unique([value for value in values if value is not None])
        known = set(feature.of(present).tolist())
        assert set(knots) <= known
        assert (np.diff(np.array(knots, np.float32)) > 0).all()
        assert len(knots) <= bins + 1
        if feature.indicator or len(known) < 3:
            assert knots == ()
        elif len(known) == len(present):  # so close to each other that they are one in float32, knots may be too few
            assert {min(known), max(known)} <= set(knots)
        if knots and len(present) <= min(bins + 1, 128):
            assert set(knots) == known


def test_knots_are_heavy_values_and_shared_out_over_the_others() -> None:
    random = np.random.default_rng(2)
    column = np.where(random.random(60_000) < 0.95, 0.0, random.uniform(10, 20, 60_000))
    made, _ = encoding({"x": column, "two": [1, 2] * 30_000, "flag": [True, False] * 30_000})
    knots, two, flag = made.knots(64)
    center, scale = made.layout[0].center, made.layout[0].scale
    values = np.array(knots) * scale + center
    assert (len(knots), two, flag) == (65, (), ())
    assert values[[0, -1]] == pytest.approx([0, column.max()], abs=1e-5)
    assert 10 < values[1] < 10.5
    assert np.diff(values[1:]).max() < 0.6


# -- spikes ---------------------------------------------------------------------------------------------------------

GAINS = [0.0] * 20 + [5.0] * 3 + [7.5] * 4 + [1.0, 2.0, None]


def test_frequent_values_of_a_number_that_is_mostly_one_have_codes_behind_those_of_text() -> None:
    made, table = encoding({"gain": GAINS, "even": [0, 0, 1] * 10, "town": ["b", "a", "a"] * 10})
    robust = Encoding(made.schema, "robust")
    assert robust.categories == (2, 4)
    assert (robust.category_names, [column.name for column in robust.spiked]) == (("town",), ["gain"])
    expected = [0] * 20 + [1] * 3 + [2] * 4 + [3, 3, -1]
    assert robust.encode(table).codes[:, 1].tolist() == expected
    for rows in (slice(19, 28), np.array([29, 3, 22])):
        found = robust.encode(table, rows).codes
        np.testing.assert_array_equal(found, robust.encode(table).codes[rows])
    np.testing.assert_array_equal(robust.encode(table).codes[:, :1], made.encode(table).codes)
    assert Encoding(made.schema, "quantile").categories == made.categories == (2,)


def test_pixels_have_no_codes() -> None:
    values = [0.0] * 500 + [*range(1, 128)] * 3
    for columns, categories in ((16, (128,) * 16), (17, ())):
        made, _ = encoding({f"pixel {number}": values for number in range(columns)})
        assert Encoding(made.schema, "robust").categories == categories


def test_an_unseen_number_is_another_and_has_no_code_where_training_had_no_other() -> None:
    for gains, code in ((GAINS, 3), (GAINS[:27], -1)):
        made = Encoding(encoding({"gain": gains})[0].schema, "robust")
        later = read_table({"gain": [-1e9, -0.0, 0, 6, 7.5, 1e9]})
        assert made.categories == (3 + (code == 3),)
        assert made.encode(later, target=False).codes[:, 0].tolist() == [code, 0, 0, code, 2, code]


# -- many categories -----------------------------------------------------------------------------------------------


def hashed(levels: int, buckets: int, missing: int) -> Encoding:
    """Of a column with so many levels "0", "1", … and buckets for other texts."""
    names = tuple(map(str, range(levels)))
    column = CategoricalColumn("c", missing, names, (5,) * levels, levels + 50, 50, buckets)
    made, _ = encoding({"x": [1, 2, 3]})
    return Encoding(replace(made.schema, columns=(column,)))


def test_other_texts_go_to_the_bucket_of_their_hash_wherever_they_stand() -> None:
    made, texts = hashed(3, 8, 1), [*map(str, range(400)), None]
    assert made.categories == (12,)
    found = made.encode(read_table({"c": texts}), target=False).codes[:, 0]
    assert found[:3].tolist() == [0, 1, 2]
    assert found[-1] == 11
    assert np.bincount(found[3:-1], minlength=11)[3:].min() > 25  # of 397 in 8 buckets
    backwards = made.encode(read_table({"c": texts[::-1]}), target=False).codes[:, 0]
    alone = [made.encode(read_table({"c": [text]}), target=False).codes[0, 0] for text in texts[:20]]
    assert backwards[::-1].tolist() == found.tolist()
    assert alone == found[:20].tolist()
    assert found[[3, 99, 399]].tolist() == [6, 8, 4]  # in every model that was ever saved


def test_numbers_fall_into_the_buckets_of_the_texts_that_they_read_as() -> None:
    made = hashed(3, 8, 0)
    expected = made.encode(read_table({"c": ["7", "44", "2"]}), target=False).codes[:, 0].tolist()
    for numbers in ([7, 44, 2], [7.0, 44.0, 2.0]):
        assert made.encode(read_table({"c": numbers}), target=False).codes[:, 0].tolist() == expected
    assert made.encode(read_table({"c": [None, "7"]}), target=False).codes[0, 0] == -1


# -- real tables --------------------------------------------------------------------------------------------------


@needs_data
def test_adult_trains_and_its_test_file_encodes() -> None:
    format = TableFormat(header=False)
    table = read_table(DATA / "adult/adult.data.gz", format)
    target = find_target(table, ["column_15"])
    made = Encoding(learn_schema(table, target, chosen(table, np.flatnonzero(has_target(table, target)))))
    assert (target.task, target.classes) == ("binary", ("<=50K", ">50K"))
    assert (made.features, len(made.categories)) == (6, 8)
    rows = made.encode(table)
    assert rows.targets.sum() == 7841
    np.testing.assert_allclose(rows.features.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(rows.features.std(axis=0), 1, rtol=1e-3)


@needs_data
def test_flights_leave_out_rows_without_a_target_and_drop_what_says_nothing() -> None:
    table = read_table(DATA / "nycflights13/flights.csv.gz")
    target = find_target(table, ["arr_delay"])
    rows = np.flatnonzero(has_target(table, target))
    schema = learn_schema(table, target, chosen(table, rows))
    assert (target.task, len(rows)) == ("regression", 336_776 - 9_430)
    assert dict(schema.dropped) == {"year": "constant"}
    assert np.isfinite(Encoding(schema).encode(table, rows).features).all()


def features(center: float, scale: float, kind: str, knots: list[float]) -> Feature:
    curve = np.sort(knots), np.linspace(-3, 3, len(knots)) ** 3
    if kind == "curve":
        return Feature("x", "x", curve=curve)
    return Feature("x", "x", center, scale, indicator=kind == "indicator", smooth=kind == "smooth")


@given(
    st.lists(st.tuples(st.floats(), st.floats(-9, 9)), min_size=1, max_size=200),
    st.lists(
        st.tuples(
            st.integers(0, 1),
            st.builds(
                features,
                st.floats(-5, 5),
                st.sampled_from([1.0, 0.3, 1e-30]),
                st.sampled_from(["plain", "smooth", "curve", "indicator"]),
                st.lists(st.floats(-12, 12), min_size=2, max_size=140, unique=True),
            ),
        ),
        max_size=4,
    ),
    st.integers(0, 2**32),
)
def test_the_core_writes_the_features_that_numpy_defines(
    numbers: list[tuple[float, float]], layout: list[tuple[int, Feature]], seed: int
) -> None:
    values = [np.array(column) for column in zip(*numbers, strict=True)]
    columns = [(values[place], feature) for place, feature in layout]
    chosen = np.random.default_rng(seed).integers(0, len(numbers), len(numbers) // 2 + 1)
    for rows in (slice(len(numbers) // 3, len(numbers)), chosen):
        count = len(values[0][rows])
        found, expected = (np.full((count, len(columns)), 7, np.float32) for _ in range(2))
        native = encoding_module._write_features(columns, rows, found)
        with pytest.MonkeyPatch.context() as patch:
            patch.delattr(schuss, "_core", raising=False)
            patch.setitem(sys.modules, "schuss._core", None)
            assert native == encoding_module._write_features(columns, rows, expected)
        assert np.array_equal(found, expected, equal_nan=True)
