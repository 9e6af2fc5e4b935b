"""Bytes of an image: any may be wrong."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, Self, cast

from dask_runner.mpi.abi.bounds import MOST_HEADERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _typeshed import WriteableBuffer

    from dask_runner.mpi.abi.bounds import Budget

CHUNK = 1 << 20

# xz -9 needs 65 MiB; what a file asks for may be gigabytes.
_XZ_MEMORY = 128 << 20

_GZIP, _BZIP2, _XZ = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0"
_ZSTD = b"\x28\xb5\x2f\xfd"


class Broken(Exception):  # noqa: N818  what is told of an image, no error of ours
    """An image is damaged; the text says how."""


# What tarfile and the decompressors raise for damaged content, as their sources say.
_LED_ASTRAY = (
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)


@contextmanager
def unbroken() -> Iterator[None]:
    """Raise an error that names the damage: for blocks that do little but unpack."""
    try:
        yield
    except _LED_ASTRAY as error:
        raise Broken(f"{error} ({type(error).__name__})") from error


def unpacked(stream: BinaryIO) -> Iterator[bytes] | None:
    """Return the content of a compressed stream; None where it is not compressed."""
    magic = stream.read(6)
    stream.seek(0)
    if magic.startswith(_GZIP):
        return _chunks(gzip.GzipFile(fileobj=stream))
    if magic.startswith(_BZIP2):
        return _chunks(bz2.BZ2File(stream))
    if magic == _XZ:
        return _unxz(stream)
    if magic.startswith(_ZSTD):
        raise Broken("it is compressed with zstd, which is not read here")
    return None


def _chunks(stream: BinaryIO | gzip.GzipFile | bz2.BZ2File) -> Iterator[bytes]:
    while chunk := stream.read(CHUNK):
        yield chunk


def _unxz(stream: BinaryIO) -> Iterator[bytes]:
    # LZMAFile has no bound for the memory.
    decompressor = lzma.LZMADecompressor(memlimit=_XZ_MEMORY)
    while not decompressor.eof:
        data = stream.read(CHUNK) if decompressor.needs_input else b""
        if decompressor.needs_input and not data:
            raise EOFError("the xz stream is cut")
        yield decompressor.decompress(data, CHUNK)


class _Bounded:
    """A tar file as tarfile reads it: headers within a bound, and never backwards."""

    def __init__(self) -> None:
        self._left: int | None = MOST_HEADERS

    def expect_headers(self) -> None:
        """Bound what is read from now on, because tarfile takes it into memory."""
        self._left = MOST_HEADERS

    def expect_content(self) -> None:
        """Pass on what is read from now on, piece by piece."""
        self._left = None

    def close(self) -> None:
        """Do nothing: the function that has opened the file closes it."""

    def _count(self, size: int) -> None:
        if self._left is not None:
            self._left -= size
            if self._left < 0:
                raise tarfile.ReadError(f"headers of more than {MOST_HEADERS} bytes")

    @staticmethod
    def _forwards(here: int, place: int) -> None:
        # A size below 0 would make this endless.
        if place < here:
            raise tarfile.ReadError("an entry that leads backwards")


class Direct(_Bounded):
    """A tar file of which the headers alone are read.

    Parameters
    ----------
    file : binary file
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file

    def tell(self) -> int:
        """Return the offset of the next byte."""
        return self._file.tell()

    def seek(self, place: int) -> int:
        """Skip the bytes up to an offset; it is not before the next byte's."""
        self._forwards(self.tell(), place)
        return self._file.seek(place)

    def read(self, size: int) -> bytes:
        """Return the next *size* bytes, or all that are left."""
        self._count(size)
        return self._file.read(size)


class Forward(_Bounded):
    """A tar file that is read piece by piece.

    Parameters
    ----------
    stream : binary file
        Compressed or not.
    budget : Budget
        Counts what it unpacks to.
    """

    def __init__(self, stream: BinaryIO, budget: Budget) -> None:
        super().__init__()
        self._chunks = unpacked(stream) or _chunks(stream)
        self._budget = budget
        self._at = 0
        self._waiting = memoryview(b"")

    def tell(self) -> int:
        """Return the offset of the next byte."""
        return self._at

    def seek(self, place: int) -> int:
        """Skip the bytes up to an offset; it is not before the next byte's."""
        self._forwards(self._at, place)
        while self._at < place and self._fill():
            self._take(place - self._at)
        return self._at

    def read(self, size: int) -> bytes:
        """Return the next *size* bytes, or all that are left."""
        self._count(size)
        parts = []
        while size > 0 and self._fill():
            parts.append(bytes(self._take(size)))
            size -= len(parts[-1])
        return b"".join(parts)

    def _fill(self) -> bool:
        while not self._waiting:
            chunk = next(self._chunks, None)
            if chunk is None:
                return False
            self._budget.unpacked(len(chunk))
            self._waiting = memoryview(chunk)
        return True

    def _take(self, most: int) -> memoryview:
        taken, self._waiting = self._waiting[:most], self._waiting[most:]
        self._at += len(taken)
        return taken


# They are not in typeshed. The other two kinds of HeaderError are the archive's end.
_WRONG_HEADER = (
    tarfile.InvalidHeaderError,  # type: ignore[attr-defined]
    tarfile.TruncatedHeaderError,  # type: ignore[attr-defined]
)


class _Member(tarfile.TarInfo):
    """A member whose header has to be right.

    A ``TarFile`` takes a wrong header for the end of the archive, unless it is the
    first one (``TarFile.next``). What follows would count as not there.
    """

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> Self:
        """Read the next member."""
        try:
            return super().fromtarfile(tarfile_)
        except _WRONG_HEADER as error:
            raise tarfile.ReadError(f"a header that is wrong: {error}") from error


def members(
    source: Direct | Forward, budget: Budget
) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """Yield the members of a tar file, one by one, in an :func:`unbroken` block."""
    with tarfile.open(
        fileobj=cast("BinaryIO", source),
        mode="r:",
        tarinfo=_Member,
        # The names are those of the image, whatever this machine's encoding is.
        encoding="utf-8",
        errors="surrogateescape",
    ) as archive:
        while member := archive.next():
            # It would keep them all.
            archive.members.clear()  # type: ignore[attr-defined]
            budget.entry()
            if member.size < 0:
                raise tarfile.ReadError("a file with a size below 0")
            source.expect_content()
            yield archive, member
            source.expect_headers()


class Window(io.RawIOBase):
    """A part of a file as a file.

    Parameters
    ----------
    file : binary file
        Has to stay open as long as this is read.
    at, size : int
        Where the part is.
    """

    def __init__(self, file: BinaryIO, at: int, size: int) -> None:
        self._file, self._begin, self._size = file.fileno(), at, size
        self._at = 0

    def readable(self) -> bool:
        """Return True, for :class:`io.BufferedReader`."""
        return True

    def seekable(self) -> bool:
        """Return True: any offset can be read next."""
        return True

    def tell(self) -> int:
        """Return the offset of the next byte, from the part's beginning."""
        return self._at

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        """Set the offset of the next byte; return it."""
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}
        if origin[whence] + place < 0:
            raise ValueError("a place before the beginning")
        self._at = origin[whence] + place
        return self._at

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill *buffer*, as far as the next bytes do; return their number."""
        view = memoryview(buffer).cast("B")
        wanted = max(0, min(len(view), self._size - self._at))
        data = os.pread(self._file, wanted, self._begin + self._at)
        view[: len(data)] = data
        self._at += len(data)
        return len(data)
