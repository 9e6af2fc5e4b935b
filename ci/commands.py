"""Commands inside a container: started, fed, watched, signalled, waited for.

Every command runs under ``timeout`` inside its container, so that a deadline ends
the command itself and not only the wait for it.
"""

from __future__ import annotations

import secrets
import signal
import socket
import threading
import time
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, cast

from docker.errors import APIError

from ci.docker_engine import tail
from ci.exec_stream import STDERR, STDOUT, frames
from dask_runner.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import docker
    from docker.models.containers import Container

# How long after its deadline a command may ignore SIGTERM.
KILL_AFTER = 5
# Beyond both, the container itself must be frozen or gone.
LOST_AFTER = 15
# Status of timeout(1) when it had to end the command, by SIGTERM or SIGKILL.
ENDED_BY_TIMEOUT = (124, 128 + signal.SIGKILL)
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
    """A command that was ended at its deadline; ``completed`` has its output."""

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
        Where.
    command : str or sequence of str
        A line for bash, or a program with its arguments.
    user : str
        As whom.
    timeout : float or None
        Seconds until the command is ended; None for never.
    env : mapping of str to str, optional
        Variables beside those of a login.
    cwd : str
        Where it starts.
    stdin : bool
        Whether :meth:`write` will feed it; without, it reads end-of-file.
    tty : bool
        Give it a terminal; stdout and stderr are then one stream.
    sinks : tuple of two unbuffered binary streams, optional
        Where its stdout and stderr go as they arrive, instead of being kept.
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
        tty: bool = False,
        sinks: tuple[IO[bytes], IO[bytes]] | None = None,
    ) -> None:
        self.command = command
        self.timeout = timeout
        self._container = container
        self._user = user
        self._pid_file = f"/run/commands/{secrets.token_hex(8)}"
        self._kept = {STDOUT: bytearray(), STDERR: bytearray()}
        self._sinks: dict[int, IO[bytes] | None] = dict(
            zip((STDOUT, STDERR), sinks or (), strict=False)
        )
        self._news = threading.Condition()
        self._ended_at = 0.0
        argv = ["bash", "-c", command] if isinstance(command, str) else list(command)
        recorded = ["sh", "-c", _RECORD_PID, self._pid_file, *argv]
        limited = ["timeout", f"--kill-after={KILL_AFTER}", str(timeout), *recorded]
        self._api = api = cast("docker.DockerClient", container.client).api
        try:
            self.id: str = api.exec_create(
                container.id,
                recorded if timeout is None else limited,
                stdin=stdin,
                tty=tty,
                user=user,
                workdir=cwd,
                environment=_login(user) | dict(env or {}),
            )["Id"]
        except APIError as error:
            raise ConfigError(
                f"cannot run {command} in {container.name}: {error.explanation}",
                "a node that runs",
                "ci/cluster restore NODE, or ci/cluster up",
            ) from None
        self._started_at = time.monotonic()
        stream: Any = api.exec_start(self.id, tty=tty, socket=True)
        # The SDK offers a reader; only the socket below it can be written to.
        self._socket: socket.socket = getattr(stream, "_sock", stream)
        self._socket.settimeout(None)
        self._reader = threading.Thread(
            target=self._read, args=(stream, tty), daemon=True
        )
        self._reader.start()

    @property
    def stdout(self) -> str:
        """What it printed so far."""
        return self._kept[STDOUT].decode(errors="replace")

    @property
    def stderr(self) -> str:
        """What it complained about so far."""
        return self._kept[STDERR].decode(errors="replace")

    @property
    def running(self) -> bool:
        """Whether it still runs."""
        return self._reader.is_alive()

    def write(self, data: bytes) -> None:
        """Feed its stdin."""
        self._socket.sendall(data)

    def close_stdin(self) -> None:
        """Let it read end-of-file."""
        self._socket.shutdown(socket.SHUT_WR)

    def signal(self, number: int, timeout: float = 10) -> None:
        """Send it a signal, as ``kill`` does from another terminal."""
        name = signal.Signals(number).name.removeprefix("SIG")
        code, output = execute(
            self._container,
            ["timeout", str(timeout), "sh", "-c", _SIGNAL, self._pid_file, name],
        )
        if code:
            raise ProcessLookupError(f"cannot send {name} to {self.command}: {output}")

    def resize(self, rows: int, columns: int) -> None:
        """Tell its terminal the size of ours."""
        try:
            self._api.exec_resize(self.id, height=rows, width=columns)
        except APIError:
            # A quick command has ended before it learns the size.
            if self._api.exec_inspect(self.id)["Running"]:
                raise

    def wait_for(self, text: str, timeout: float) -> None:
        """Wait until it has printed a text, on stdout or stderr.

        Raises
        ------
        CommandTimeoutError
            It has not within ``timeout`` seconds, or ended before.
        """
        with self._news:
            seen = self._news.wait_for(
                lambda: text in self.stdout or text in self.stderr or self._ended_at,
                timeout,
            )
        if not seen or not (text in self.stdout or text in self.stderr):
            raise CommandTimeoutError(self._completed(-1), timeout)

    def wait(self) -> Completed:
        """Wait for its end, which its own deadline bounds.

        Raises
        ------
        CommandTimeoutError
            The deadline ended it, or its container no longer answers.
        """
        patience = self.timeout and self.timeout + KILL_AFTER + LOST_AFTER
        self._reader.join(patience)
        if self._reader.is_alive():
            raise CommandTimeoutError(self._completed(-1), patience or 0)
        completed = self._completed(self._status())
        if (
            self.timeout
            and completed.returncode in ENDED_BY_TIMEOUT
            and completed.seconds >= self.timeout
        ):
            raise CommandTimeoutError(completed, self.timeout)
        return completed

    def _status(self) -> int:
        # The stream may end an instant before the engine has the status.
        deadline = time.monotonic() + LOST_AFTER
        while time.monotonic() < deadline:
            status = self._api.exec_inspect(self.id)["ExitCode"]
            if status is not None:
                return int(status)
            time.sleep(0.01)
        return 128 + signal.SIGKILL  # the container was killed under it

    def _completed(self, status: int) -> Completed:
        seconds = (self._ended_at or time.monotonic()) - self._started_at
        return Completed(self.command, status, self.stdout, self.stderr, seconds)

    def _pour(self, number: int, data: bytes) -> None:
        sink = self._sinks[number]
        if sink is None:
            return
        try:
            while data:
                data = data[sink.write(data) :]
        except BrokenPipeError:
            # Nobody reads on: the command learns it as it would outside.
            self._sinks[number] = None
            threading.Thread(
                target=self.signal, args=(signal.SIGPIPE,), daemon=True
            ).start()

    def _read(self, stream: Any, tty: bool) -> None:
        try:
            for number, data in frames(stream, tty=tty):
                if self._sinks:
                    self._pour(number, data)
                    continue
                with self._news:
                    self._kept[number] += data
                    self._news.notify_all()
        finally:
            with self._news:
                self._ended_at = time.monotonic()
                self._news.notify_all()
            # The SDK keeps the response beside the reader that it took out of it.
            getattr(stream, "_response", stream).close()
            self._socket.close()


def execute(container: Container, command: Sequence[str]) -> tuple[int, str]:
    """Run a short command as root; return its status and all that it printed."""
    result = container.exec_run(list(command), user="root")
    output = cast("bytes", result.output or b"").decode(errors="replace")
    return cast("int", result.exit_code), output.strip()


def _login(user: str) -> dict[str, str]:
    home = "/root" if user == "root" else f"/home/{user}"
    return {"HOME": home, "USER": user, "LOGNAME": user, "LANG": "C.UTF-8"}
