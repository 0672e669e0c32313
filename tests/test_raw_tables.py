"""Tables as they were published train from their own bytes, with nothing but options of the command line."""

import gzip
from collections import Counter
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as parquet
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from numpy.typing import NDArray

import schuss
from schuss.cli import cli
from schuss.errors import SourceError
from schuss.table.delimited import TableFormat
from schuss.table.encoding import Encoding
from schuss.table.learning import learn_schema
from schuss.table.schema import find_target
from schuss.table.source import read_table
from schuss.table.table import chosen

DATA = Path(__file__).parents[2] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the real tables are not here")
FAST = ("--hidden", "32", "--epochs", "2", "--learning-rate", "0.01", "--validation", "0")


@dataclass(frozen=True)
class Case:
    """Files, options and what comes out: rows with a target, kinds of columns, and a bar for the score on test rows."""

    files: str
    options: str
    rows: int
    task: str
    numeric: int
    categorical: int
    bar: tuple[str, float]  # a constant prediction reaches an R² of 0, and the accuracy that is noted


CASES = {
    "adult": Case(
        "adult/adult.data.gz", "--no-header --suffix . --comment | --test adult/adult.test.gz --target column_15",
        48_842, "binary", 6, 8, ("accuracy", 0.82),  # 0.764
    ),
    "adult, test rows": Case(
        "adult/adult.test.gz", "--no-header --comment | --target column_15",
        16_281, "binary", 6, 8, ("accuracy", 0.81),  # 0.764
    ),
    "air of Beijing": Case(
        "beijing-air/*.csv.gz", "--exclude No --target PM2.5", 412_029, "regression", 14, 2, ("r2", 0.85)
    ),
    "bike sharing by day": Case(
        "bike-sharing/day.csv", "--exclude instant --exclude casual --exclude registered --target cnt --epochs 40",
        731, "regression", 12, 0, ("r2", 0.6),
    ),
    "bike sharing by hour": Case(
        "bike-sharing/hour.csv.gz", "--exclude instant --exclude casual --exclude registered --target cnt --epochs 6",
        17_379, "regression", 13, 0, ("r2", 0.5),
    ),
    "California": Case(
        "california-housing/housing.csv", "--target median_house_value", 20_640, "regression", 8, 1, ("r2", 0.6)
    ),
    "California, StatLib": Case(
        "california-housing/houses_statlib.tsv.gz", "--target target", 20_640, "regression", 8, 0, ("r2", 0.6)
    ),
    "diamonds": Case("diamonds/diamonds.csv.gz", "--target price", 53_940, "regression", 6, 3, ("r2", 0.9)),
    "flights": Case(
        "nycflights13/flights.csv.gz", "--target arr_delay", 327_346, "regression", 10, 4, ("r2", 0.7)
    ),
    "intrusions": Case(
        "kddcup99/kddcup.data_10_percent.gz", "--no-header --suffix . --target column_42 --epochs 1",
        494_021, "multiclass", 36, 3, ("accuracy", 0.97),  # 0.568
    ),
    "intrusions, test rows": Case(
        "kddcup99/corrected.gz", "--no-header --target column_42 --epochs 1",
        311_029, "multiclass", 37, 3, ("accuracy", 0.85),  # 0.528
    ),
    "skin": Case(
        "skin-segmentation/Skin_NonSkin.txt.gz", "--no-header --target column_4 --epochs 1",
        245_057, "binary", 3, 0, ("accuracy", 0.95),  # 0.792
    ),
    "sleep": Case("sleep/sleep.tsv.gz", "--target target", 105_908, "multiclass", 13, 0, ("accuracy", 0.65)),  # 0.498
}  # fmt: skip


def train(out: Path, *arguments: str) -> schuss.Model:
    """The model that the command line makes of these arguments."""
    cli.main(["train", "--quiet", "--out", str(out), *FAST, *arguments], standalone_mode=False)
    return schuss.Model.load(out)


