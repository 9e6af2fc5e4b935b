"""Locks between processes, released by the system when their holder ends."""

from __future__ import annotations

import fcntl
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dask_runner.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file, so that two processes do not make the same thing.

    Raises
    ------
    ConfigError
        The file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.open("w")
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}",
            "a folder that you may write to",
            "work in a clone of your own",
        ) from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
