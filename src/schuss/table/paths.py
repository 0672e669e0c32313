"""Which files a path means: one, or those that a pattern finds or a folder holds."""

import glob
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from schuss.errors import SourceError
from schuss.table.delimited import unpacked

TEXT_ENDINGS = (".csv", ".tsv", ".txt", ".data")
ARROW_ENDINGS = (".arrow", ".feather", ".ipc")


@dataclass(frozen=True)
class File:
    """A file, and what the names of the folders around it say."""

    path: str
    keys: Mapping[str, str] = field(default_factory=dict)


def files_at(path: str) -> list[File]:
    """The file, or the files that a pattern finds or a folder holds, in the order of their names."""
    path = os.path.expanduser(path)
    if os.path.isdir(path):
        files = [file for file in sorted(Path(path).rglob("*")) if _is_data(file.relative_to(path)) and file.is_file()]
        return [File(str(file), _keys(file.relative_to(path))) for file in files] or [File(path)]
    if os.path.exists(path) or not glob.has_magic(path):
        return [File(path)]
    found = sorted(file for file in glob.glob(path, recursive=True) if os.path.isfile(file))
    if not found:
        raise SourceError(f"No file fits the pattern {path!r}. Check the folder and the ending.")
    return [File(file) for file in found]


def _is_data(path: Path) -> bool:
    """A path in a folder by whose ending its kind is known; names that begin with . or _ are somebody's notes."""
    known = unpacked(path.name).endswith((*TEXT_ENDINGS, *ARROW_ENDINGS, ".parquet"))
    return known and not any(part.startswith((".", "_")) for part in path.parts)


def _keys(path: Path) -> dict[str, str]:
    """What the folders above a file say that are named key=value, as Hive names them."""
    return {key: unquote(value) for key, equals, value in (part.partition("=") for part in path.parts[:-1]) if equals}