@needs_data
@pytest.mark.parametrize("name", CASES)
def test_a_raw_table_trains(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[name]
    monkeypatch.chdir(DATA)
    model = train(tmp_path / "model.schuss", case.files, *case.options.split())
    schema, (score, bar) = model.encoding.schema, case.bar
    kinds = Counter(type(column).__name__ for column in schema.columns)
    assert sum(model.record.rows.values()) == case.rows
    assert schema.target.task == case.task
    assert kinds == Counter(NumericColumn=case.numeric, CategoricalColumn=case.categorical)
    reached = model.record.scores["test"][score]
    assert reached is not None
    assert reached > bar


@needs_data
def test_labels_of_raw_tables_are_what_they_mean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(DATA)
    labels: dict[str, Any] = {}
    for name in ("adult", "sleep"):
        model = train(tmp_path / f"{name}.schuss", CASES[name].files, *CASES[name].options.split(), "--epochs", "1")
        labels[name] = model.encoding.schema.target.classes
    assert labels == {"adult": ("<=50K", ">50K"), "sleep": (0, 1, 2, 3, 5)}


@needs_data
@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("mnist/t10k-images-idx3-ubyte.gz", "IDX file"),
        ("mnist/t10k-labels-idx1-ubyte.gz", "IDX file"),
        ("adult/adult.names", "column 1 has no name"),
        ("bike-sharing/Readme.txt", "line 7: 2 values where there are 1 column"),
    ],
)
def test_files_that_are_no_tables_are_refused_in_one_sentence(file: str, told: str) -> None:
    with pytest.raises(schuss.errors.DataError, match=told) as refusal:
        read_table(DATA / file)
    assert "\n" not in str(refusal.value)
    assert Path(file).name in str(refusal.value)


# -- pictures as tables -----------------------------------------------------------------------------------------------


def idx(name: str) -> NDArray[np.uint8]:
    """The array in an IDX file: two zeros, the type, the number of axes, their lengths, the values."""
    content = gzip.decompress((DATA / name).read_bytes())
    axes = content[3]
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(np.frombuffer(content, ">i4", axes, 4))


def write_pictures(folder: str, part: str, path: Path) -> Path:
    """A row for each picture: pixel_0 … pixel_783, label."""
    pixels, labels = idx(f"{folder}/{part}-images-idx3-ubyte.gz"), idx(f"{folder}/{part}-labels-idx1-ubyte.gz")
    columns = np.ascontiguousarray(pixels.reshape(len(pixels), -1).T)
    names = [f"pixel_{place}" for place in range(len(columns))]
    parquet.write_table(pa.table([*columns, labels], names=[*names, "label"]), path)
    return path


@needs_data
@pytest.mark.parametrize(("folder", "bar"), [("mnist", 0.98), ("fashion-mnist", 0.89)])
def test_pictures_are_told_apart_by_their_pixels(folder: str, bar: float, tmp_path: Path) -> None:
    model = schuss.train(
        write_pictures(folder, "train", tmp_path / "train.parquet"),
        "label",
        test=write_pictures(folder, "t10k", tmp_path / "test.parquet"),
        validation=0,
        hidden=(256,),
        activation="gelu",
        dropout=0.2,
        learning_rate=0.004,
        weight_decay=0.3,
        batch_size=128,
        epochs=8,
        members=1,
    )
    assert model.record.rows == {"training": 60_000, "test": 10_000}
    reached = model.record.scores["test"]["accuracy"]
    assert reached is not None
    assert reached >= bar


# -- lines of comment, and what stands after values ------------------------------------------------------------------


def read(folder: Path, text: str, **format: Any) -> dict[str, list[Any]]:
    (folder / "table.csv").write_bytes(text.encode())
    columns: dict[str, list[Any]] = read_table(folder / "table.csv", TableFormat(**format)).data.to_pydict()
    return columns


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_lines_of_comment_are_skipped_wherever_they_stand(tmp_path: Path, ending: str, mark: str) -> None:
    text = mark + ending.join(["# made, in, haste", "a,b", "#0,0", "1,#2", "# ", "3,4", "#"])
    assert read(tmp_path, text, comment="#") == {"a": [1, 3], "b": ["#2", "4"]}
    assert read(tmp_path, ending.join(["a", "1", "#", "2"]), comment="#") == {"a": [1, 2]}
    text = ending.join(["#", "1,2", "#", "3,4"])
    assert read(tmp_path, text, comment="#", header=False) == {"column_1": [1, 3], "column_2": [2, 4]}


