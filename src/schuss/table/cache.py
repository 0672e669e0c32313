"""The cache folder: what was made once for a table and can be used again.

An entry is a folder whose name is a fingerprint, the hex digest of all that it was made from. It is made beside its
place, `.fingerprint.process-random.part`, and renamed when it is whole and durable. Whoever makes an entry holds a
shared lock on the file `.lock`; whoever gets that lock for itself alone knows that every .part is a dead process's.
"""

import contextlib
import os
import re
import shutil
import sys
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from schuss.errors import OutputError, SourceError
from schuss.files import STORAGE, Storage, write_file

if sys.platform != "win32":
    import fcntl

_Content = TypeVar("_Content")

MANIFEST = "manifest.json"  # in every entry, the file that is written last
CLEAR = "Remove it with `schuss cache --clear`."
_FINGERPRINT = re.compile(r"[0-9a-f]{16,128}")
_LEFTOVER = re.compile(r"\.[0-9a-f]{16,128}\.\d+-[0-9a-f]{8}\.part")


class _Signed(msgspec.Struct, frozen=True):
    """What a file of plain values holds. checksum: CRC-32 of the content."""

    format: int
    checksum: int
    content: msgspec.Raw


@dataclass(frozen=True)
class Entry:
    """An entry of the cache: its folder, its size in bytes, and the seconds since it was made."""

    folder: Path
    bytes: int
    seconds: float


def cache_folder() -> Path:
    """$SCHUSS_CACHE, else $XDG_CACHE_HOME/schuss, else ~/.cache/schuss; it need not be there."""
    if own := os.environ.get("SCHUSS_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "schuss"


def entries(cache: Path) -> list[Entry]:
    """The whole entries of a cache folder, the oldest first."""
    found = []
    for folder in _folders(cache, _FINGERPRINT):
        with contextlib.suppress(OSError):  # another process may remove it meanwhile
            made = (folder / MANIFEST).stat().st_mtime
            found.append(Entry(folder, sum(file.stat().st_size for file in folder.iterdir()), time.time() - made))
    return sorted(found, key=lambda entry: -entry.seconds)


def clear(cache: Path) -> list[Entry]:
    """Removes all entries, and what dead processes left; returns the entries. Whoever reads one can go on.

    Raises:
        OutputError: an entry cannot be removed.
    """
    found = entries(cache)
    if cache.is_dir():
        with _output(cache), _making(cache):
            for entry in found:
                leftover = _temporary(entry.folder)  # so that no entry is ever there in part
                with contextlib.suppress(FileNotFoundError):  # another process was faster
                    os.rename(entry.folder, leftover)
                    shutil.rmtree(leftover)
    return found


@contextlib.contextmanager
def new_entry(folder: Path, storage: Storage = STORAGE) -> Iterator[Path]:
    """A folder to write to; at the end of the block it takes its name, after an error it is gone.

    Where another process has made the same entry meanwhile, that one stays.

    Raises:
        OutputError: the folder cannot be made.
    """
    temporary = _temporary(folder)
    with contextlib.ExitStack() as stack:
        with _output(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(_making(folder.parent))
            temporary.mkdir()
        stack.callback(shutil.rmtree, temporary, ignore_errors=True)
        yield temporary
        with _output(folder):
            storage.sync_folder(temporary)
            try:
                storage.rename(temporary, folder)
            except OSError:
                if not (folder / MANIFEST).is_file():
                    raise
            storage.sync_folder(folder.parent)


def write_signed(path: Path, format: int, content: object, storage: Storage = STORAGE) -> None:
    """Writes a plain value as JSON, with a checksum.

    Raises:
        OutputError: the file cannot be written.
    """
    encoded = msgspec.json.encode(content)
    signed = _Signed(format, zlib.crc32(encoded), msgspec.Raw(encoded))
    write_file(path, msgspec.json.encode(signed), storage)


def read_signed(path: Path, format: int, type: type[_Content]) -> _Content:
    """What write_signed wrote.

    Raises:
        SourceError: the file is not there, damaged or of another format.
    """
    try:
        signed = msgspec.json.decode(path.read_bytes(), type=_Signed)
        if signed.format != format:
            raise SourceError(f"{path} is of format {signed.format}, and this version reads {format}. {CLEAR}")
        if zlib.crc32(signed.content) != signed.checksum:
            raise SourceError(f"{path} is damaged. {CLEAR}")
        return msgspec.json.decode(signed.content, type=type)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise SourceError(f"{path} cannot be read ({error}). {CLEAR}") from error


@contextlib.contextmanager
def _making(cache: Path) -> Iterator[None]:
    """Nobody takes what is made here for a leftover; whoever is alone removes what others left first."""
    descriptor = os.open(cache / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for folder in _folders(cache, _LEFTOVER):
                shutil.rmtree(folder, ignore_errors=True)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def _folders(cache: Path, names: re.Pattern[str]) -> list[Path]:
    """The folders of such names, links to others left out."""
    if not cache.is_dir():
        return []
    return [path for path in cache.iterdir() if names.fullmatch(path.name) and path.is_dir() and not path.is_symlink()]


def _temporary(folder: Path) -> Path:
    """The sibling that is made first."""
    return folder.with_name(f".{folder.name}.{os.getpid()}-{os.urandom(4).hex()}.part")


@contextlib.contextmanager
def _output(folder: Path) -> Iterator[None]:
    """What the system refuses becomes an OutputError."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(f"{folder}: cannot be written ({reason}). Set SCHUSS_CACHE to another folder.") from error
