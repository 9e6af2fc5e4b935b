"""The connection with one host over the user's own ssh, and what its end means."""

from __future__ import annotations

import math
import shlex
import shutil
import signal
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dask_runner import __version__
from dask_runner.errors import ConfigError, RunnerError, UnavailableError
from dask_runner.wire.channel import HEAD
from dask_runner.wire.message import encode

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from dask_runner.launch.hosts import Host
    from dask_runner.node import hosted_messages as h
    from dask_runner.wire.message import Message

#: ssh's own failures.
OF_SSH = 255
#: A shell's statuses for a program that is not there, or cannot be run.
NO_PROGRAM = (126, 127)
#: The names of this machine, for which no ssh is needed.
HERE = ("localhost", "127.0.0.1", "::1")

#: Signs of life within the time after which one counts as gone; ssh asks as often.
BEATS = 4

#: What ssh says last, and what that means: the error, what was needed, what one can do.
_CAUSES: tuple[tuple[str, type[RunnerError], str, str], ...] = (
    (
        "Permission denied",
        ConfigError,
        "a key of yours that the host takes without a password",
        "see that this logs in without a question: ssh -o BatchMode=yes {host} true",
    ),
    (
        "Host key verification failed",
        ConfigError,
        "a host whose key you know",
        "check the key, and take it, by logging in once: ssh {host}",
    ),
    (
        "Could not resolve hostname",
        ConfigError,
        "names that this machine, or your ssh, knows",
        "correct the name; or add it to ~/.ssh/config",
    ),
    (
        "could not open image",
        ConfigError,
        "the image of --image at that path on each host",
        "put it there; or name another path",
    ),
)


@dataclass(eq=False, slots=True)
class Link:
    """The connection with one host, and its first rank.

    Attributes
    ----------
    ended : int or None
        The status that the host has told when its ranks had ended.
    """

    host: Host
    first: int
    process: asyncio.subprocess.Process
    ready: asyncio.Future[h.HostReady]
    said: list[str] = field(default_factory=list)
    begun: bool = False
    ended: int | None = None
    readers: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def ranks(self) -> list[int]:
        """The ranks of the host."""
        return list(range(self.first, self.first + self.host.slots))

    def send(self, message: Message) -> None:
        """Send a message; that the host is gone is noticed by its end."""
        pipe = self.process.stdin
        if pipe is not None and not pipe.is_closing():
            payload = encode(message)
            pipe.write(HEAD.pack(len(payload)) + payload)


def other_version(host: str, version: str) -> ConfigError:
    """Return the error of a host whose dask-runner is of another version."""
    return ConfigError(
        f"{host} has dask-runner {version}, and this is {__version__}",
        "one version on all hosts",
        "install the same everywhere; or run all in one image with --image",
    )


def ssh(host: str, command: str, *, timeout: float, silence: float) -> Sequence[str]:
    """Return what runs a command on a host.

    Parameters
    ----------
    host, command : str
    timeout : float
        Seconds for the connection; else an ssh whose launcher was killed would try for
        minutes.
    silence : float
        Seconds without an answer after which the connection is given up.
    """
    options = (
        "BatchMode=yes",
        f"ConnectTimeout={math.ceil(timeout)}",
        f"ServerAliveInterval={max(1, int(silence / BEATS))}",
        f"ServerAliveCountMax={BEATS - 1}",
    )
    words = (word for option in options for word in ("-o", option))
    return ("ssh", "-T", *words, "--", host, command)


def command_of(image: str | None) -> str:
    """Return what a host's shell runs."""
    if image:
        apptainer = (
            "$(command -v apptainer || command -v singularity || echo apptainer)"
        )
        run = f"exec {apptainer} run {shlex.quote(image)} hosted"
    else:
        own = shlex.quote(shutil.which(sys.argv[0]) or sys.argv[0])
        run = (
            f"if [ -x {own} ]; then exec {own} hosted; else exec dask-runner hosted; fi"
        )
    # The user's own shell there may be any.
    return f"exec sh -c {shlex.quote(run)}"


def how(status: int, link: Link) -> str:
    """Return how the ssh of a host has ended by itself."""
    if status < 0:
        return f"its ssh got {signal.Signals(-status).name}"
    return f"ssh says: {_last(link.said)}"


def _last(said: Sequence[str]) -> str:
    return said[-1] if said else "nothing"


def refused(host: str, status: int, said: Sequence[str]) -> RunnerError:
    """Return the error of a host that has ended before it could start ranks."""
    last = _last(said)
    if status in NO_PROGRAM:
        return ConfigError(
            f"{host} has no dask-runner: {last}",
            "dask-runner on the path of a shell that is no login shell, or an image",
            "install it there; or name an image that the host has with --image",
        )
    if status != OF_SSH:
        return ConfigError(
            f"{host} cannot start ranks: {last} (status {status})",
            "a dask-runner that runs there",
            f"see what this prints: ssh {host} dask-runner --version",
        )
    for words, kind, needed, do in _CAUSES:
        if words in last:
            return kind(f"{host}: {last}", needed, do.format(host=host))
    return UnavailableError(
        f"{host}: {last}",
        "a host that answers ssh",
        f"see whether it is up: ssh -v {host} true; or leave it out",
    )
