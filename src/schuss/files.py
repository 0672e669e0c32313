"""The one writer of files. What it writes is whole and durable under its name, or not there at all.

A file is written to a sibling temporary, synced, renamed over its name, and the folder is synced. Tensors are kept in
the safetensors format (which holds data and never code) with a SHA-256 over everything else in the file.
"""

import contextlib
import hashlib
import json
import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from schuss.errors import ModelFileError, OutputError

_DIGEST = "sha256"
_LARGEST_HEADER = 100_000_000  # bytes; the limit of safetensors itself, looked at before anything is read
_FOREIGN = {
    b"PK\x03\x04": "a zip archive (perhaps a PyTorch or Keras model)",
    b"\x80": "a Python pickle (perhaps a joblib file)",
    b"\x89HDF": "an HDF5 file",
    b"\x1f\x8b": "a gzip file",
    b"PAR1": "a Parquet table",
}


class Storage:
    """The operations by which files reach the disk; tests replace single ones to see what a failure leaves behind."""

    def create(self, path: Path) -> BinaryIO:
        """A new file, which must not exist yet; its permissions follow the umask."""
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666), "wb")

    def write(self, file: BinaryIO, content: bytes) -> None:
        """Hands the bytes over."""
        file.write(content)

    def append(self, file: BinaryIO, content: bytes) -> None:
        """Adds the bytes to an unbuffered file."""
        while content:
            content = content[file.write(content) :]

    def sync(self, file: BinaryIO) -> None:
        """Waits until the content of the file is on the disk."""
        file.flush()
        os.fsync(file.fileno())

    def rename(self, source: Path, target: Path) -> None:
        """Gives the finished file its name, in one step."""
        os.replace(source, target)

    def remove(self, path: Path) -> None:
        """Takes a file away that is no longer wanted."""
        path.unlink(missing_ok=True)

    def sync_folder(self, folder: Path) -> None:
        """Waits until the name is on the disk; a system that cannot sync folders does without."""
        if os.name == "nt":
            return
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


STORAGE = Storage()


class _Writer:
    """What `replacing` hands out: a file-like object whose every write goes through the storage."""

    def __init__(self, storage: Storage, file: BinaryIO) -> None:
        self._storage, self._file, self.closed = storage, file, False

    def write(self, content: bytes) -> int:
        """Writes bytes or anything with their buffer; returns how many."""
        view = bytes(content)
        self._storage.write(self._file, view)
        return len(view)

    def writable(self) -> bool:
        """Always."""
        return True

    def flush(self) -> None:
        """Nothing is held back here."""

    def close(self) -> None:
        """The context manager closes; libraries that close what they write to do no harm."""


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], storage: Storage = STORAGE) -> Iterator[_Writer]:
    """A file to write to; at the end of the block it takes its name, after an error it is gone.

    Raises:
        OutputError: the file cannot be written: what stood under the name before still stands there.
    """
    target = Path(path)
    temporary = _temporary(target)
    try:
        try:
            with storage.create(temporary) as file:
                yield _Writer(storage, file)
                storage.sync(file)
            storage.rename(temporary, target)
            storage.sync_folder(target.parent)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise _output_error(target, error) from error


def write_file(path: str | os.PathLike[str], content: bytes, storage: Storage = STORAGE) -> None:
    """Writes the whole file, atomically and durably. Raises OutputError as `replacing` does."""
    with replacing(path, storage) as file:
        file.write(content)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Finds out now, not after hours of training, whether a file of that name could be written.

    Raises:
        OutputError: the folder is missing or cannot be written to, or the name is a folder.
    """
    target = Path(path)
    temporary = _temporary(target)
    try:
        STORAGE.create(temporary).close()
        temporary.unlink()
    except OSError as error:
        raise _output_error(target, error) from error


def write_tensors(
    path: str | os.PathLike[str],
    tensors: Mapping[str, NDArray[np.float32]],
    metadata: Mapping[str, str],
    storage: Storage = STORAGE,
) -> None:
    """Writes tensors and their metadata as one safetensors file with a digest over both.

    Raises:
        OutputError: the file cannot be written.
    """
    arrays = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    signed = {**metadata, _DIGEST: _digest(arrays, metadata)}
    write_file(path, safetensors.numpy.save(arrays, signed), storage)


def read_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, NDArray[np.float32]], dict[str, str]]:
    """Tensors and metadata of a file that write_tensors wrote; nothing in a file is ever executed.

    Raises:
        ModelFileError: the file is missing, foreign, truncated or altered.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise ModelFileError(f"{path}: is a folder or a device, not a file.")
        with path.open("rb") as file:
            start = file.read(8)
            _check_start(path, start, size)
            content = start + file.read()
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read ({error.strerror or error}).") from error
    try:
        header = int.from_bytes(start, "little")
        arrays = safetensors.numpy.load(content)
        metadata = _metadata(content[8 : 8 + header])
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelFileError(f"{path}: is damaged or no schuss model ({error}). Use another copy of it.") from error
    digest = metadata.pop(_DIGEST, None)
    if digest is None:
        raise ModelFileError(f"{path}: is a safetensors file, but no schuss model: it has no digest.")
    if digest != _digest(arrays, metadata):
        raise ModelFileError(f"{path}: was altered or damaged: its content does not fit its digest. Use another copy.")
    return arrays, metadata


def _metadata(header: bytes) -> dict[str, str]:
    found = json.loads(header).get("__metadata__", {})
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise ValueError("metadata are not text")
    return found


def _check_start(path: Path, start: bytes, size: int) -> None:
    """A safetensors file starts with the length of its header, 8 bytes, which is small and within the file."""
    header = int.from_bytes(start, "little")
    if len(start) == 8 and header <= _LARGEST_HEADER and header + 8 <= size:
        return
    if size == 0:
        raise ModelFileError(f"{path}: is empty. Use another copy.")
    for magic, what in _FOREIGN.items():
        if start.startswith(magic):
            raise ModelFileError(f"{path}: is {what}, which schuss never loads. Give a .schuss file.")
    raise ModelFileError(f"{path}: is no schuss model, or was cut off. Use another copy.")


def _digest(arrays: Mapping[str, NDArray[np.float32]], metadata: Mapping[str, str]) -> str:
    """SHA-256 over metadata and tensors, each with its name and length, in the order of their names."""
    digest = hashlib.sha256()

    def add(content: bytes) -> None:
        digest.update(struct.pack("<Q", len(content)))
        digest.update(content)

    for key in sorted(metadata):
        add(key.encode())
        add(metadata[key].encode())
    for name in sorted(arrays):
        add(f"{name} {arrays[name].dtype.str} {arrays[name].shape}".encode())
        add(arrays[name].tobytes())
    return digest.hexdigest()


def _temporary(target: Path) -> Path:
    """The sibling that is written first; what is there already must be a file."""
    if target.exists() and not target.is_file():
        raise OutputError(f"{target} is a folder or a device: give the name of a file.")
    return target.with_name(f".{target.name}.{os.getpid()}-{os.urandom(4).hex()}.part")


def _output_error(target: Path, error: OSError) -> OutputError:
    if isinstance(error, OutputError):
        return error
    if isinstance(error, FileNotFoundError):
        return OutputError(f"{target}: the folder {target.parent} does not exist. Make it, or choose another.")
    return OutputError(f"{target}: cannot be written ({error.strerror or error}). Nothing was left under that name.")
