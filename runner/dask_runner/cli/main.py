"""The entry point of ``dask-runner``: it becomes a follower or runs the command line.

The command line is only imported if no other rank of the node plays for this one
(:mod:`dask_runner.node.follower`).
"""

from __future__ import annotations

import os
import sys

from dask_runner.node import follower

_STDERR = 2


def main() -> None:
    """Run ``dask-runner`` with the arguments of the process."""
    _open_standard_streams()
    beside = follower.Beside()
    args = sys.argv[1:]
    beside.name, leads = follower.meeting_place(os.environ, args)
    alone = os.environ.pop(follower.ALONE, "")
    watched = os.environ.pop(follower.WATCHED, "")
    seeded = _is_seeded()
    runs = bool(args) and args[0] not in follower.NO_RUN
    if runs:
        follower.hold_signals()
    if leads:
        _die_in_time(args, watched)
        beside.listening = follower.claim(beside.name)
    elif alone:
        beside.leader = follower.kept(alone)
    elif beside.name:
        found = follower.follow(beside.name, args)
        if isinstance(found, int):
            sys.exit(found)
        beside.leader = found
    if runs and not leads:
        _die_in_time(args, watched)
    _use_bytecode()
    if leads and seeded and _is_the_agent(beside):
        return
    _run_commands(args, beside)


def _run_commands(args: list[str], beside: follower.Beside) -> None:
    from dask_runner.node.importing import without_collecting  # noqa: PLC0415  as above

    with without_collecting():
        from dask_runner.cli import commands  # noqa: PLC0415  as above
    from dask_runner.node.quick_exit import quick_exit  # noqa: PLC0415  as above

    try:
        commands.main(args, beside)
    except SystemExit as end:
        beside.need_no_agent()
        if isinstance(end.code, int):
            quick_exit(end.code)
        raise


def _is_seeded() -> bool:
    """Return whether Python has the hash seed of an agent; it is not the user's."""
    if os.environ.pop(follower.SEEDED, ""):
        return bool(os.environ.pop(follower.HASH_SEED, ""))
    return bool(os.environ.get(follower.HASH_SEED))  # agents have the user's


def _is_the_agent(beside: follower.Beside) -> bool:
    """Fork the agent; in that process be it to its end, and return True."""
    # The agent's own forks end where this returns to, as every program of Python does.
    # So nothing of a rank may have begun.
    from dask_runner.node.importing import without_collecting  # noqa: PLC0415  as above

    with without_collecting():  # what a rank imports, and an agent as well
        from dask_runner.cli import commands, run  # noqa: F401, PLC0415  as above
    from dask_runner.node.early_agent import EarlyAgent, fork  # noqa: PLC0415  as above
    from dask_runner.programs import early_agent  # noqa: PLC0415  as above

    leader = os.getpid()
    forked = fork()
    if forked is None or isinstance(forked, EarlyAgent):
        beside.agent = forked
        return False
    if beside.listening is not None:
        beside.listening.close()
    early_agent.main(forked, leader)
    return True


def _use_bytecode() -> None:
    from dask_runner.node import bytecode  # noqa: PLC0415  not for followers

    bytecode.use()


def _die_in_time(args: list[str], watched: str) -> None:
    # If this process is stopped before its options are read, nobody knows of it who
    # would kill it. A follower has no time for this module; others find what it imports
    # in the file of bytecode.
    _use_bytecode()
    from dask_runner.node import kill_timer  # noqa: PLC0415  as above

    kill_timer.die_in(
        kill_timer.timeout_at_a_glance(args) + kill_timer.LAST_STEPS_SECONDS
    )
    kill_timer.end_watch(watched)


def _open_standard_streams() -> None:
    # If one of the three is closed, the next file or socket gets its number, and our
    # processes would write their errors into it.
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
