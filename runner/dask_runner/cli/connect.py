"""``dask-runner connect``: run one more client of a running cluster.

This process starts the program, and watches the cluster meanwhile: the program goes on
without its cluster for a moment only. It lends the cluster's keys to what the program
starts, for as long as it lives itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from dask_runner.attach.attachment import Attachment
from dask_runner.errors import LostError, RunnerError, UsageError
from dask_runner.hub import messages as m
from dask_runner.hub.report import say
from dask_runner.hub.requests import AskState, State
from dask_runner.launch.own_variables import (
    CLUSTER_VARIABLE,
    VERSIONS_VARIABLE,
    inherited,
)
from dask_runner.launch.signals import FOR_A_COMMAND
from dask_runner.launch.values import NAME
from dask_runner.meeting import cluster_directory, tls
from dask_runner.node import make_instructions
from dask_runner.node import program as programs
from dask_runner.node.directory import RankDirectory
from dask_runner.node.foreground import Foreground, Signals
from dask_runner.node.packages import NodePackages
from dask_runner.node.system_errors import problem
from dask_runner.programs import added_packages
from dask_runner.programs.sitehook.for_client import other_versions
from dask_runner.resources.machine import take
from dask_runner.resources.scratch import scratch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence

    from dask_runner.launch.launch import Program
    from dask_runner.node.exits import Ended

#: The module that the program begins as.
MODULE = "dask_runner.programs.attached"

#: Seconds for a program that has lost its cluster to end by itself, and between SIGTERM
#: and SIGKILL after that.
LAST_WORDS_SECONDS, PATIENCE_SECONDS = 1.0, 3.0

#: What Python runs and no cluster is called.
_SUFFIXES = (".py", ".pyc", ".pyz", ".zip")


def begins_with_name(words: Sequence[str], environ: Mapping[str, str]) -> bool:
    """Return whether the first of these words is a cluster's name, and no script.

    It is the name if a cluster has it. Otherwise it is a script if there is one of that
    name, or if it looks like one; and if not, it is the name of a cluster that is not
    there.

    Raises
    ------
    UsageError
        If there is a cluster and a script of that name.
    """
    word, *more = words
    if not NAME.fullmatch(word):
        return False
    is_script = _is_script(Path(word))
    if is_cluster(word, environ):
        if is_script and more:
            raise UsageError(
                f"a cluster named {word!r}, and a script of that name in {Path.cwd()}",
                "to know which of them is meant",
                f"write ./{word} for the script; move it away for the cluster",
            )
        return bool(more) or not is_script
    return not is_script and not word.endswith(_SUFFIXES)


def _is_script(path: Path) -> bool:
    if path.is_dir():
        return (path / "__main__.py").exists()
    return path.exists()


def is_cluster(name: str, environ: Mapping[str, str]) -> bool:
    """Return whether a cluster has a name, or had it and has left its record."""
    with contextlib.suppress(cluster_directory.NoDirectoryError, OSError):
        return cluster_directory.path_of(name, environ).exists()
    return False


def connect(
    name: str | None, program: Program, patience: float, environ: Mapping[str, str]
) -> int:
    """Run a program as a client of a cluster; return its exit status.

    Parameters
    ----------
    name : str or None
        The cluster's; None for the one that the user has.
    program : Program
    patience : float
        Seconds for a cluster that is starting, and for a program that is piped in.
    environ : mapping

    Raises
    ------
    RunnerError
        If there is no such cluster, or no such program.
    """
    attachment = Attachment.to(name, environ)
    return asyncio.run(_connect(attachment, program, patience, environ))


async def _connect(
    attachment: Attachment,
    program: Program,
    patience: float,
    environ: Mapping[str, str],
) -> int:
    async with _OwnPackages(environ) as packages:
        return await _run(attachment, program, patience, environ, packages)


async def _run(
    attachment: Attachment,
    program: Program,
    patience: float,
    environ: Mapping[str, str],
    packages: _OwnPackages,
) -> int:
    signals = Signals()
    foreground = Foreground(MODULE)
    prepared = _prepared(attachment, program, patience, environ, packages)
    preparing = asyncio.create_task(prepared)
    stopped = asyncio.create_task(signals.next())
    await asyncio.wait({preparing, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if not preparing.done():
        preparing.cancel()
        await asyncio.wait({preparing})
        return 128 + stopped.result().si_signo
    stopped.cancel()
    state, text = preparing.result()
    with _lent(attachment) as keys:
        variables = {**keys, CLUSTER_VARIABLE: attachment.named.record.nonce}
        if program.kind == "command":
            variables[VERSIONS_VARIABLE] = _versions(attachment)
        messages = [
            make_instructions.client(program, variables, text),
            replace(_ready(attachment, state), packages=await packages.there()),
        ]
        own = inherited(environ, {})
        try:
            await foreground.start(own, messages, program.descriptors)
        except OSError as error:
            raise problem(error) from error
        async with _beside(foreground.forward(signals)):
            return await Watched(foreground, attachment).status()


async def _prepared(
    attachment: Attachment,
    program: Program,
    patience: float,
    environ: Mapping[str, str],
    packages: _OwnPackages,
) -> tuple[State, bytes | None]:
    """Look at the program and the cluster, and tell how they differ."""
    of_file = program.kind != "command"
    text = await programs.read(program, environ, patience) if of_file else None
    state = await attachment.started(patience)
    packages.use(m.Packages(state.packages, state.packages_key))
    with_packages = added_packages.on_path(await packages.there(), environ)
    if not of_file:  # it may be one of the packages'
        await programs.read(program, with_packages, patience)
    # Below a command, each Python that connects tells of itself.
    if of_file and (differ := other_versions(*_versions(attachment).split())):
        say(differ)
    return state, text


class _OwnPackages(NodePackages):
    """The cluster's packages for this program alone, unpacked on this machine.

    Parameters
    ----------
    environ : mapping
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__()
        self._environ = environ

    def use(self, archive: m.Packages) -> None:
        """Begin to unpack them, if there are any."""
        if archive.path:
            place = scratch(take(self._environ, None)).path
            self.directory = RankDirectory(place, self._environ)
            self.begin(archive)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Remove them again."""
        await self.end()
        if self.directory is not None:
            self.directory.remove()


def _versions(attachment: Attachment) -> str:
    named = attachment.named
    return f"{named.name} {named.python} {named.distributed}"


@contextlib.contextmanager
def _lent(attachment: Attachment) -> Iterator[dict[str, str]]:
    """Lend the keys to the program, if the cluster has some; yield its variables."""
    certificate, key = attachment.named.record.for_dask
    if not certificate:
        yield tls.without(os.environ)
        return
    with tls.lent(certificate, key) as variables:
        yield variables


def _ready(attachment: Attachment, state: State) -> m.Ready:
    """Return what tells a program of its cluster."""
    name, record = attachment.named.name, attachment.named.record
    link = f"dask-runner dashboard {name}" if state.dashboard else ""
    return m.Ready(state.address, link, state.workers, *record.for_dask, name)


class Watched:
    """The program, and its cluster, of which one ends first.

    Parameters
    ----------
    foreground : Foreground
        The program, which has begun.
    attachment : Attachment
        The cluster.
    """

    def __init__(self, foreground: Foreground, attachment: Attachment) -> None:
        self._foreground = foreground
        self._attachment = attachment

    async def status(self) -> int:
        """Wait for the end of either; return the exit status."""
        ending = asyncio.create_task(self._foreground.ended())
        losing = asyncio.create_task(self._attachment.ended(asyncio.Event()))
        try:
            await asyncio.wait({ending, losing}, return_when=asyncio.FIRST_COMPLETED)
            if ending.done():
                return await self._of_program(ending.result(), losing)
            return await self._of_cluster(ending, *losing.result())
        finally:
            losing.cancel()
            ending.cancel()
            self._foreground.tidy()

    async def _of_program(
        self, ended: Ended, losing: asyncio.Task[tuple[int | None, str]]
    ) -> int:
        """Return the program's own status, unless it has failed with its cluster."""
        if ended.status > 0 and not self._foreground.signalled:
            status, why = losing.result() if losing.done() else await self._end_so_far()
            if status != 0:
                return self._tell(status, why)
        return _of(ended)

    async def _end_so_far(self) -> tuple[int | None, str]:
        """Return how the cluster has ended, if it has; else as one that ended well."""
        try:
            state = await self._attachment.ask(AskState(), State)
        except RunnerError as error:
            return None, error.saw
        if not state.ending:
            return 0, ""
        return await self._attachment.ended(asyncio.Event())

    async def _of_cluster(
        self, ending: asyncio.Task[Ended], status: int | None, why: str
    ) -> int:
        """End the program if its cluster is lost; let it go on if that was stopped."""
        if status == 0:
            # Perhaps the program has shut it down, and has more to do.
            say(f"the cluster {self._attachment.named.name!r} has ended")
            return _of(await ending)
        await asyncio.wait({ending}, timeout=LAST_WORDS_SECONDS)
        told = self._tell(status, why)
        if not ending.done():
            await self._foreground.end(PATIENCE_SECONDS)
        return told

    def _tell(self, status: int | None, why: str) -> int:
        name = self._attachment.named.name
        how = f"is lost: {why}" if status is None else f"has ended with status {status}"
        error = LostError(
            f"the cluster {name!r} {how}",
            "a cluster for as long as the program runs",
            "see what its job has printed; start it again with dask-runner serve",
        )
        say(f"error: {error}")
        return error.status


def _of(ended: Ended) -> int:
    """Return a program's exit status; say what has killed it, if nobody asked it."""
    if ended.status < 0 and -ended.status not in FOR_A_COMMAND:
        say(f"error: the program {ended}")
    return ended.shell_status


@contextlib.asynccontextmanager
async def _beside(coroutine: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(coroutine)
    try:
        yield
    finally:
        task.cancel()
