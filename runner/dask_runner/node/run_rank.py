"""Run a rank in this process, and lead its node if it is the first one there."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from dask_runner.node import follower
from dask_runner.node.leader import Leader
from dask_runner.node.orphans import end_orphans

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dask_runner.launch.launch import Launch
    from dask_runner.node.follower import Beside
    from dask_runner.node.rank import Rank


async def run_rank(
    rank: Rank,
    launch: Launch,
    args: Sequence[str],
    beside: Beside,
    *,
    collective: bool,
) -> int:
    """Run a rank; if it leads its node, for the other ranks as well.

    Parameters
    ----------
    rank : Rank
    launch : Launch
    args : sequence of str
        The arguments of ``dask-runner``.
    beside : Beside
        Has the node's socket, if the rank leads.
    collective : bool
        Whether each rank has to come to the meeting itself.

    Returns
    -------
    int
        The rank's exit status.
    """
    leader = None
    if beside.listening is not None:
        leader = Leader(rank, launch, args, collective=collective)
        leader.open(socket.socket(fileno=beside.listening.detach()))
    status = None
    try:
        status = await rank.run()
    finally:
        if leader is not None:
            await leader.close(status)
            end_orphans()  # of the ranks for which it has played
        if status is not None:
            await rank.requeue()
        # The loop closes a socket into which handlers of signals still write then.
        follower.hold_signals()
    return status
