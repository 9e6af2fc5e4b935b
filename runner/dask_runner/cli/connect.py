"""``dask-runner connect``: one more client of a running cluster.

This process finds the cluster, starts the program, and waits for the end of either. The
program is in its process group, so that a terminal treats the two as one command.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dask_runner.errors import LostError, RunnerError
from dask_runner.hub import messages as m
from dask_runner.hub.attachment import Attachment
from dask_runner.hub.channel import BlockingChannel
from dask_runner.hub.report import say
from dask_runner.hub.requests import AskState, State
from dask_runner.hub.versions import tell_of_others
from dask_runner.launch.launch import Launch
from dask_runner.launch.own_variables import CLUSTER_VARIABLE, inherited
from dask_runner.launch.plan import Plan
from dask_runner.launch.world import World
from dask_runner.meeting import cluster_directory, tls
from dask_runner.node import make_instructions, program
from dask_runner.node.exits import Ended

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dask_runner.launch.launch import Program
    from dask_runner.launch.settings import Settings
    from dask_runner.meeting.record import Record

#: Signals that are passed on to the program.
PASSED_ON = (
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
#: Of these, a terminal sends some to the program as well (sigaction(2), ``si_code``).
BY_TERMINAL, SI_KERNEL = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP), 0x80

#: The program's process runs what the client of a script would.
CLIENT = "from dask_runner.programs.client import main; main()"
#: Seconds that the program has to end itself when the cluster is lost.
GRACE = 5.0


def is_name(word: str, environ: Mapping[str, str]) -> bool:
    """Return whether a word is a cluster's name, and not the script to run.

    The name of a running cluster is one, and so is what cannot be a script here: a
    misspelt name is told as such. ``./lab`` is always a file.
    """
    if any(entry.name == word for entry in cluster_directory.entries(environ)):
        return True
    script = word == program.STDIN or "/" in word or word.endswith(".py")
    return not (script or Path(word).exists())


def connect(
    name: str | None, wanted: Program, settings: Settings, environ: Mapping[str, str]
) -> int:
    """Run a program whose ``Client()`` is a running cluster; return its status.

    Parameters
    ----------
    name : str or None
        The cluster's; None for the one that the user has.
    wanted : Program
    settings : Settings
        ``timeout``, for the cluster to start and the program to be read.
    environ : mapping

    Raises
    ------
    ConfigError
        If there is no such program, or the record cannot be believed.
    UnavailableError
        If there is no such cluster, or it does not answer.
    LostError
        If the cluster is lost while the program runs.
    """
    attachment = Attachment.to(name, environ)
    tell_of_others(attachment.named)
    return asyncio.run(_run(attachment, wanted, settings, environ))


async def _run(
    attachment: Attachment,
    wanted: Program,
    settings: Settings,
    environ: Mapping[str, str],
) -> int:
    state = await attachment.started(settings.timeout)
    alone = Launch(World.alone(), Plan(None, 0, ()), settings, environ, wanted)
    text = await program.read(wanted, alone)
    record = attachment.named.record
    with contextlib.ExitStack() as stack:
        variables = {CLUSTER_VARIABLE: record.nonce}
        variables |= stack.enter_context(_keys(record, environ))
        run = make_instructions.client(wanted, settings, variables, text)
        certificate, key = record.for_dask
        name = attachment.entry.name
        link = _link(name, state)
        ready = m.Ready(state.address, link, state.workers, certificate, key, name)
        process = stack.enter_context(_started(wanted, environ, run, ready))
        return await _until_end(process, attachment)


@contextlib.contextmanager
def _keys(record: Record, environ: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Give the program's own processes the cluster's keys, as Dask's variables.

    They are files of this process that have no directory, so that nothing stays
    however it ends. Only this account can open them by their names in /proc.
    """
    if not record.encrypts:
        yield tls.without(environ)
        return
    with (
        tls.in_memory(record.certificate) as one,
        tls.in_memory(record.private_key) as two,
    ):
        paths = (
            Path(f"/proc/{os.getpid()}/fd", Path(name).name) for name in (one, two)
        )
        yield tls.variables(*paths)


@contextlib.contextmanager
def _started(
    wanted: Program,
    environ: Mapping[str, str],
    run: m.Message,
    ready: m.Ready,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start the program in a process that the kernel ends with this one."""
    ours, theirs = socket.socketpair()
    line = [sys.executable, "-P", "-c", CLIENT, str(theirs.fileno())]
    with (
        ours,
        subprocess.Popen(
            line,
            env=inherited(environ, {}),
            pass_fds=(theirs.fileno(), *wanted.descriptors),
        ) as process,
    ):
        theirs.close()
        channel = BlockingChannel(ours)
        channel.send(run)
        channel.send(ready)
        try:
            yield process
        finally:
            process.kill()


async def _until_end(process: subprocess.Popen[bytes], attachment: Attachment) -> int:
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    pidfd = os.pidfd_open(process.pid)
    loop.add_reader(pidfd, over.set)
    _pass_on_signals(process)
    ended = asyncio.create_task(over.wait())
    lost = asyncio.create_task(attachment.ended(asyncio.Event()))
    try:
        await asyncio.wait({ended, lost}, return_when=asyncio.FIRST_COMPLETED)
        if ended.done() and process.wait() and await _is_over(attachment):
            # The program may have noticed first, and failed because of that.
            await asyncio.wait({lost}, timeout=GRACE)
        if lost.done():
            await _without_cluster(process, ended, attachment.entry.name, lost.result())
    finally:
        lost.cancel()
        loop.remove_reader(pidfd)
        os.close(pidfd)
    return Ended(process.wait()).shell_status


async def _is_over(attachment: Attachment) -> bool:
    try:
        return (await attachment.ask(AskState(), State)).ending
    except RunnerError:  # it does not answer any more
        return True


async def _without_cluster(
    process: subprocess.Popen[bytes],
    ended: asyncio.Task[Any],
    name: str,
    end: tuple[int | None, str],
) -> None:
    """End the program if its cluster is lost; wait for its own end if it is stopped.

    Raises
    ------
    LostError
        If the cluster is lost.
    """
    status, why = end
    if status == 0:
        # Perhaps the program has shut it down, and has more to do.
        if not ended.done():
            say(f"the cluster {name!r} has ended")
        await ended
        return
    process.terminate()
    await asyncio.wait({ended}, timeout=GRACE)
    how = f"has ended with status {status}" if status else f"is lost: {why}"
    raise LostError(
        f"the cluster {name!r} {how}",
        "a cluster for as long as the program runs",
        "see what its job has printed",
    )


def _pass_on_signals(process: subprocess.Popen[bytes]) -> None:
    """Send the program the signals that this process gets, and it does not.

    A terminal sends Ctrl-C to both. Only the signal's own description tells where it
    comes from, and a handler in Python does not get that.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)

    def pass_on() -> None:
        while True:
            came = signal.sigwaitinfo(PASSED_ON)
            if not (came.si_code == SI_KERNEL and came.si_signo in BY_TERMINAL):
                process.send_signal(came.si_signo)

    threading.Thread(target=pass_on, name="signals", daemon=True).start()


def _link(name: str, state: State) -> str:
    return f"dask-runner dashboard {name}" if state.dashboard else ""
