"""What tests of several rooms share. Properties are checked without a clock: a busy machine fails no test."""

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import settings

from schuss.files import Storage

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


class _FailingStorage(Storage):
    """The N-th operation fails."""

    def __init__(self, failing: int) -> None:
        self.left = failing

    def _count(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise OSError(28, "No space left on device")

    def create(self, path: Path) -> BinaryIO:
        self._count()
        return super().create(path)

    def write(self, file: BinaryIO, content: bytes) -> None:
        self._count()
        super().write(file, content)

    def sync(self, file: BinaryIO) -> None:
        self._count()
        super().sync(file)

    def rename(self, source: Path, target: Path) -> None:
        self._count()
        super().rename(source, target)

    def sync_folder(self, folder: Path) -> None:
        self._count()
        super().sync_folder(folder)


@pytest.fixture
def failing() -> Callable[[int], Storage]:
    """Makes a storage whose N-th operation fails."""
    return _FailingStorage