def test_a_fault_behind_lines_of_comment_is_told_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"table\.csv, line 5: 1 value where there are 2 columns"):
        read(tmp_path, "// one\n// two\na,b\n// three\n7\n", comment="//")
    (tmp_path / "table.csv").write_text("|\n|\n1,2\n3,x\n")
    assert read_table(tmp_path / "table.csv", TableFormat(comment="|", header=False)).where(1) == "table.csv, line 4"


def test_what_stands_after_values_is_cut_off_once(tmp_path: Path) -> None:
    text = "label,share,left\nyes.,12 %,.5\nno.,3%,.25\n..,%,x\n"
    assert read(tmp_path, text, suffix=".")["label"] == ["yes", "no", "."]
    assert read(tmp_path, text, suffix=".")["left"] == [".5", ".25", "x"]
    assert read(tmp_path, text, suffix="%")["share"] == [12, 3, None]


def test_a_model_cuts_off_what_was_cut_off_in_training(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("kind,share,y\n" + "".join(f"{'ab'[i % 2]}.,{i}.,{'no' if i % 2 else 'yes'}.\n" for i in range(40)))
    train(tmp_path / "model.schuss", str(path), "--target", "y", "--suffix", ".", "--epochs", "50")
    model = schuss.Model.load(tmp_path / "model.schuss")
    assert model.encoding.category_names == ("kind",)
    assert model.evaluate(path) == model.evaluate(path, TableFormat(suffix="."))
    assert set(model.predict(path)) == {"yes", "no"}


# -- numbers that are names ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        (["007", "012", "123"], ["007", "012", "123"]),
        (["001", "", "002"], ["001", None, "002"]),
        ([" 02134", "90210 "], ["02134", "90210"]),
        (['"0050"', "1000"], ["0050", "1000"]),
        (["100"] * 50 + ["099"], ["100"] * 50 + ["099"]),
        (["007", "12"], [7, 12]),
        (["100"] * 50 + ["99"], [100] * 50 + [99]),
        (["0070"] * 50 + ["123"], [70] * 50 + [123]),
        (["007", "NA", "012"], ["007", None, "012"]),
        (["01", "12"], [1, 12]),
        (["000", "100", "1.5"], [0, 100, 1.5]),
        (["0.5", "1.5"], [0.5, 1.5]),
        (["-01", "-10"], [-1, -10]),
    ],
)
def test_fault_26_leading_zeros_of_equally_long_numbers_make_them_text(
    values: list[str], kept: list[Any], tmp_path: Path
) -> None:
    text = "code,size\n" + "".join(f"{value},{place}\n" for place, value in enumerate(values))
    assert read(tmp_path, text) == {"code": kept, "size": list(range(len(values)))}


def test_fault_26_very_long_texts_do_no_harm_to_codes(tmp_path: Path) -> None:
    text = f'code,text\n007,"{"x" * 200_000}"\n012,y\n'
    assert read(tmp_path, text)["code"] in ([7, 12], ["007", "012"])
    assert read(tmp_path, "code,text\n" + f"007,{'x' * 100_000}\n" * 3)["code"] == ["007"] * 3


def test_fault_26_codes_in_one_of_several_files_make_all_of_them_text(tmp_path: Path) -> None:
    for name, codes in (("1.csv", "123\n124"), ("2.csv", "007\n012")):
        (tmp_path / name).write_text(f"code\n{codes}\n")
    assert read_table(str(tmp_path / "*.csv")).data["code"].to_pylist() == ["123", "124", "007", "012"]


