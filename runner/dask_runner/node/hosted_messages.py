"""What ``dask-runner --hosts`` and its part on a host say to each other.

It travels over ssh's stdin and stdout. What comes back is a line for each message,
behind a mark, since a shell's start-up files may print as well, and since all else is
the output of the ranks::

    launcher → host   AskHost
    host → launcher   HostReady
    launcher → host   Begin
    host → launcher   HubRecord, from the host of rank 0
    launcher → host   HubRecord, to all others
    launcher → host   Input, SignalAll
    host → launcher   HostGone, which goes on to the host of rank 0
    host → launcher   HostEnded

The end of ssh's stdin ends the ranks of the host.
"""

from __future__ import annotations

from dataclasses import dataclass

from dask_runner.wire.message import Message

#: What a message's line begins with.
MARK = "\x1edask-runner: "


@dataclass(frozen=True)
class AskHost(Message):
    """Ask a host whether it has the script, by its path and digest, if there is one."""

    version: str
    directory: str
    script: str
    digest: str


@dataclass(frozen=True)
class HostReady(Message):
    """The host has dask-runner, and perhaps the same script at the same path."""

    version: str
    python: str
    distributed: str
    node: str
    has_script: bool


@dataclass(frozen=True)
class Begin(Message):
    """Start ranks.

    Attributes
    ----------
    args : list of str
        The arguments of ``dask-runner``.
    environ : dict of str to str
        Variables that the launcher passes on.
    directory : str
        Where the command was typed.
    first, number, size : int
        The first rank of the host, how many it gets, and how many there are in all.
    job : str
        What the launch has and no other.
    client : int
        The rank that gets standard input; -1 for none.
    script : str
        The script's text in base64, where hosts lack it.
    at : int
        The place of the script's path among the arguments.
    named : str
        The named record of the cluster to join, where the launcher has it.
    """

    args: list[str]
    environ: dict[str, str]
    directory: str
    first: int
    number: int
    size: int
    job: str
    client: int
    script: str = ""
    at: int = -1
    named: str = ""


@dataclass(frozen=True)
class HubRecord(Message):
    """The record of the hub."""

    text: str


@dataclass(frozen=True)
class Input(Message):
    """Standard input of the client, in base64; empty at its end."""

    data: str


@dataclass(frozen=True)
class SignalAll(Message):
    """A signal that the launcher has got, for all ranks."""

    number: int


@dataclass(frozen=True)
class HostGone(Message):
    """Ranks of a host are gone; rank 0 is told."""

    ranks: list[int]
    host: str
    why: str


@dataclass(frozen=True)
class HostEnded(Message):
    """The ranks of the host have ended; that of the lowest has this status.

    ssh passes it on as well, but 255 is also that of its own failures.
    """

    status: int
