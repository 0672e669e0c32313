"""Columns beyond the memory for them: a folder of Arrow files in the cache, which goes with the last who reads it.

What a process that was killed has left there is removed by the next that comes.
"""

import contextlib
import os
import shutil
import sys
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from schuss.errors import OutputError
from schuss.table.cache import cache_folder

if sys.platform != "win32":
    import fcntl


class Spool:
    """A folder of its own in the cache. A lock beside it, which the system opens when a process ends, says who lives.

    Raises:
        OutputError: the cache cannot be written.
    """

    def __init__(self) -> None:
        root = cache_folder()
        with _told(root):
            root.mkdir(parents=True, exist_ok=True)
            _remove_leftovers(root)
            lock, name = tempfile.mkstemp(".lock", "spool-", root)
            _hold(lock)
            self.folder = Path(name).with_suffix("")
            self.folder.mkdir()
        weakref.finalize(self, _remove, self.folder, lock, os.getpid())
        self._count = 0

    def write(self, chunks: Iterable[bytes]) -> Path:
        """Writes bytes, one chunk after another, to a file.

        Raises:
            OutputError: there is no room.
        """
        path = self._path()
        with path.open("wb") as file:
            for chunk in chunks:
                with _told(self.folder.parent):
                    file.write(chunk)
                    file.flush()
        return path

    def _path(self) -> Path:
        """A name that is free."""
        self._count += 1
        return self.folder / str(self._count)

    def keep(self, columns: Mapping[str, pa.Array]) -> "Spooled":
        """Writes columns of the same length.

        Raises:
            OutputError: there is no room.
        """
        table = pa.table(dict(columns))
        path = self._path()
        with (
            _told(self.folder.parent),
            pa.OSFile(str(path), "wb") as file,
            pa.ipc.new_file(file, table.schema) as writer,
        ):
            writer.write_table(table)
        return Spooled(self, path)


@dataclass(frozen=True)
class Spooled:
    """Columns that were written to a spool."""

    spool: Spool
    path: Path

    def read(self, names: Sequence[str]) -> dict[str, pa.Array]:
        """Some of the columns, as they were. Plain reads: pages of a mapped file would count as memory in use."""
        with pa.OSFile(str(self.path)) as file:
            every = pa.ipc.open_file(file).schema.names
            options = pa.ipc.IpcReadOptions(included_fields=[every.index(name) for name in names])
            table = pa.ipc.open_file(file, options=options).read_all()
        return {name: table[name].combine_chunks() for name in names}

    def remove(self) -> None:
        """Gives the room back."""
        self.path.unlink()


def _hold(lock: int) -> None:
    """Takes a lock, or raises OSError where somebody has it. Windows needs none: what is open cannot be removed."""
    if sys.platform != "win32":
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _remove_leftovers(root: Path) -> None:
    """Removes the folders whose locks nobody holds."""
    for path in root.glob("spool-*.lock"):
        with contextlib.suppress(OSError):
            with path.open("rb") as lock:
                _hold(lock.fileno())
            path.unlink()
            shutil.rmtree(path.with_suffix(""), ignore_errors=True)


def _remove(folder: Path, lock: int, process: int) -> None:
    """Removes a folder and its lock; a fork of the process that made them leaves them alone."""
    if process == os.getpid():
        os.close(lock)
        folder.with_suffix(".lock").unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _told(root: Path) -> Iterator[None]:
    """The errors of the system as ours."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{str(root)!r} cannot take a table that is larger than the memory for it: {error.strerror or error}. "
            "Set SCHUSS_CACHE to a folder with room."
        ) from None
