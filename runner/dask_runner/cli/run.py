"""``dask-runner run``, ``serve`` and ``join``: from the environment to the status."""

from __future__ import annotations

import asyncio
import platform
import socket
from importlib.metadata import version
from typing import TYPE_CHECKING

from dask_runner.cli import local
from dask_runner.cli.hosts import hosts_of, run_hosts
from dask_runner.hub.report import say
from dask_runner.launch.detect import LAUNCHERS, detect
from dask_runner.launch.handed_out import asked, counted, of_world
from dask_runner.launch.launch import Launch
from dask_runner.launch.own_variables import HOST_RANK_VARIABLE
from dask_runner.launch.plan import check_spare, join_plan, make_plan
from dask_runner.launch.world import World
from dask_runner.meeting.by_name import NameMeeting
from dask_runner.meeting.choose import choose
from dask_runner.mpi import lost_launcher, surroundings
from dask_runner.node import node_socket
from dask_runner.node.agent_sharing import AgentSharing
from dask_runner.node.handing_out import hand_out
from dask_runner.node.hosted_meeting import hosted_meeting
from dask_runner.node.join_contact import JoinContact
from dask_runner.node.kill_timer import die_in
from dask_runner.node.launcher_child import ThisProcess
from dask_runner.node.mpi_broadcast import mpi_meeting
from dask_runner.node.own_contact import OwnContact
from dask_runner.node.rank import Rank
from dask_runner.node.run_rank import run_rank
from dask_runner.resources.machine import take
from dask_runner.wire import threads

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dask_runner.launch.handed_out import Asked
    from dask_runner.launch.launch import Program
    from dask_runner.launch.plan import Plan
    from dask_runner.launch.settings import Settings
    from dask_runner.node.desk_meeting import DeskMeeting
    from dask_runner.node.follower import Beside
    from dask_runner.node.hosted_meeting import HostedMeeting


def run(
    program: Program | None,
    settings: Settings,
    environ: Mapping[str, str],
    args: Sequence[str],
    beside: Beside,
    joins: str = "",
) -> int:
    """Run this process as a rank of the cluster; return its exit status.

    Parameters
    ----------
    program : Program or None
        What the client runs; None for a cluster without a script.
    settings : Settings
    environ : mapping
    args : sequence of str
        The arguments of ``dask-runner``, for local ranks and for messages.
    beside : Beside
        The connections to the other ranks of the node.
    joins : str
        The name of the running cluster to join; empty for one of their own.
    """

    def plan(size: int, *, on_one_node: bool = False) -> Plan:
        if joins:
            return join_plan(size)
        own = make_plan(size, settings.layout, serves=program is None)
        check_spare(own, size, settings.spare, on_one_node=on_one_node)
        return own

    hosts = [] if HOST_RANK_VARIABLE in environ else hosts_of(settings)
    if hosts:
        elsewhere = plan(sum(host.slots for host in hosts))
        beside.need_no_agent()
        die_in(0)  # a launcher is the user's to stop and to continue
        return threads.run(
            run_hosts(hosts, settings, args, environ, program, elsewhere.client, joins)
        )
    world, wanted = _placed(settings, environ, args, joins=bool(joins))
    if wanted is not None:
        plan(wanted.size)  # what cannot be is refused before anybody waits
        if world is None:
            _leave(beside)

        async def play() -> int:
            found = await hand_out(wanted, settings, environ, world)
            own = plan(found.world.size, on_one_node=found.world.is_one_node)
            launch = Launch(found.world, own, settings, environ, program)
            return await _live(launch, args, beside, found.meeting)

        return threads.run(play())
    if world is None and (settings.nranks or 1) > 1:
        beside.need_no_agent()
        client = plan(settings.nranks).client
        return _start_here(client, program, settings, args, environ, joins)
    if world is None:
        _look_for_lost_launcher(settings, environ)
        world = World.alone()
        beside.leader = None  # a rank that is alone has none
    _tell_of_ranks(world, settings)
    own = plan(world.size, on_one_node=world.is_one_node)
    launch = Launch(world, own, settings, environ, program, joins=joins)
    hosted = hosted_meeting(environ) if world.meeting == "hosts" else None
    return threads.run(_live(launch, args, beside, hosted))


