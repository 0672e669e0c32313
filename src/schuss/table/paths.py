"""Which files a path means: one, or those that a pattern finds or a folder holds, on whatever file system."""

import contextlib
import glob
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import unquote

import pyarrow as pa
from pyarrow.fs import FileSelector, FileSystem, FileType, LocalFileSystem

from schuss.errors import SourceError, one_line
from schuss.table.content import unpacked

TEXT_ENDINGS = (".csv", ".tsv", ".txt", ".data")
ARROW_ENDINGS = (".arrow", ".feather", ".ipc")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_STREAM_BYTES = 1 << 23  # asked of another file system at once: each question takes its time to arrive


class Identity(NamedTuple):
    """What tells a file from an edited one; mtime_ns and inode are 0 where a file system does not know them."""

    path: str
    size: int
    mtime_ns: int
    inode: int


@dataclass(frozen=True)
class File:
    """A file, and what the names of the folders around it say.

    system: one of pyarrow's file systems, None for this machine's own. path: as that system knows it.
    """

    path: str
    keys: Mapping[str, str] = field(default_factory=dict)
    system: Any = None

    @property
    def name(self) -> str:
        """The last part of the path."""
        return os.path.basename(self.path)

    @property
    def address(self) -> str:
        """The path, with the kind of its file system where that is another."""
        return self.path if self.system is None else f"{self.system.type_name}://{self.path}"

    def identity(self) -> Identity | None:
        """What it is now; None where it is not there, or is no plain file.

        Raises:
            SourceError: another file system does not tell.
        """
        if self.system is not None:
            with reading_remotely(self.address):
                info = self.system.get_file_info(self.path)
            return Identity(self.address, info.size, info.mtime_ns or 0, 0) if info.type == FileType.File else None
        try:
            found = os.stat(self.path)
        except (OSError, ValueError):
            return None
        path = os.path.abspath(self.path)
        return Identity(path, found.st_size, found.st_mtime_ns, found.st_ino) if stat.S_ISREG(found.st_mode) else None

    def open(self) -> Any:
        """Its bytes in any order."""
        return pa.OSFile(self.path) if self.system is None else self.system.open_input_file(self.path)

    def stream(self) -> Any:
        """Its bytes from the first one on."""
        if self.system is None:
            return self.open()
        return self.system.open_input_stream(self.path, compression=None, buffer_size=_STREAM_BYTES)


def files_in(source: object) -> list[File] | None:
    """The files that a path or each of a list of paths means; None where a source is neither.

    Raises:
        SourceError: nothing fits a pattern, or another file system does not show what is there.
    """
    every = list(source) if isinstance(source, list | tuple) else [source]
    given = [os.fspath(each) for each in every if isinstance(each, str | os.PathLike)]
    return [file for path in given for file in _files_at(path)] if given and len(given) == len(every) else None


def files_of(source: object) -> tuple[Identity, ...] | None:
    """What the files of a source are now, in their order, before anything is read.

    None where the source is no path or list of paths, or one of the files is not there or is a pipe.
    """
    try:
        found = [file.identity() for file in files_in(source) or []]
    except SourceError:
        return None
    there = tuple(identity for identity in found if identity)
    return there if there and len(there) == len(found) else None


def _files_at(path: str) -> list[File]:
    """The file, or the files that a pattern finds or a folder holds, in the order of their names."""
    if not _URI.match(path):
        return _local_files(os.path.expanduser(path))
    with reading_remotely(path):
        system, inside = FileSystem.from_uri(path)
        return _local_files(inside) if isinstance(system, LocalFileSystem) else _remote_files(system, inside, path)


@contextlib.contextmanager
def reading_remotely(address: str) -> Iterator[None]:
    """The errors of another file system as ours."""
    try:
        yield
    except FileNotFoundError:
        raise SourceError(f"{address!r} does not exist. Check the address.") from None
    except (pa.ArrowException, OSError) as error:
        raise SourceError(
            f"{address!r} cannot be read: {one_line(error)}. Check the address, the connection and the credentials."
        ) from None


def _local_files(path: str) -> list[File]:
    """Those of this machine."""
    if os.path.isdir(path):
        files = [file for file in sorted(Path(path).rglob("*")) if _is_data(file.relative_to(path)) and file.is_file()]
        return [File(str(file), _keys(file.relative_to(path))) for file in files] or [File(path)]
    if os.path.exists(path) or not glob.has_magic(path):
        return [File(path)]
    return [File(file) for file in sorted(glob.glob(path, recursive=True)) if os.path.isfile(file)] or _nothing(path)


def _remote_files(system: Any, path: str, address: str) -> list[File]:
    """Those of another file system; `address` is what a person wrote for them."""
    path = path.rstrip("/")
    found = system.get_file_info(path).type
    if found == FileType.Directory:
        files = [(file, PurePosixPath(file).relative_to(path)) for file in _below(system, path)]
        data = [File(file, _keys(inside), system) for file, inside in files if _is_data(inside)]
        return data or _nothing(address)
    if found != FileType.NotFound:
        return [File(path, system=system)]
    if not glob.has_magic(path):
        raise FileNotFoundError
    folder = re.split(r"[*?\[]", path)[0].rpartition("/")[0]
    fitting = [file for file in _below(system, folder) if _fits(PurePosixPath(file).parts, PurePosixPath(path).parts)]
    return [File(file, system=system) for file in fitting] or _nothing(address)


def _below(system: Any, folder: str) -> list[str]:
    """Every file in a folder and in its folders."""
    found = system.get_file_info(FileSelector(folder, recursive=True))
    return sorted((info.path for info in found if info.type == FileType.File), key=PurePosixPath)


def _fits(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """A path fits a pattern, part by part, as in glob.glob: ** is any number of folders, and * finds nothing hidden."""
    if not pattern or not parts:
        return not parts and all(part == "**" for part in pattern)
    if parts[0].startswith(".") and not pattern[0].startswith("."):
        return False
    if pattern[0] == "**":
        return _fits(parts, pattern[1:]) or _fits(parts[1:], pattern)
    return fnmatchcase(parts[0], pattern[0]) and _fits(parts[1:], pattern[1:])


def _nothing(pattern: str) -> list[File]:
    raise SourceError(f"No file fits the pattern {pattern!r}. Check the folder and the ending.")


def _is_data(path: PurePath) -> bool:
    """A path in a folder by whose ending its kind is known; names that begin with . or _ are somebody's notes."""
    known = unpacked(path.name).endswith((*TEXT_ENDINGS, *ARROW_ENDINGS, ".parquet"))
    return known and not any(part.startswith((".", "_")) for part in path.parts)


def _keys(path: PurePath) -> dict[str, str]:
    """What the folders above a file say that are named key=value, as Hive names them."""
    return {key: unquote(value) for key, equals, value in (part.partition("=") for part in path.parts[:-1]) if equals}
