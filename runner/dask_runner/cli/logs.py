"""``dask-runner logs``: what a running cluster's processes have written.

The logs of Dask's processes are on the nodes, in directories of the ranks. They come
over the hub, a part at a time: the hub sends the next one when this process has read
the last.
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, TextIO

from dask_runner.cli.connect import is_cluster
from dask_runner.errors import UsageError
from dask_runner.hub import messages as m
from dask_runner.hub import requests as r
from dask_runner.hub.ask import SilentError, answer, asking, silent
from dask_runner.hub.pings import OUTSIDE_SILENCE_SECONDS
from dask_runner.hub.report import say
from dask_runner.meeting import cluster_directory, which_cluster
from dask_runner.printable import printable
from dask_runner.wire.message import Message

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dask_runner.meeting.record import Record

#: The status of a program whose reader has gone (SIGPIPE).
NOBODY_READS = 141


def show(
    words: Sequence[str], environ: Mapping[str, str], out: TextIO, *, follow: bool
) -> int:
    """Show logs; return the exit status.

    Parameters
    ----------
    words : sequence of str
        The name of a cluster, if it is needed, and of a process, if not all are meant.
    environ : mapping
    out : text stream
    follow : bool
        Whether to go on until the cluster ends.

    Raises
    ------
    RunnerError
        If there is no such cluster or process, or the cluster is lost.
    """
    name, of = split(words, environ)
    entry, named = which_cluster.choose(name, environ, word=of)
    try:
        return asyncio.run(
            _show(entry.name, named.record, r.AskLogs(of, follows=follow), out)
        )
    except SilentError as why:
        age = cluster_directory.age(entry.path)
        raise silent(entry.name, named.record, age, why) from why
    except KeyboardInterrupt:
        return 128 + signal.SIGINT  # that is how one leaves it
    except BrokenPipeError:
        # Python would complain when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
        return NOBODY_READS


def split(words: Sequence[str], environ: Mapping[str, str]) -> tuple[str | None, str]:
    """Return the cluster's name, if it is given, and the process's; "" for all.

    One word is the name of a cluster if one has it, and otherwise a process of the only
    one.

    Raises
    ------
    UsageError
        If there are more words.
    """
    match words:
        case []:
            return None, ""
        case [word]:
            return (word, "") if is_cluster(word, environ) else (None, word)
        case [name, of]:
            return name, of
    raise UsageError(
        f"{len(words)} words: {' '.join(words)}",
        "a cluster's name, and the name of one of its processes",
        "leave the process out to see all",
    )


async def _show(name: str, record: Record, ask: r.AskLogs, out: TextIO) -> int:
    printer = Printer(out, labels=not ask.of)
    async with asking(record, ask) as channel:
        while True:
            message = await answer(channel, Message, OUTSIDE_SILENCE_SECONDS)
            match message:
                case r.LogText():
                    printer.show(message)
                case r.LogLost(whose):
                    say(f"{whose} is lost, and its logs with it")
                case r.AllShown():
                    return 0
                case r.WillEnd(status):
                    say(f"the cluster {name!r} has ended with status {status}")
                    return 0
                case m.Ping():
                    """It is there."""
                case _:
                    raise SilentError(f"it sent {message!r:.60}", gone=False)


class Printer:
    """Prints lines, and says whose they are.

    Parameters
    ----------
    out : text stream
    labels : bool
        Whether lines of several processes come.
    """

    def __init__(self, out: TextIO, *, labels: bool) -> None:
        self._out = out
        self._labels = labels
        self._obeys = out.isatty()

    def show(self, text: r.LogText) -> None:
        """Print lines; a terminal gets no character that it would obey."""
        label = f"{text.name} | " if self._labels else ""
        lines = text.text.removesuffix("\n").split("\n")
        if self._obeys:
            lines = [printable(line.expandtabs()) for line in lines]
        self._out.write("".join(f"{label}{line}\n" for line in lines))
        self._out.flush()