def _start_here(
    client: int | None,
    program: Program | None,
    settings: Settings,
    args: Sequence[str],
    environ: Mapping[str, str],
    joins: str,
) -> int:
    """Start ranks on this machine, as their launcher; return the status."""
    opened = {}
    if program is not None and client is not None:
        opened[client] = program.descriptors
    die_in(0)  # a launcher is the user's to stop and to continue
    ranks = local.run_ranks(
        settings.nranks, settings, args, environ, opened, joins=bool(joins)
    )
    return threads.run(ranks)


def _placed(
    settings: Settings,
    environ: Mapping[str, str],
    args: Sequence[str],
    *,
    joins: bool,
) -> tuple[World | None, Asked | None]:
    """Return this process's place, and what it knows if it has to ask a desk.

    A desk hands out ranks where no launcher counts them, and with ``--meet`` it hands
    out the record in any case.
    """
    wanted = None if joins else asked(environ, settings)
    if wanted is None:
        world = detect(environ, settings.launcher, args)
    else:
        world = counted(environ, settings, wanted)
    if world is None:
        return None, wanted
    meets = settings.meet and not joins and world.size > 1
    return world, of_world(world) if meets else None


def _leave(beside: Beside) -> None:
    """Forget the other ranks of an outer launch, of which this one is the only one."""
    for sock in (beside.listening, beside.leader):
        if sock is not None:
            sock.close()
    beside.name, beside.listening, beside.leader = "", None, None


def _look_for_lost_launcher(settings: Settings, environ: Mapping[str, str]) -> None:
    """Refuse to be alone where a launcher is seen, or say what Podman may hide."""
    if settings.launcher != "auto" or settings.nranks is not None:
        return  # the user says that it is alone
    around = surroundings.look(environ)
    lost_launcher.refuse(environ, around)
    if not settings.quiet and (note := lost_launcher.note(environ, around)):
        say(note)


def _tell_of_ranks(world: World, settings: Settings) -> None:
    """Tell the user who gives a number of ranks where a launcher has started others."""
    asked = dict(settings)["nranks"]
    # A variable or a file may have the number for other places.
    if asked.source.startswith("--") and asked.value != world.size and not world.rank:
        ranks = "1 rank" if world.size == 1 else f"{world.size} ranks"
        title = next(row.title for row in LAUNCHERS if row.name == world.launcher)
        say(
            f"warning: -n {asked.value} has no effect, because {title} has started "
            f"{ranks}: give that number to the launcher, or a number of workers for "
            "each rank with --nworkers"
        )


async def _live(
    launch: Launch,
    args: Sequence[str],
    beside: Beside,
    meeting: DeskMeeting | HostedMeeting | None = None,
) -> int:
    contact = _contact(launch, meeting)
    to_leader = None
    if beside.leader is not None:
        to_leader = socket.socket(fileno=beside.leader.detach())
        beside.leader = None
    snapshot = take(launch.environ, launch.settings.local_directory)
    node_socket.claim_late(beside, launch.world)
    rank = Rank(
        launch,
        snapshot,
        contact,
        asyncio.Queue(),
        ThisProcess(to_leader),
        AgentSharing.of(launch, beside),
    )
    beside.need_no_agent()  # not this one, where the rank has none or another's
    if meeting is not None:
        meeting.listen(rank.hear)
    return await run_rank(rank, launch, args, beside, collective=contact.collective)


def _contact(launch: Launch, found: DeskMeeting | HostedMeeting | None) -> OwnContact:
    node = socket.gethostname()
    if found is not None and not launch.joins:
        return OwnContact(launch, found, node)
    if not launch.joins:
        meeting = choose(launch.world, launch.environ, launch.settings, mpi_meeting)
        return OwnContact(launch, meeting, node)
    versions = platform.python_version(), version("distributed")
    by_name = NameMeeting(launch.joins, launch.environ, *versions)
    return JoinContact(launch, by_name, node)
