"""The bytes of a text file: from memory, from a file or from what unpacks it, as often as need be."""

import functools
import io
import os
import re
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, cast

import pyarrow as pa

BLOCK_BYTES = 1 << 20  # of the sizes and memory pools tried, this one with the system's pool was fastest
_LINE_END = re.compile(rb"(\r\n?|\n)")
_VALUE = re.compile(rb'(?:"[^"]*")+\S*|\S+')  # between blanks
MARK = b"\xef\xbb\xbf"  # at the start of a file, of UTF-8

PACKINGS = {
    ".gz": ("gzip", b"\x1f\x8b"),
    ".zst": ("zstd", b"\x28\xb5\x2f\xfd"),
}  # by ending: what packs the file, and how it then begins


class Content:
    """The bytes of a text file, as a stream that can be opened again: from memory, or from a file, packed or not.

    opened: gives the stream of a file. changes: what is done to its lines before anybody sees them.
    """

    def __init__(
        self,
        held: bytes | None = None,
        opened: Callable[[], Any] = io.BytesIO,
        packing: str = "",
        changes: tuple[Callable[[bytes], bytes], ...] = (),
    ) -> None:
        self._held, self._opened, self._packing, self._changes = held, opened, packing, changes

    def open(self, start: int = 0) -> BinaryIO:
        """A stream that stands at byte `start`; of a packed file all that is before is unpacked and forgotten."""
        if self._held is not None:
            stream: Any = io.BytesIO(self._held)
        elif self._packing:
            stream = pa.CompressedInputStream(self._opened(), self._packing)
        else:
            stream = self._opened()
        for change in self._changes:
            stream = _Changed(stream, change)
        skip(stream, start)
        return cast(BinaryIO, stream)

    def without(self, comment: str) -> "Content":
        """The same with every line that begins with this blank, so that the others keep their numbers."""
        lines = re.compile(rb"(?<![^\r\n])(?:\xef\xbb\xbf)?" + re.escape(comment.encode()) + rb"[^\r\n]*")
        return self._changed(functools.partial(lines.sub, b"")) if comment else self

    def aligned(self) -> "Content":
        """The same with one blank between the values of a line and none around them."""
        return self._changed(aligned_lines)

    def _changed(self, change: Callable[[bytes], bytes]) -> "Content":
        return Content(self._held, self._opened, self._packing, (*self._changes, change))

    def head(self, size: int) -> bytes:
        """The first bytes; a file that is no longer than they are is kept from then on."""
        if self._held is None or self._changes:
            with self.open() as stream:
                head = bytes(filled(stream, size))
            if len(head) == size:
                return head
            self._held, self._changes = head, ()
        return self._held[:size]

    def chunks(self, start: int, stop: int | None = None) -> Iterator[bytes]:
        """The bytes from `start` up to `stop` or the end, some at a time."""
        with self.open(start) as stream:
            while chunk := stream.read(BLOCK_BYTES if stop is None else min(BLOCK_BYTES, stop - start)):
                start += len(chunk)
                yield chunk

    def line(self, byte: int) -> int:
        """The number of the line that this byte is on, from 1."""
        line, last = 1, b""
        for chunk in self.chunks(0, byte):
            line += line_breaks(last + chunk) - line_breaks(last)
            last = chunk[-1:]
        return line


def aligned_lines(text: bytes) -> bytes:
    """Lines with one blank between their values and none around them; what is in quotes stays."""
    if text.startswith(MARK):
        return MARK + aligned_lines(text[len(MARK) :])
    lines = _LINE_END.split(text)  # and their ends, in turn
    lines[::2] = [b" ".join(_VALUE.findall(line) if b'"' in line else line.split()) for line in lines[::2]]
    return b"".join(lines)


class _Changed:
    """A stream of bytes in which something was done to every line."""

    def __init__(self, stream: BinaryIO, change: Callable[[bytes], bytes]) -> None:
        self._stream, self._change, self._ready, self._begun = stream, change, b"", b""

    def read(self, size: int) -> bytes:
        """At most so many bytes; none at the end."""
        while not self._ready and (chunk := self._stream.read(BLOCK_BYTES)):
            text = self._begun + chunk
            end = max(text.rfind(b"\n"), text.rfind(b"\r")) + 1
            self._ready, self._begun = self._change(text[:end]), text[end:]
        if not self._ready:
            self._ready, self._begun = self._change(self._begun), b""
        taken, self._ready = self._ready[:size], self._ready[size:]
        return taken

    def readinto(self, memory: memoryview) -> int:
        """Likewise, into memory; how many they are."""
        taken = self.read(len(memory))
        memory[: len(taken)] = taken
        return len(taken)

    def seekable(self) -> bool:
        """Never."""
        return False

    def __enter__(self) -> "_Changed":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()


def unpacked(name: str) -> str:
    """The name of a file in small letters, without the ending of a packed one."""
    stem, ending = os.path.splitext(name.lower())
    return stem if ending in PACKINGS else stem + ending


def filled(stream: Any, size: int, rest: bytes | bytearray = b"") -> bytearray:
    """What was left and what comes next: `size` bytes in all, or all there are."""
    text, end = bytearray(size), len(rest)
    text[:end] = rest
    with memoryview(text) as view:
        while end < size and (count := stream.readinto(view[end:])):
            end += count
    del text[end:]
    return text


def skip(stream: BinaryIO, count: int) -> None:
    """Passes over the next `count` bytes."""
    if stream.seekable():
        stream.seek(count, io.SEEK_CUR)
        return
    while count and (chunk := stream.read(min(count, BLOCK_BYTES))):
        count -= len(chunk)


def line_breaks(text: bytes | bytearray) -> int:
    """How many lines end in a text."""
    return text.count(b"\n") + text.count(b"\r") - text.count(b"\r\n")
