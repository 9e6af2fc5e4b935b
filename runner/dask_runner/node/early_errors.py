"""Report an error that occurs before the rank runs: once, and to the other ranks.

Most such errors occur in all ranks alike, which then end by themselves. But one node
may have other arguments or another configuration, and the other ranks would wait for
it, so this rank leaves a notice.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dask_runner.errors import RunnerError, SignalledError
from dask_runner.hub import messages as m
from dask_runner.hub.report import say
from dask_runner.launch.detect import detect, prints_shared_errors
from dask_runner.launch.handed_out import asked, counted, of_world
from dask_runner.launch.settings import configured, settle
from dask_runner.meeting.choose import choose
from dask_runner.meeting.notice import Notice
from dask_runner.node import hosted_meeting
from dask_runner.node.cannot_begin import refuse_others, tell_first
from dask_runner.node.mpi_broadcast import mpi_meeting
from dask_runner.wire.channel import BlockingChannel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dask_runner.launch.handed_out import Asked
    from dask_runner.launch.settings import Setting, Settings
    from dask_runner.launch.world import World
    from dask_runner.meeting.notice import Notices
    from dask_runner.node.follower import Beside

#: Options that decide where notices lie, how long they last, and whether to leave one.
_KEYS = (
    *("scheduler_file", "meet", "timeout", "min_workers", "mpi_tasks"),
    # And those that tell a process where ranks are handed out.
    *("size", "nranks", "name", "secret_file", "launcher", "interface"),
)


def report(
    error: RunnerError,
    environ: Mapping[str, str],
    given: Mapping[str, Any] | None,
    beside: Beside,
    launcher: str = "auto",
) -> None:
    """Report the error that ends this process, unless another rank reports it.

    Parameters
    ----------
    error : RunnerError
    environ : mapping
    given : mapping or None
        The options of the command line, as far as they are known; None where no other
        rank waits for this one.
    beside : Beside
        The connection to the leader of the node, which can report it.
    launcher : str
        As the user has named it.
    """
    if _leader_knows(beside, error):
        return
    if given is not None and hosted_meeting.has_told(error, environ):
        return
    if given is not None and (at_desk := _at_desk(environ, given)):
        _tell_desk(error, environ, at_desk)
        return
    first, notices = None, None
    if given is not None and (found := _place(environ, given, launcher)):
        world, settings, notices = found
        if settings.min_workers is None or world.rank == 0:
            here = world.key, world.rank, socket.gethostname()
            first = notices.leave(Notice.of(error, *here, settings.timeout))
    if prints_shared_errors(environ, launcher) if first is None else first:
        _say(error)
    if notices is not None:
        asyncio.run(notices.taken())


def _say(error: RunnerError) -> None:
    if not error.printed:
        say(error if isinstance(error, SignalledError) else f"error: {error}")


@dataclass(frozen=True, slots=True)
class _AtDesk:
    """What this process knows of a launch whose processes meet at a desk."""

    asked: Asked
    settings: Settings
    world: World | None


def _at_desk(environ: Mapping[str, str], given: Mapping[str, Any]) -> _AtDesk | None:
    """Return it; None if they meet elsewhere, or nobody knows where."""
    try:
        settings = _settled(environ, given)
        wanted = asked(environ, settings)
        world = (
            detect(environ, settings.launcher)
            if wanted is None
            else counted(environ, settings, wanted)
        )
        if world is None:
            return None if wanted is None else _AtDesk(wanted, settings, None)
        if settings.meet and world.size > 1:
            return _AtDesk(of_world(world), settings, world)
    except RunnerError:
        pass  # it may be the very error that is reported
    return None


def _tell_desk(
    error: RunnerError, environ: Mapping[str, str], at_desk: _AtDesk
) -> None:
    """Print the error, or have rank 0 do it; the others need not wait then."""
    wanted, settings, world = at_desk.asked, at_desk.settings, at_desk.world
    if world is None or world.rank == 0:
        _say(error)
    if error.printed:
        return  # who has raised it has reported it
    if world is not None and world.rank == 0:
        error.printed = True
        with contextlib.suppress(RunnerError):
            asyncio.run(refuse_others(error, wanted, settings, environ))
        return
    if world is None:
        error.printed = True
        if settings.min_workers is not None:
            return  # they go on without it
    rank = -1 if world is None else world.rank
    with contextlib.suppress(RunnerError):
        asyncio.run(tell_first(error, wanted, settings, environ, rank))


def _leader_knows(beside: Beside, error: RunnerError) -> bool:
    """Send the error to the leader of the node; return False if there is none."""
    if beside.leader is None:
        return False
    with socket.socket(fileno=beside.leader.detach()) as leader:
        try:
            gone = not leader.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            gone = False
        except OSError:
            gone = True
        if not gone:
            failed = m.Failed(error.saw, error.needed, error.do, error.status)
            BlockingChannel(leader).send(failed)
        return not gone


def _place(
    environ: Mapping[str, str], given: Mapping[str, Any], launcher: str
) -> tuple[World, Settings, Notices] | None:
    """Return the World, the settings and the notices; None where they are not known."""
    try:
        world = detect(environ, launcher)
        if world is None:
            return None
        settings = _settled(environ, given)
        if world.meeting == "hosts":
            return None  # they meet at a desk, which sees that this process is gone
        meeting = choose(world, environ, settings, mpi_meeting)
    except RunnerError:
        return None  # it may be the very error that is reported
    return world, settings, meeting.notices


def _settled(environ: Mapping[str, str], given: Mapping[str, Any]) -> Settings:
    """Return the settings, with defaults for the options that are invalid."""
    chosen: dict[str, Any] = {}
    found: dict[str, Setting] = {}
    try:
        told = configured(environ)
    except RunnerError:
        told = {}
    for key in _KEYS:
        if key in told:
            # What the site has fixed counts, also where the user has another wish.
            site = told[key].site
            for one in filter(None, (told[key], site and replace(site, site=site))):
                with contextlib.suppress(RunnerError):
                    settle({}, {key: one})
                    found[key] = one
                    break
        with contextlib.suppress(RunnerError):
            settle({key: given.get(key)}, {k: found[k] for k in (key,) if k in found})
            chosen[key] = given.get(key)
    return settle(chosen, found)
