"""Paths: what they find on this machine is found on any file system that pyarrow opens."""

import gzip
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as fs
import pyarrow.parquet as parquet
import pytest

from schuss.cli import _default_model
from schuss.errors import SourceError
from schuss.table import formats, paths
from schuss.table.source import read_table
from schuss.table.table import Table

ROWS = pa.table({"a": range(100), "b": [f"0{row % 7}" for row in range(99)] + ["x"]})
TEXT = "a,b\n" + "".join(f"{row['a']},{row['b']}\n" for row in ROWS.to_pylist())


class Bucket(fs._MockFileSystem):  # type: ignore[misc]
    """A file system in memory, which mock:// addresses."""

    def put(self, path: str, content: bytes) -> None:
        self.create_dir(path.rpartition("/")[0])
        with self.open_output_stream(path, compression=None) as file:
            file.write(content)


class Failing(fs.FileSystemHandler):  # type: ignore[misc]
    """A file system that refuses to open anything, or breaks off after so many bytes."""

    def __init__(self, error: OSError, content: bytes = b"") -> None:
        self.error, self.content = error, content

    def get_type_name(self) -> str:
        return "failing"

    def get_file_info(self, names: list[str]) -> list[fs.FileInfo]:
        return [fs.FileInfo(name, fs.FileType.File, size=1 << 30) for name in names]

    def open_input_file(self, path: str) -> pa.NativeFile:
        if not self.content:
            raise self.error
        return pa.BufferReader(self.content)

    def open_input_stream(self, path: str) -> pa.NativeFile:
        error = self.error

        class Broken:
            closed, content = False, self.content

            def read(self, size: int) -> bytes:
                if not self.content:
                    raise error
                taken, self.content = self.content[:size], self.content[size:]
                return taken

            def close(self) -> None:
                self.closed = True

        return pa.PythonFile(Broken(), mode="r")

    def unused(self, *_: Any) -> None:
        raise NotImplementedError

    copy_file = create_dir = delete_dir = delete_dir_contents = delete_file = delete_root_dir_contents = unused
    get_file_info_selector = move = open_append_stream = open_output_stream = normalize_path = unused


def mount(monkeypatch: pytest.MonkeyPatch, system: fs.FileSystem) -> None:
    """mock:// addresses this file system, and nothing that is local."""

    class Systems:
        @staticmethod
        def from_uri(uri: str) -> tuple[fs.FileSystem, str]:
            return system, uri.partition("://")[2]

    monkeypatch.setattr(paths, "FileSystem", Systems)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Bucket:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCHUSS_CACHE", str(tmp_path / "cache"))
    made = Bucket()
    mount(monkeypatch, made)
    return made


def contents(table: Table) -> dict[str, list[Any]]:
    return {name: table.data[name].to_pylist() for name in table.names}


