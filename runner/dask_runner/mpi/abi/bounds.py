"""How much of a stranger's image is read, each bound with its reason."""

from __future__ import annotations

import shutil
import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from dask_runner.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Seconds for an image in whole; one of some gigabytes on a slow file system takes
#: minutes.
PATIENCE_SECONDS = 900

#: Names in all layers together; images with several Conda environments have half a
#: million.
MOST_ENTRIES = 2_000_000

#: Bytes that layers unpack to, read or not; the largest images that are in use have a
#: fifth.
MOST_UNPACKED = 256 << 30

#: Bytes that are kept for a while, of libraries and small texts alone.
MOST_KEPT = 32 << 30

#: Bytes of a manifest or index: what registries take (OCI distribution-spec).
MOST_JSON = 4 << 20

#: Indexes that lead to another one: an image of several platforms has two.
MOST_INDEXES = 4

#: Layers of an image; the engines' drivers stop at 127.
MOST_LAYERS = 1024

#: Directories one in another; Linux has no bound but the length of a path.
MOST_DEPTH = 128

#: Characters of a path and of a link's target (PATH_MAX).
MOST_PATH = 4096

#: Bytes of headers before one file of a layer: what Go's archive/tar takes, with which
#: the engines write and read layers.
MOST_HEADERS = 1 << 20


class Budget:
    """What an image may still cost.

    Parameters
    ----------
    image : str
        Its name, for the error.
    place : Path
        The directory that is filled; at most half of what is free there.
    """

    def __init__(self, image: str, place: Path) -> None:
        self._image = image
        self._entries = MOST_ENTRIES
        self._unpacked = MOST_UNPACKED
        free = shutil.disk_usage(place).free // 2
        self._kept = self._room = min(MOST_KEPT, free)

    def entry(self) -> None:
        """Count one name."""
        self._entries -= 1
        if self._entries < 0:
            raise self._refused(f"has more than {MOST_ENTRIES} files")

    def unpacked(self, size: int) -> None:
        """Count bytes that were unpacked."""
        self._unpacked -= size
        if self._unpacked < 0:
            raise self._refused(f"unpacks to more than {_size(MOST_UNPACKED)}")

    def kept(self, size: int) -> None:
        """Count bytes that go into the temporary directory."""
        self._kept -= size
        if self._kept >= 0:
            return
        if self._room == MOST_KEPT:
            raise self._refused(f"has libraries of more than {_size(MOST_KEPT)}")
        raise ConfigError(
            f"{self._image} needs more than half of what is free in the temporary "
            f"directory ({_size(self._room)})",
            "a temporary directory with more room",
            f"TMPDIR=/some/disk dask-runner check {self._image}",
        )

    def _refused(self, what: str) -> ConfigError:
        return ConfigError(
            f"{self._image} {what}",
            "an image as one installs it",
            f"check it from inside: apptainer run --bind /:/host {self._image} check",
        )


def _size(number: int) -> str:
    return f"{number >> 30} GiB" if number >> 30 else f"{number >> 20} MiB"


@contextmanager
def in_time(image: str) -> Iterator[None]:
    """End the block with a ConfigError when an image has taken all the patience.

    A file can be made so that a regular expression, a decompressor or a list of
    symbols takes any time. A signal ends these, wherever they are.
    """

    def too_long(*_: object) -> NoReturn:
        raise ConfigError(
            f"{image} was not read within {PATIENCE_SECONDS} s",
            "an image as one installs it, on a file system that is fast enough",
            f"TMPDIR=/some/disk dask-runner check {image}",
        )

    began = time.monotonic()
    handler = signal.signal(signal.SIGALRM, too_long)
    left, again = signal.setitimer(signal.ITIMER_REAL, PATIENCE_SECONDS)
    try:
        yield
    finally:
        # The caller may have an alarm of its own, as tests do.
        rest = left and max(left - (time.monotonic() - began), 0.001)
        signal.setitimer(signal.ITIMER_REAL, rest, again)
        signal.signal(signal.SIGALRM, handler)