def test_fault_26_codes_are_noted(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("code,y\n" + "".join(f"{place % 3:03},{place}\n" for place in range(40)))
    model = schuss.train(path, "y", epochs=1, hidden=())
    assert model.record.notes == ("code: text, because of leading zeros ('000'); drop them if it is a quantity",)
    assert model.encoding.category_names == ("code",)


@pytest.mark.parametrize("number", [2**53, -(2**60)])
def test_fault_26_whole_numbers_that_float64_cannot_tell_apart_are_identifiers(number: int) -> None:
    columns: dict[str, Any] = {"id": [number, *range(39)], "size": range(40), "y": np.arange(40) / 2}
    schema = schuss.train(columns, "y", epochs=1, hidden=()).encoding.schema
    assert [column.name for column in schema.columns] == ["size"]
    ((name, reason),) = schema.dropped
    assert name == "id"
    assert reason.startswith("an identifier: whole numbers of 2^53 and more")
    columns["id"][0] = 2**53 - 1
    assert not schuss.train(columns, "y", epochs=1, hidden=()).encoding.schema.dropped


# -- files together ---------------------------------------------------------------------------------------------------


def test_fault_29_a_column_that_is_text_in_one_file_alone_is_noted_with_its_place(tmp_path: Path) -> None:
    for name, last in (("1.csv", "7"), ("2.csv", "seven")):
        lines = [f"{place % 5},{place}" for place in range(30)]
        (tmp_path / name).write_text("\n".join(["size,y", *lines, f"{last},0", ""]))
    model = schuss.train(str(tmp_path / "*.csv"), "y", epochs=1, hidden=())
    assert model.record.notes[0] == "2 files"
    assert "size: text, because 2.csv, line 32 holds 'seven'" in model.record.notes[1]


# -- any table, as text and as Parquet --------------------------------------------------------------------------------

LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
VALUES: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "whole": (pa.int64(), st.integers(-(2**53) + 1, 2**53 - 1)),
    "number": (pa.float64(), st.floats(-1e15, 1e15)),
    "truth": (pa.bool_(), st.booleans()),
    "day": (pa.date32(), st.dates(date(1700, 1, 1), date(2200, 1, 1))),
    "moment": (pa.timestamp("us"), st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1))),
    "text": (pa.string(), st.text(LETTERS, max_size=4).map("x{}x".format)),
    'name, "quoted"': (pa.string(), st.sampled_from(["low", "high, or so", 'the "middle"', "two\nlines"])),
}


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """2 to 30 rows of some columns of any kinds and in any order, a column without gaps, and a target y."""
    count = draw(st.integers(2, 30))
    columns: dict[str, Any] = {"row": pa.array(range(count))}
    for name in draw(st.lists(st.sampled_from(list(VALUES)), unique=True)):
        type, values = VALUES[name]
        column = draw(st.lists(st.none() | values, min_size=count, max_size=count))
        columns[name] = pa.array(column, type)
    target: list[Any] = draw(st.sampled_from([[place / 4 for place in range(count)], ["no", "yes"] * 15]))
    columns["y"] = pa.array(target[:count])
    return pa.table(columns).select(draw(st.permutations(list(columns))))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=tables(), order=st.randoms())
def test_a_table_is_the_same_rows_as_text_and_as_parquet(table: pa.Table, order: Any, tmp_path: Path) -> None:
    arrow_csv.write_csv(table, tmp_path / "table.csv")
    parquet.write_table(table.select(order.sample(table.column_names, table.num_columns)), tmp_path / "table.parquet")
    encodings, found = [], [read_table(tmp_path / name) for name in ("table.csv", "table.parquet")]
    for each in found:
        rows_of_each = chosen(each, np.arange(len(each)))
        encodings.append(Encoding(learn_schema(each, find_target(each, ["y"]), rows_of_each)))
    by_name = [sorted(encoding.schema.columns, key=lambda column: column.name) for encoding in encodings]
    assert by_name[0] == by_name[1]
    rows = [encodings[0].encode(each) for each in found]
    for part in ("features", "codes", "targets"):
        np.testing.assert_array_equal(getattr(rows[0], part), getattr(rows[1], part))
