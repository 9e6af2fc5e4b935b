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
    launcher → host   Beat, again and again
    host → launcher   HostGone, which goes on to the host of rank 0
    host → launcher   HostEnded

The end of ssh's stdin ends the ranks of the host; so does a silence, where a network is
cut and nobody closes the connection.
"""

from __future__ import annotations

from dataclasses import dataclass

from dask_runner.wire.message import Message

#: As of a rank that does not come.
TEMPFAIL = 75
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
    silence : float
        Seconds without a message after which the launcher is gone.
    client : int
        The rank that gets standard input; -1 for none.
    script : str
        The script's text in base64, where hosts lack it.
    at : int
        The place of the script's path among the arguments.
    joins : bool
        Whether the ranks join a running cluster.
    named : str
        Its named record, where the launcher has it.
    """

    args: list[str]
    environ: dict[str, str]
    directory: str
    first: int
    number: int
    size: int
    job: str
    silence: float
    client: int
    joins: bool = False
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
class Beat(Message):
    """The launcher is there, and so is the connection."""


@dataclass(frozen=True)
class HostGone(Message):
    """Ranks of a host are gone, or fail before they join; rank 0 is told.

    *saw* is what has become of them. *needed*, *do* and *status* are those of the error
    of a rank; the job ends with this status where it cannot begin without them.
    """

    ranks: list[int]
    host: str
    saw: str
    needed: str = ""
    do: str = ""
    status: int = TEMPFAIL


@dataclass(frozen=True)
class HostEnded(Message):
    """The ranks of the host have ended; that of the lowest has this status.

    ssh passes it on as well, but 255 is also that of its own failures.
    """

    status: int
