"""The agent as a fork of its leader, from the fork to its instructions.

See :mod:`dask_runner.node.early_agent`. It imports Dask at once. The leader sends
``Makes``, and then ``Gives`` with descriptors, ``Begin`` and ``RunAgent``: these make
it what a fresh Python is that was started as the agent.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import socket
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from dask_runner import linux
from dask_runner.launch.own_variables import inherited
from dask_runner.node.instructions import Begin, Gives, Makes, RunAgent
from dask_runner.node.start_agent import added_variables
from dask_runner.programs import lifeline, orphaned_agent
from dask_runner.resources.private_directory import HeldDirectory, exposure
from dask_runner.wire.channel import BlockingChannel

if TYPE_CHECKING:
    from types import FrameType

    from dask_runner.node.child import Sibling

#: More descriptors than there are (``node.start_agent``).
MOST_DESCRIPTORS = 32


def main(own: socket.socket, top: int) -> None:
    """Import Dask, and be the agent when the leader says so.

    The leader has imported this module before it forks, since its image may be
    unmounted as soon as it dies.

    Parameters
    ----------
    own : socket
        The lifeline.
    top : int
        The leader.
    """
    wait = _Wait(own, top)
    linux.name_process("dask-agent")
    leaders = _inherited()
    _look_like_a_fresh_one()
    from dask_runner.programs import agent  # noqa: PLC0415  for this process alone

    failure: Exception | None = None
    try:
        agent.import_in_peace()
    except Exception as error:  # noqa: BLE001  it is told when somebody hears
        failure = error
    begun = wait.receive()
    if begun is None:
        raise SystemExit(0)
    begun.become(leaders)

    def imported() -> None:
        if failure is not None:
            raise failure

    agent.work(begun.run, own, imported)


@dataclass(frozen=True, slots=True)
class _Begun:
    begin: Begin
    run: RunAgent

    def become(self, leaders: set[int]) -> None:
        """Take environment, log and descriptors as those of this process."""
        os.environ.clear()
        os.environ.update(self.begin.environ)
        if "dask.config" in sys.modules:
            import dask.config  # noqa: PLC0415  loaded, unless that has failed

            told = dask.config.collect_env(os.environ)
            dask.config.update(dask.config.config, told)
        sys.argv[2] = self.begin.log
        named = {*self.run.launchers}
        for sibling in self.run.siblings:
            named.update(sibling.opened)
        for descriptor in leaders - named:
            os.close(descriptor)


class _Wait:
    """The time until the leader says what to do; with its death, this process ends."""

    def __init__(self, own: socket.socket, top: int) -> None:
        self._own, self._top, self._pid = own, top, os.getpid()
        self._receives = False
        self._made: list[Makes] = []
        lifeline.leave_signals_to_the_top()
        signal.signal(orphaned_agent.SIGNAL, self._end)
        linux.die_with_parent(orphaned_agent.SIGNAL)
        self._end(orphaned_agent.SIGNAL, None)  # it may have gone before

    def _end(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if os.getppid() == self._top or self._receives or os.getpid() != self._pid:
            return
        self._receive()
        self._remove()
        os._exit(0)

    def receive(self) -> _Begun | None:
        """Wait for the instructions; None if the leader ends before."""
        self._receives = True  # the end of the lifeline tells of its death now
        begun = self._receive()
        if begun is None:
            self._remove()
        return begun

    def _remove(self) -> None:
        for made in self._made:
            directory = Path(made.directory)
            with contextlib.suppress(OSError):  # there is no such place
                # Else others could lay another directory of ours under that name.
                if not exposure(directory.parent):
                    HeldDirectory.at(directory).remove()
            orphaned_agent.remove_record(made.published)

    def _receive(self) -> _Begun | None:
        channel = BlockingChannel(self._own)
        while isinstance(gives := channel.receive(), Makes):
            self._made.append(gives)
        if not isinstance(gives, Gives):
            return None
        try:
            byte, descriptors, _, _ = socket.recv_fds(self._own, 1, MOST_DESCRIPTORS)
        except OSError:
            return None
        if not byte:
            return None
        begin, run = channel.receive(), channel.receive()
        if not isinstance(begin, Begin) or not isinstance(run, RunAgent):
            return None
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        *others, log = descriptors
        _move_stderr(log)
        return _Begun(
            begin, _renumbered(run, dict(zip(gives.numbers, others, strict=True)))
        )


def _move_stderr(log: int) -> None:
    """Direct stderr to the log, with what was said before it was there."""
    with (
        contextlib.suppress(OSError),  # the disk is full
        open(2, "rb", closefd=False) as said,
    ):
        said.seek(0)
        os.write(log, said.read())
        os.ftruncate(2, 0)  # else the leader would write it there once more
    os.dup2(log, 2)
    os.close(log)


def _renumbered(run: RunAgent, numbers: dict[int, int]) -> RunAgent:
    """Return the instructions with the numbers that descriptors have here."""

    def here(sibling: Sibling) -> Sibling:
        stdin = numbers.get(sibling.stdin, -1)
        return replace(sibling, lifeline=numbers[sibling.lifeline], stdin=stdin)

    return replace(
        run,
        siblings=tuple(here(sibling) for sibling in run.siblings),
        carrier=run.carrier and here(run.carrier),
        stderr=numbers[run.stderr],
    )


def _inherited() -> set[int]:
    """Return the descriptors that the leader has inherited, but the standard ones."""
    # All that Python opens is not inheritable, and is the modules' own.
    found = {int(number) for number in os.listdir("/proc/self/fd")}  # noqa: PTH208
    return {number for number in found if _is_inheritable(number)} - {0, 1, 2}


def _is_inheritable(descriptor: int) -> bool:
    try:
        return os.get_inheritable(descriptor)
    except OSError:
        return False  # it is closed by now: that of the listing


def _look_like_a_fresh_one() -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    if not sys.flags.safe_path:
        del sys.path[0]  # the folder of the script, or the working directory
    sys.argv = ["programs.agent", "", ""]
    sys.modules["__main__"] = importlib.import_module("dask_runner.programs.start")
    variables = inherited(os.environ, added_variables(os.environ))
    os.environ.clear()
    os.environ.update(variables)
