"""Blocks of rows: the same ones wherever the table lies, with no more memory than was allowed."""

import gc
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from schuss.errors import ColumnError, OutputError, SourceError
from schuss.table import formats
from schuss.table.delimited import TextFile
from schuss.table.source import read_table
from schuss.table.spool import Spool
from schuss.table.table import BLOCK_ROWS, Table

Write = Callable[[str], Path]
ROWS = 2 * BLOCK_ROWS + 10
MIXED = pa.table(
    {
        "n": pa.array(range(ROWS), pa.int32()),
        "x": [row / 7 if row % 5 else None for row in range(ROWS)],
        "word": [f"w{row % 11}" if row % 3 else None for row in range(ROWS)],
        "gap": pa.nulls(ROWS, pa.float32()),
        "late": [f"{row}" if row < ROWS - 1 else "1.5" for row in range(ROWS)],
        "code": [f"0{row % 10}" if row < ROWS - 1 else "x" for row in range(ROWS)],
        "day": pa.array([row % 100 for row in range(ROWS)], pa.int32()).cast(pa.date32()),
    }
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SCHUSS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module", params=["csv", "parquet", "arrow"])
def mixed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The mixed table in a file."""
    path = tmp_path_factory.mktemp("mixed") / f"x.{request.param}"
    if request.param == "csv":
        columns = [column.cast(pa.string()).fill_null("").to_pylist() for column in MIXED.columns]
        path.write_text("\n".join([",".join(MIXED.column_names), *map(",".join, zip(*columns, strict=True))]))
    elif request.param == "parquet":
        parquet.write_table(MIXED, path, row_group_size=10_000)
    else:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, MIXED.schema) as writer:
            writer.write_table(MIXED, max_chunksize=10_000)
    return path


@pytest.fixture
def path(mixed: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file, which is read in many pieces."""
    monkeypatch.setattr(formats, "PIECE_BYTES", 1 << 19)
    return mixed


def written(table: Table) -> pa.Table:
    """The columns of a table, text as it is and not as codes."""
    plain = [pa.string() if pa.types.is_dictionary(field.type) else field.type for field in table.schema]
    return table.data.cast(pa.schema(list(zip(table.names, plain, strict=True))))


def test_blocks_are_the_same_in_memory_and_beyond_it(path: Path) -> None:
    whole = read_table(path)
    for memory in (0, 1 << 21):
        table = read_table(path, memory=memory)
        assert not isinstance(table.held, pa.Table)
        assert (len(table), table.schema, table.dates) == (ROWS, whole.schema, whole.dates)
        blocks = list(table.blocks())
        assert [len(block) for block in blocks] == [BLOCK_ROWS, BLOCK_ROWS, 10]
        for block, expected in zip(blocks, whole.blocks(), strict=True):
            assert block.schema == whole.schema
            assert all(column.num_chunks == 1 for column in block.data.columns)
            assert written(block).equals(written(expected))
            assert [block.where(row) for row in (0, 9)] == [expected.where(row) for row in (0, 9)]
        assert blocks[2].where(9) == table.where(ROWS - 1) == whole.where(ROWS - 1)
        assert written(table.slice(70_000, 70_002)).equals(written(whole.slice(70_000, 70_002)))


def test_some_columns_of_a_table_beyond_its_memory(path: Path) -> None:
    table = read_table(path, memory=0)
    assert table.column("n").to_pylist() == list(range(ROWS))
    assert [block.names for block in table.blocks(["word", "n"])] == [["word", "n"]] * 3
    with pytest.raises(ColumnError, match="Did you mean 'word'"):
        next(table.blocks(["wort"]))
    assert read_table(path, memory=0, only=["x"]).names == ["x"]
    assert written(table).equals(written(read_table(path)))


def test_blocks_reach_over_files(path: Path) -> None:
    whole, table = (read_table([path, path], only=["n", "word"], memory=memory) for memory in (None, 0))
    for expected, block in zip(whole.blocks(), table.blocks(), strict=True):
        assert written(block).equals(written(expected))
        assert block.where(len(block) - 1) == expected.where(len(block) - 1)
    assert written(table.slice(ROWS - 1, ROWS + 1)).equals(written(whole.slice(ROWS - 1, ROWS + 1)))


def test_a_table_that_fits_stays_in_memory(path: Path, cache: Path) -> None:
    assert isinstance(read_table(path, memory=1 << 30).held, pa.Table)
    assert not cache.exists()


def test_a_table_in_memory_gives_blocks() -> None:
    table = read_table({"a": np.arange(ROWS)})
    assert [block.where(0) for block in table.blocks()] == ["dict, row 1", "dict, row 65,537", "dict, row 131,073"]
    assert np.concatenate([block.data["a"].to_numpy() for block in table.blocks()]).tolist() == list(range(ROWS))


def test_an_iterator_over_tables_is_read_once(cache: Path) -> None:
    pieces = [MIXED.slice(start, 30_000) for start in range(0, ROWS, 30_000)]
    for memory in (None, 0):
        table = read_table(iter(pieces), memory=memory)
        assert isinstance(table.held, pa.Table) == (memory is None)
        assert any(cache.iterdir()) == (memory is not None)
        assert (table.name, table.where(40_000)) == ("list_iterator", "list_iterator, row 40,001")
        assert written(table).equals(written(read_table(MIXED)))
    for many in (pieces, tuple(pieces), dict(enumerate(pieces)).values()):
        assert written(read_table(many)).equals(written(read_table(MIXED)))
    frames = (frame for frame in [{"a": [1, 2]}, {"a": np.array(["x"])}])
    assert read_table(frames).data.to_pydict() == {"a": ["1", "2", "x"]}
    with pytest.raises(ColumnError, match="dict 2 has other columns than the first: 'a' is missing, 'b' is not"):
        read_table(iter([{"a": [1]}, {"b": [1]}]))
    with pytest.raises(SourceError, match="gives no tables"):
        read_table(iter([]))
    with pytest.raises(SourceError, match="A int is no table"):
        read_table(iter([1]))


def test_a_folder_is_all_its_files_and_its_keys_are_columns(tmp_path: Path) -> None:
    for year, month, content in (("2023", "1", "a\n1\n2\n"), ("2024", "01", "a\n3\n"), ("x%20y", "2", "a\n4\n")):
        folder = tmp_path / f"year={year}" / f"month={month}"
        folder.mkdir(parents=True)
        (folder / "part.csv").write_text(content)
        (folder / "_SUCCESS").touch()
        (folder / "notes.md").touch()
        (tmp_path / ".old").mkdir(exist_ok=True)
        (tmp_path / ".old" / "x.csv").write_text("a\n5\n")
    for memory in (None, 0):
        table = read_table(tmp_path, memory=memory)
        assert table.data.to_pydict() == {
            "a": [1, 2, 3, 4],
            "year": ["2023", "2023", "2024", "x y"],
            "month": [1, 1, 1, 2],
        }
    assert read_table(tmp_path / "year=2023" / "month=1" / "part.csv").names == ["a"]
    assert read_table(tmp_path, only=["month"]).names == ["month"]
    assert read_table(tmp_path, text=["month"]).data["month"].to_pylist() == ["1", "1", "01", "2"]


# -- the spool ----------------------------------------------------------------------------------------------------


def spooled(tmp_path: Path) -> Table:
    (tmp_path / "x.csv").write_text("a,b\n" + "1,x\n" * 100)
    return read_table(tmp_path / "x.csv", memory=0)


def test_the_spool_goes_with_the_table(tmp_path: Path, cache: Path) -> None:
    table = spooled(tmp_path)
    block = next(table.blocks())
    assert len(list(cache.iterdir())) == 2
    del table
    gc.collect()
    assert (len(block), list(cache.iterdir())) == (100, [])


_KILLED = """
import os, signal, sys
from schuss.table.source import read_table
table = read_table(sys.argv[1], memory=0)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path, cache: Path) -> None:
    table = spooled(tmp_path)
    subprocess.run([sys.executable, "-c", _KILLED, tmp_path / "x.csv"], check=False)
    assert len(list(cache.iterdir())) == 4
    other = Spool()
    assert len(list(cache.iterdir())) == 4 - 2 + 2
    assert other.folder.is_dir()
    assert len(next(table.blocks())) == 100


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes do not fork here")
def test_a_fork_that_ends_leaves_the_spool(tmp_path: Path) -> None:
    table = spooled(tmp_path)
    if not (child := os.fork()):
        del table
        gc.collect()
        os._exit(0)
    os.waitpid(child, 0)
    assert len(next(table.blocks())) == 100


def test_a_cache_without_room_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SCHUSS_CACHE", str(tmp_path / "file"))
    with pytest.raises(OutputError, match="Set SCHUSS_CACHE to a folder with room"):
        spooled(tmp_path)


def shorter(path: Path) -> None:
    parquet.write_table(MIXED.slice(1), path)


def touched(path: Path) -> None:
    os.utime(path, ns=(0, 0))


def replaced(path: Path) -> None:
    os.replace(shutil.copy2(path, path.with_name("copy")), path)


@pytest.mark.parametrize("change", [shorter, touched, replaced, Path.unlink])
def test_fault_30_a_file_that_was_changed_is_an_error_when_it_is_read_again(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    parquet.write_table(MIXED, tmp_path / "x.parquet")
    table = read_table(tmp_path / "x.parquet", memory=0)
    assert sum(map(len, table.blocks())) == ROWS
    change(tmp_path / "x.parquet")
    with pytest.raises(SourceError, match=r"x\.parquet was changed while it was read"):
        next(table.blocks())


def test_fault_30_a_file_that_changes_behind_what_was_read_again_is_an_error(tmp_path: Path) -> None:
    parquet.write_table(MIXED, tmp_path / "x.parquet", row_group_size=BLOCK_ROWS)
    blocks = read_table(tmp_path / "x.parquet", memory=0).blocks()
    next(blocks)
    touched(tmp_path / "x.parquet")
    with pytest.raises(SourceError, match=r"x\.parquet was changed"):
        list(blocks)


@pytest.mark.parametrize("names", [["1.csv", "2.csv"], ["1.csv"]])
def test_fault_30_a_text_file_that_changes_before_it_is_read_again_or_to_its_end_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> None:
    for name, word in zip(names, ("01", "x"), strict=False):
        (tmp_path / name).write_text(f"a\n{word}\n7\n")
    whole = TextFile.pieces

    def pieces(file: TextFile, size: int) -> Iterator[TextFile]:
        yield from whole(file, size)
        if file.name == names[-1]:
            touched(tmp_path / "1.csv")

    monkeypatch.setattr(TextFile, "pieces", pieces)
    with pytest.raises(SourceError, match=r"1\.csv was changed while it was read"):
        read_table([tmp_path / name for name in names])


def test_a_line_that_was_changed_is_told_by_its_row(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a\n1\n2\n")
    table = read_table(tmp_path / "x.csv")
    assert table.where(1) == "x.csv, line 3"
    touched(tmp_path / "x.csv")
    assert table.where(1) == "x.csv, row 2"


_BOUNDED = """
import sys
from schuss.table.source import read_table
table = read_table(sys.argv[1], memory=20 << 20)
print(sum(len(block) for block in table.blocks()), end=" ")
status = open("/proc/self/status").read()  # ru_maxrss would count what the process that started this one holds
print(int(status.partition("VmHWM:")[2].split()[0]) << 10)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell what memory was in use")
def test_fault_34_a_table_beyond_its_memory_is_read_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.csv"
    numbers = np.random.default_rng(0).integers(0, 10**6, (10_000, 20))
    rows = "\n".join(",".join(map("0.{:06d}".format, row)) for row in numbers.tolist()) + "\n"
    with path.open("w") as file:
        file.write(",".join(f"x{number}" for number in range(20)) + "\n")
        for _ in range(200 * 10**6 // len(rows)):
            file.write(rows)
    assert path.stat().st_size > 190 * 10**6
    done = subprocess.run([sys.executable, "-c", _BOUNDED, path], check=True, capture_output=True, text=True)
    count, peak = map(int, done.stdout.split())
    assert count == 10_000 * (200 * 10**6 // len(rows))
    assert peak < 320 << 20, f"{peak >> 20} MiB"


def test_what_a_file_takes_of_its_memory_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHUSS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(formats, "PIECE_BYTES", 1000)
    path = tmp_path / "table.csv"
    path.write_text("a,b\n" + "".join(f"{row},{row}.5\n" for row in range(1000)))
    assert read_table(path, memory=10**9).taken == 16_000
    assert 0 < read_table(path, memory=5000).taken <= 5000
    assert read_table(path).taken == read_table({"a": [1, 2]}, memory=10**9).taken == 0
