"""Files are whole and durable under their name, or not there; foreign and damaged ones are refused."""

import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings, strategies as st

from schuss.errors import ModelFileError, OutputError
from schuss.files import Storage, check_writable, read_tensors, write_file, write_tensors

TENSORS = {"W": np.arange(5, dtype=np.float32)}


def test_a_failure_of_any_operation_leaves_the_old_file_or_the_new_one_and_no_rest(
    tmp_path: Path, failing: Callable[[int], Storage]
) -> None:
    path = tmp_path / "file"
    for operation in range(1, 100):
        path.write_bytes(b"old")
        try:
            write_file(path, b"new", failing(operation))
            break
        except OutputError:
            assert operation <= 5
        assert path.read_bytes() in (b"old", b"new")
        assert os.listdir(tmp_path) == ["file"]
    assert path.read_bytes() == b"new"


def test_a_failure_leaves_nothing_where_nothing_was(tmp_path: Path, failing: Callable[[int], Storage]) -> None:
    for operation in range(1, 4):
        with pytest.raises(OutputError):
            write_file(tmp_path / "file", b"new", failing(operation))
        assert os.listdir(tmp_path) == []


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_file(tmp_path / "file", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_tensors_and_metadata_come_back_as_they_went(tmp_path: Path) -> None:
    write_tensors(tmp_path / "t", TENSORS, {"about": "Ünïcode \u2713"})
    tensors, metadata = read_tensors(tmp_path / "t")
    assert tensors["W"].tolist() == [0, 1, 2, 3, 4]
    assert metadata == {"about": "Ünïcode \u2713"}


def test_fault_07_output_that_cannot_be_written_is_found_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not exist"):
        check_writable(tmp_path / "nowhere" / "file")
    with pytest.raises(OutputError, match="is a folder or a device"):
        check_writable(tmp_path)
    check_writable(tmp_path / "file")
    assert os.listdir(tmp_path) == []


def model_file(folder: Path) -> Path:
    path = folder / "model.schuss"
    write_tensors(path, TENSORS, {"schuss": "{}"})
    return path


def test_fault_08_every_flipped_bit_and_every_truncation_is_noticed(tmp_path: Path) -> None:
    path = model_file(tmp_path)
    content = path.read_bytes()
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 1 << (position % 8)
        path.write_bytes(damaged)
        with pytest.raises(ModelFileError):
            read_tensors(path)
        path.write_bytes(content[:position])
        with pytest.raises(ModelFileError):
            read_tensors(path)


class Bomb:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch exploded",)


def test_fault_38_a_pickle_is_refused_and_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for protocol in (2, 4, 5):
        Path("model.schuss").write_bytes(pickle.dumps(Bomb(), protocol))
        with pytest.raises(ModelFileError, match="pickle"):
            read_tensors("model.schuss")
    assert not Path("exploded").exists()


def with_header(header: str, data: bytes = b"", claimed: int | None = None) -> bytes:
    encoded = header.encode()
    return struct.pack("<Q", len(encoded) if claimed is None else claimed) + encoded + data


@pytest.mark.parametrize(
    "content",
    [
        with_header("{}", claimed=2**62),
        with_header("{" + " " * 50, claimed=101_000_000),
        with_header('{"W":{"dtype":"F32","shape":[1099511627776,1099511627776],"data_offsets":[0,4]}}', bytes(4)),
        with_header(
            '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}',
            bytes(6),
        ),
        with_header('{"W":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}', bytes(12)),
        with_header("[" * 50_000 + "]" * 50_000),
        with_header('{"__metadata__":{"sha256":3}}'),
        with_header('{"__metadata__":{"sha256":"0"}}'),
    ],
    ids=[
        "header of 4 EiB",
        "giant header",
        "shape bomb",
        "overlap",
        "hole",
        "deep",
        "number as digest",
        "wrong digest",
    ],
)
def test_fault_39_hostile_headers_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.schuss").write_bytes(content)
    with pytest.raises(ModelFileError):
        read_tensors(tmp_path / "model.schuss")


def test_fault_40_names_of_tensors_are_never_paths(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "model.schuss"
    write_tensors(path, {"../outside": TENSORS["W"], "/tmp/outside": TENSORS["W"]}, {})
    read_tensors(path)
    assert sorted(str(found.relative_to(tmp_path)) for found in tmp_path.rglob("*")) == ["in", "in/model.schuss"]


def test_fault_40_writing_to_a_link_replaces_the_link_and_not_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"precious")
    for make in (os.symlink, os.link):
        make(tmp_path / "precious", tmp_path / "file")
        write_file(tmp_path / "file", b"new")
        assert (tmp_path / "precious").read_bytes() == b"precious"
        os.unlink(tmp_path / "file")


def test_a_safetensors_file_of_another_program_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(safetensors.numpy.save(TENSORS))
    with pytest.raises(ModelFileError, match="no digest"):
        read_tensors(tmp_path / "other")


def test_missing_empty_and_folder_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for path, words in ((tmp_path / "none", "No such file"), (tmp_path / "empty", "empty"), (tmp_path, "folder")):
        with pytest.raises(ModelFileError, match=words):
            read_tensors(path)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_fault_41_fuzzed_bytes_raise_nothing_but_model_file_error(
    tmp_path_factory: pytest.TempPathFactory, data: Any
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    pristine = model_file(folder).read_bytes()
    content = bytearray(pristine)
    for _ in range(data.draw(st.integers(1, 8))):
        start = data.draw(st.integers(0, len(content) - 1))
        content[start : start + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    (folder / "fuzzed").write_bytes(content)
    try:
        read_tensors(folder / "fuzzed")
    except ModelFileError:
        return
    assert bytes(content) == pristine
