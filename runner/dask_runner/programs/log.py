"""The log of a process: what Dask writes, in a file of limited size."""

from __future__ import annotations

import logging.config
import os
import re
import sys
from pathlib import Path
from typing import Any

_users: list[str] = []


def look_at_logging() -> None:
    """Note whether the user configures logging; called before Dask sets defaults."""
    import dask.config  # noqa: PLC0415  slow, and the lifeline comes first

    _users.extend({"logging", "logging-file-config"} & dask.config.config.keys())


#: Bytes of a log at which its older lines are dropped, and the bytes that are kept.
#: Anyone who reaches a port can cause a line for each connection that they break off,
#: and would fill the user's disk. The report of a failure shows the last lines.
LARGEST_LOG = 1 << 20
KEPT_BYTES = 1 << 18
#: Bytes of a log that the user keeps (``--log-directory``), after which Dask logs no
#: more: nothing of what is there is dropped.
LARGEST_KEPT_LOG = 1 << 26


class LogFile(logging.FileHandler):
    """A log of limited size, which a fork can redirect to another file."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line; drop older lines if the log is too long."""
        try:
            if self._is_kept and self._size > LARGEST_KEPT_LOG:
                return
            super().emit(record)
            if self._size > LARGEST_LOG and not self._is_kept:
                _shorten(Path(self.baseFilename))
        except OSError:
            self.handleError(record)

    @property
    def _size(self) -> int:
        # The end of the file, to which several processes may append.
        return 0 if self.stream is None else self.stream.tell()

    @property
    def _is_kept(self) -> bool:
        # It is a link in a directory of ours alone (node.kept_logs).
        return self._size > LARGEST_LOG and Path(self.baseFilename).is_symlink()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  logging's
        """Drop the line: the disk is full, and stderr belongs to the user."""

    def move(self, path: str) -> None:
        """Write all further lines to *path*."""
        self.acquire()
        try:
            self.close()
            self.baseFilename = os.path.abspath(path)  # noqa: PTH100  as logging does
        finally:
            self.release()


def _shorten(log: Path) -> None:
    # In place, because other processes append to the same file.
    with log.open("r+b") as file:
        file.seek(-KEPT_BYTES, os.SEEK_END)
        file.readline()
        kept = file.read()
        file.seek(0)
        file.truncate()
        file.write(b"[older lines are left out]\n" + kept)


def log_to_file(path: str) -> None:
    """Direct Dask's log to the file that the rank names.

    stderr belongs to the user's program. Dask's log is kept until the end, for the
    report of a failure. If the user configures ``logging``, nothing is changed.
    """
    if _users:
        return
    handlers = logging.getLogger("distributed").handlers
    files = [one for one in handlers if isinstance(one, LogFile)]
    for file in files:
        # All loggers share this handler. Configuring them again would be the most
        # expensive step of a worker's start: each change of a level clears all caches.
        file.move(path)
    if not files:
        logging.config.dictConfig(_to_file(path))


def _to_file(path: str) -> dict[str, Any]:
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "plain": {"format": "%(asctime)s %(name)s %(levelname)s %(message)s"}
        },
        "handlers": {
            "file": {
                "()": LogFile,
                "filename": path,
                "formatter": "plain",
                "encoding": "utf-8",
                "errors": "backslashreplace",
                "delay": True,
            }
        },
        "loggers": {
            name: {"handlers": ["file"], "level": level, "propagate": False}
            for name, level in _LEVELS.items()
        },
    }


# Dask's default levels (distributed.config), and tornado and asyncio, which log errors
# when a connection ends.
_LEVELS = {
    "distributed": "INFO",
    "distributed.client": "WARNING",
    "bokeh": "ERROR",
    "tornado": "ERROR",
    "asyncio": "ERROR",
}
#: The last line of a traceback.
_ERROR = re.compile(r"[\w.]+(Error|Exception|Exit)(: .*)?")


def last_words() -> str:
    """Return the last error in the log as a clause; "" if there is none."""
    try:
        lines = Path(sys.argv[2]).read_text(errors="replace").splitlines()
    except OSError:
        return ""
    error = next(filter(_ERROR.fullmatch, reversed(lines)), "")
    return error and f"; the last error in its log is {error}"