def packed(kind: str) -> bytes:
    """The rows as the bytes of a file."""
    if kind == "csv":
        return TEXT.encode()
    if kind.startswith("csv"):
        return gzip.compress(TEXT.encode()) if kind == "csv.gz" else bytes(pa.compress(TEXT.encode(), "zstd"))
    sink = pa.BufferOutputStream()
    if kind == "parquet":
        parquet.write_table(ROWS, sink, row_group_size=10)
    else:
        with pa.ipc.new_file(sink, ROWS.schema) as writer:
            writer.write_table(ROWS, max_chunksize=10)
    return bytes(sink.getvalue())


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "csv.zst", "parquet", "arrow"])
def test_a_file_of_another_file_system_is_read_in_pieces_and_again(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    bucket.put(f"b/x.{kind}", packed(kind))
    monkeypatch.setattr(formats, "PIECE_BYTES", 64)
    for memory in (None, 0):
        table = read_table(f"mock://b/x.{kind}", memory=memory)
        assert contents(table) == ROWS.to_pydict()
        assert [len(block) for block in table.blocks()] == [100]
    assert (table.name, table.where(1)) == (f"x.{kind}", f"x.{kind}, {'line 3' if 'csv' in kind else 'row 2'}")


def test_folders_and_patterns_of_another_file_system(bucket: Bucket) -> None:
    for path, number in (("b/t/year=2023/x.csv", 1), ("b/t/year=2024/x.csv", 2), ("b/t/year=2024/deep/y.csv", 3)):
        bucket.put(path, b"a\n%d\n" % number)
    for path in ("b/t/_SUCCESS", "b/t/year=2024/.x.csv", "b/t/.old/x.csv"):
        bucket.put(path, b"a\n9\n")
    for folder in ("mock://b/t", "mock://b/t/"):
        assert contents(read_table(folder)) == {"a": [1, 3, 2], "year": [2023, 2024, 2024]}
    for pattern, numbers in (
        ("b/t/*/*.csv", [1, 2]),
        ("b/t/year=202[4]/x.csv", [2]),
        ("b/**/*.csv", [1, 3, 2]),
        ("b/t/**/y.csv", [3]),
        ("b/t/*4/**", [3, 2]),
        ("*/t/*3/x.csv", [1]),
    ):
        assert contents(read_table(f"mock://{pattern}")) == {"a": numbers}
    both = read_table(["mock://b/t/year=2024/x.csv", "mock://b/t/year=2023/x.csv"])
    assert (contents(both), both.notes) == ({"a": [2, 1]}, ("2 files",))


def test_a_file_whose_name_is_a_pattern_is_found_elsewhere_too(bucket: Bucket) -> None:
    bucket.put("b/x[1].csv", b"a\n1\n")
    assert contents(read_table("mock://b/x[1].csv")) == {"a": [1]}


def test_fault_30_a_file_of_another_file_system_that_was_changed_is_an_error(bucket: Bucket) -> None:
    bucket.put("b/x.parquet", packed("parquet"))
    table = read_table("mock://b/x.parquet", memory=0)
    before = paths.files_of("mock://b/x.parquet")
    assert before is not None
    identity = before[0]
    assert (identity.path, identity.size, identity.inode) == ("mock://b/x.parquet", len(packed("parquet")), 0)
    assert identity.mtime_ns > 0
    assert paths.files_of("mock://b/*.parquet") == before
    bucket.put("b/x.parquet", packed("parquet")[:-1])
    assert paths.files_of("mock://b/x.parquet") != before
    with pytest.raises(SourceError, match=r"x\.parquet was changed while it was read"):
        next(table.blocks())


def test_what_files_are_is_known_before_and_after_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("2.csv", "1.csv"):
        (tmp_path / name).write_text("a\n1\n")
    monkeypatch.chdir(tmp_path)
    both: list[object] = [tmp_path / "1.csv", "2.csv"]
    expected = []
    for name in ("1.csv", "2.csv"):
        found = os.stat(name)
        expected.append((str(tmp_path / name), found.st_size, found.st_mtime_ns, found.st_ino))
    for source in (both, tmp_path, str(tmp_path / "*.csv"), "*.csv"):
        assert paths.files_of(source) == tuple(expected)
        read_table(source, memory=0)
        assert paths.files_of(source) == tuple(expected)
    assert paths.files_of("1.csv") == (expected[0],)


def test_what_is_no_file_has_no_identity(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a\n1\n")
    os.mkfifo(tmp_path / "pipe")
    frame = {"a": [1]}
    for source in (frame, iter([frame]), [], [frame], 3):
        assert paths.files_of(source) is None
    for name in ("y.csv", "*.tsv", "pipe", "\0"):
        assert paths.files_of([tmp_path / "x.csv", tmp_path / name]) is None
    reader, writer = os.pipe()
    os.write(writer, b"a\n2\n")
    os.close(writer)
    assert paths.files_of([f"/dev/fd/{reader}", tmp_path / "x.csv"]) is None
    assert contents(read_table([f"/dev/fd/{reader}", tmp_path / "x.csv"])) == {"a": [2, 1]}
    os.close(reader)


def test_an_address_of_this_machine_is_a_path(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    for number in (1, 2):
        (tmp_path / "a b" / f"{number}.csv").write_text(f"a\n{number}\n")
    for address, numbers in (("a%20b/1.csv", [1]), ("a%20b/*.csv", [1, 2]), ("a%20b", [1, 2])):
        assert contents(read_table(f"file://{tmp_path}/{address}")) == {"a": numbers}
    with pytest.raises(SourceError, match=r"2\.csv'\?$"):
        read_table(f"file://{tmp_path}/a%20b/22.csv")


def test_what_another_file_system_lacks_is_told(bucket: Bucket) -> None:
    bucket.create_dir("b/empty")
    for address, told in (
        ("mock://b/x.csv", r"'mock://b/x\.csv' does not exist\. Check the address"),
        ("mock://c/*.csv", r"'mock://c/\*\.csv' does not exist"),
        ("mock://b/*.csv", r"No file fits the pattern 'mock://b/\*\.csv'"),
        ("mock://b/empty", r"No file fits the pattern 'mock://b/empty'"),
    ):
        with pytest.raises(SourceError, match=told):
            read_table(address)


@pytest.mark.parametrize("address", ["nowhere://b/x.csv", "https://host/x.csv", "s3://a b/x.csv", "file://b/x.csv"])
def test_an_address_that_nobody_knows_is_told(address: str) -> None:
    with pytest.raises(SourceError, match=rf"'{address}' cannot be read: .*[Cc]heck the address"):
        read_table(address)


def test_what_another_file_system_refuses_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (PermissionError(13, "Access denied"), OSError("No credentials")):
        mount(monkeypatch, fs.PyFileSystem(Failing(error)))
        with pytest.raises(SourceError, match=r"cannot be read: .*(denied|No cred).*Check .* and the credentials\.$"):
            read_table("mock://b/x.csv")


def test_a_connection_that_breaks_off_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    mount(monkeypatch, fs.PyFileSystem(Failing(OSError("gone away"), TEXT.encode())))
    with pytest.raises(SourceError, match=r"x\.csv cannot be read to its end: .*gone away.* Check the connection"):
        read_table("mock://b/x.csv")


@pytest.mark.parametrize(
    ("table", "model"),
    [
        ("s3://bucket/houses.csv.gz", "houses"),
        ("s3://bucket/houses.parquet?region=eu-west-1", "houses"),
        ("gs://bucket/houses/", "houses"),
        ("s3://bucket/*.parquet", "model"),
        ("houses.csv.zst", "houses"),
        ("house?.csv", "model"),
    ],
)
def test_a_model_is_named_after_the_table_wherever_it_lies(table: str, model: str) -> None:
    assert _default_model((table,)) == Path(f"{model}.schuss")
