"""A shell on a terminal, as a user types into it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import subprocess
import termios
import time
from typing import TYPE_CHECKING, Self

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# Until what a test waits for is given up; long on a busy machine.
SECONDS = 60.0

CTRL_C, CTRL_D, CTRL_Z = "\x03", "\x04", "\x1a"


class Terminal:
    """A terminal with an interactive shell, which does job control.

    Parameters
    ----------
    cwd : Path
    env : mapping of str to str
    """

    def __init__(self, cwd: Path, env: Mapping[str, str]) -> None:
        self._ours, theirs = pty.openpty()

        def control() -> None:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self._shell = subprocess.Popen(
            ["bash", "--norc", "--noprofile", "--noediting", "-i"],
            cwd=cwd,
            env={**env, "PS1": "ready> ", "TERM": "dumb"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=control,  # noqa: PLW1509  one thread
        )
        os.close(theirs)
        self.shown = ""
        self._seen = 0
        self.wait_for("ready> ")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._shell.send_signal(signal.SIGHUP)
        with contextlib.suppress(OSError):
            os.close(self._ours)
        try:
            self._shell.wait(SECONDS)
        finally:
            self._shell.kill()

    def type(self, text: str) -> None:
        """Type a text, such as a line or a control character."""
        os.write(self._ours, text.encode())

    def line(self, text: str) -> None:
        """Type a line."""
        self.type(f"{text}\n")

    def wait_for(self, text: str) -> str:
        """Wait until a text is shown that was not waited for before; return all."""
        deadline = time.monotonic() + SECONDS
        while (found := self.shown.find(text, self._seen)) < 0:
            left = deadline - time.monotonic()
            if left < 0 or not select.select([self._ours], [], [], left)[0]:
                pytest.fail(f"{text!r} is not shown:\n{self.shown}")
            self.shown += os.read(self._ours, 1 << 16).decode(errors="replace")
        self._seen = found + len(text)
        return self.shown

    @property
    def echoes(self) -> bool:
        """Whether what is typed is shown."""
        return bool(termios.tcgetattr(self._ours)[3] & termios.ECHO)
