"""Run commands in a container: feed, watch and signal them, wait for their end.

``docker exec`` does the streams and the terminal. A command with a deadline runs under
``timeout`` in the container, so that the deadline ends the command itself and not only
the wait for it.
"""

from __future__ import annotations

import contextlib
import secrets
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, cast

from containers.engine import command_line, tail
from dask_runner.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from docker.models.containers import Container

# How long after its deadline a command may ignore SIGTERM.
KILL_AFTER = 5
# After this many seconds more, the container itself must be frozen or gone.
LOST_AFTER = 15
# Status of timeout(1) when it had to end the command, by SIGTERM or SIGKILL.
ENDED_BY_TIMEOUT = (124, 128 + signal.SIGKILL)
# Docker waits after the first of these for the others before it passes it on. Its own
# choice, Ctrl-P and Ctrl-Q, is what people type at a shell.
DETACH_KEYS = "ctrl-^,ctrl-^,ctrl-^"
# Records its own pid, then becomes the command.
_RECORD_PID = 'echo $$ >"$0" && exec "$@"'
_SIGNAL = """\
until [ -s "$0" ]; do sleep 0.02; done
kill -s "$1" "$(cat "$0")\""""


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that ended.

    Attributes
    ----------
    command : str or sequence of str
        As it was given.
    returncode : int
        Its status as a shell sees it, 128 + number after a signal.
    stdout, stderr : str
        What it printed.
    seconds : float
        From its start to its end.
    """

    command: str | Sequence[str]
    returncode: int
    stdout: str
    stderr: str
    seconds: float


class CommandTimeoutError(Exception):
    """A command reached its deadline and was ended; ``completed`` has its output."""

    def __init__(self, completed: Completed, timeout: float) -> None:
        super().__init__(completed, timeout)
        self.completed = completed
        self.timeout = timeout

    def __str__(self) -> str:
        done = self.completed
        return (
            f"not finished after {self.timeout} s: {done.command}\n"
            f"  stdout ends with\n{tail(done.stdout)}\n"
            f"  stderr ends with\n{tail(done.stderr)}"
        )


class Running:
    """A command that was started in a container.

    Parameters
    ----------
    container : docker.models.containers.Container
        The container to run it in.
    command : str or sequence of str
        A line for bash, or a program with its arguments.
    user : str
        The account to run it as.
    timeout : float or None
        Seconds until the command is ended; None for never.
    env : mapping of str to str, optional
        Variables to add to those of a login.
    cwd : str
        Its working directory.
    stdin : bool
        Whether :meth:`write` feeds it; if not, its stdin is empty.
    shown : bool
        Whether its stdout and stderr are this process's; if not, they are kept.
    tty : bool
        Whether it gets this process's terminal, as stdin as well.

    Raises
    ------
    ConfigError
        The container is not running, or there is no docker command.
    """

    def __init__(
        self,
        container: Container,
        command: str | Sequence[str],
        *,
        user: str,
        timeout: float | None,
        env: Mapping[str, str] | None = None,
        cwd: str,
        stdin: bool = False,
        shown: bool = False,
        tty: bool = False,
    ) -> None:
        self.command = command
        self.timeout = timeout
        self._container = container
        self._pid_file = f"/run/commands/{secrets.token_hex(8)}"
        self._news = threading.Condition()
        self._over = False
        container.reload()
        if container.status != "running":
            raise ConfigError(
                f"cannot run {command} in {container.name}: it is {container.status}",
                "a node that runs",
                "ci/cluster restore NODE, or ci/cluster up",
            )
        argv = ["bash", "-c", command] if isinstance(command, str) else list(command)
        recorded = ["sh", "-c", _RECORD_PID, self._pid_file, *argv]
        limited = ["timeout", f"--kill-after={KILL_AFTER}", str(timeout), *recorded]
        environ = _login(user) | dict(env or {})
        kept = None if shown or tty else subprocess.PIPE
        self._started_at = time.monotonic()
        self._ended_at = 0.0
        self._exec = subprocess.Popen(
            [
                *command_line(),
                "exec",
                *(["--interactive"] if stdin or tty else []),
                *(["--tty", f"--detach-keys={DETACH_KEYS}"] if tty else []),
                f"--user={user}",
                f"--workdir={cwd}",
                *(f"--env={name}={value}" for name, value in environ.items()),
                str(container.id),
                *(recorded if timeout is None else limited),
            ],
            stdin=None if tty else subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=kept,
            stderr=kept,
            # In a group of its own it gets no Ctrl-C: this process gets it and sends
            # it to the command. Only the terminal's own group may read the terminal.
            process_group=None if tty else 0,
        )
        self._kept = (bytearray(), bytearray())
        self._readers = [
            threading.Thread(target=self._read, args=(stream, into), daemon=True)
            for stream, into in zip(
                (self._exec.stdout, self._exec.stderr), self._kept, strict=True
            )
            if stream is not None
        ]
        for reader in self._readers:
            reader.start()
        self._waiter = threading.Thread(target=self._await, daemon=True)
        self._waiter.start()

    @property
    def stdout(self) -> str:
        """Its stdout so far."""
        return self._kept[0].decode(errors="replace")

    @property
    def stderr(self) -> str:
        """Its stderr so far."""
        return self._kept[1].decode(errors="replace")

    @property
    def running(self) -> bool:
        """Whether it still runs."""
        return not self._over

    def write(self, data: bytes) -> None:
        """Write to its stdin."""
        stdin = cast("IO[bytes]", self._exec.stdin)
        stdin.write(data)
        stdin.flush()

    def close_stdin(self) -> None:
        """Close its stdin."""
        cast("IO[bytes]", self._exec.stdin).close()

    def signal(self, number: int, timeout: float = 10) -> None:
        """Send it a signal, as ``kill`` does from another terminal."""
        name = signal.Signals(number).name.removeprefix("SIG")
        code, output = execute(
            self._container,
            ["timeout", str(timeout), "sh", "-c", _SIGNAL, self._pid_file, name],
        )
        if code:
            raise ProcessLookupError(f"cannot send {name} to {self.command}: {output}")

    def wait_for(self, text: str, timeout: float) -> None:
        """Wait until it has printed a text, on stdout or stderr.

        Raises
        ------
        CommandTimeoutError
            It did not print it within ``timeout`` seconds, or ended before it did.
        """
        with self._news:
            self._news.wait_for(
                lambda: text in self.stdout or text in self.stderr or self._over,
                timeout,
            )
        if text not in self.stdout and text not in self.stderr:
            raise CommandTimeoutError(self._completed(-1), timeout)

    def wait(self) -> Completed:
        """Wait for its end; its own deadline limits the wait.

        Raises
        ------
        CommandTimeoutError
            The deadline ended it, or its container no longer answers.
        """
        patience = self.timeout and self.timeout + KILL_AFTER + LOST_AFTER
        self._waiter.join(patience)
        if self._waiter.is_alive():
            self._exec.kill()
            raise CommandTimeoutError(self._completed(-1), patience or 0)
        status = self._exec.returncode
        completed = self._completed(128 - status if status < 0 else status)
        if (
            self.timeout
            and completed.returncode in ENDED_BY_TIMEOUT
            and completed.seconds >= self.timeout
        ):
            raise CommandTimeoutError(completed, self.timeout)
        return completed

    def _completed(self, status: int) -> Completed:
        seconds = (self._ended_at or time.monotonic()) - self._started_at
        return Completed(self.command, status, self.stdout, self.stderr, seconds)

    def _read(self, stream: IO[bytes], into: bytearray) -> None:
        with stream:
            while data := cast("bytes", stream.read1(1 << 16)):  # type: ignore[attr-defined]
                with self._news:
                    into += data
                    self._news.notify_all()

    def _await(self) -> None:
        for reader in self._readers:
            reader.join()
        status = self._exec.wait()
        self._ended_at = time.monotonic()
        if self._exec.stdin is not None and not self._exec.stdin.closed:
            # The command ended without reading all of its stdin.
            with contextlib.suppress(BrokenPipeError):
                self._exec.stdin.close()
        if status == -signal.SIGPIPE:
            # Whatever read our output is gone. Outside a container the command itself
            # would get this signal.
            with contextlib.suppress(ProcessLookupError):  # it has ended as well
                self.signal(signal.SIGPIPE)
        with self._news:
            self._over = True
            self._news.notify_all()


def execute(container: Container, command: Sequence[str]) -> tuple[int, str]:
    """Run a short command as root; return its status and all that it printed."""
    result = container.exec_run(list(command), user="root")
    output = cast("bytes", result.output or b"").decode(errors="replace")
    return cast("int", result.exit_code), output.strip()


def _login(user: str) -> dict[str, str]:
    home = "/root" if user == "root" else f"/home/{user}"
    return {"HOME": home, "USER": user, "LOGNAME": user, "LANG": "C.UTF-8"}
