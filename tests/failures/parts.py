"""Which process plays which part: how it is found from outside."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Process:
    """A process of a job.

    Attributes
    ----------
    node : str
        Where it is; empty for this machine.
    pid, parent, rank : int
        Its number there, its parent's, and its rank's; -1 for the launcher's own.
    name, words : str
        Its name and command line, as ``ps -o comm,args`` shows them.
    state : str
        As in proc(5); "Z" is one that has ended.
    hears : bool
        Whether SIGTERM is not simply its end.
    """

    node: str
    pid: int
    parent: int
    rank: int
    name: str
    words: str
    state: str
    hears: bool = False


#: A part's process by its name, a space, and its command line. A program that is
#: started has its module there; one that is forked says its name.
PARTS = {
    "scheduler": r"^dask-scheduler ",
    # Its forks keep its command line.
    "agent": r"^dask-agent |^python\S* .* programs\.agent ",
    "client": r"^dask-client |-m dask_runner\.programs\.(client|attached)",
    "top": r"^(?!dask-(agent|carrier|scheduler|client|forkserver|tracker|worker) ).*"
    r"python\S* (-\S+ )*(-m dask_runner |\S*/dask-runner )"
    r"|-m dask_runner\.programs\.start library\.top ",
    "script": r"python\S* \S*script\.py",
    "worker": r"^dask-worker ",
    "carrier": r"^dask-carrier ",
    "forkserver": r"^dask-forkserver ",
    "tracker": r"^dask-tracker |multiprocessing\.resource_tracker",
    "follower": r"^dask-follower ",
    "container": r"^(starter|apptainer) |Apptainer runtime parent",
}


def plays(process: Process, part: str) -> bool:
    """Say whether this process has a part."""
    if process.state in "ZX":
        return False
    return bool(re.search(PARTS[part], f"{process.name} {process.words}"))


def ranked(processes: Sequence[Process]) -> list[Process]:
    """Give each process the rank of the one that has started it, and was told."""
    by_pid = {(one.node, one.pid): one for one in processes}

    def rank(one: Process | None) -> int:
        while one is not None and one.rank < 0:
            one = by_pid.get((one.node, one.parent))
        return -1 if one is None else one.rank

    return [replace(one, rank=rank(one)) for one in processes]


def numbered(processes: Sequence[Process]) -> list[Process]:
    """Give numbers to ranks that were told none: the leader of the node is rank 0.

    They are children of the shell that has started them, and one has the agent below.
    """
    by_pid = {one.pid: one for one in processes}
    tops = [
        one
        for one in processes
        if plays(one, "top")
        and not ((above := by_pid.get(one.parent)) and plays(above, "top"))
    ]

    def leads(top: Process) -> bool:
        for one in processes:
            below: Process | None = one if plays(one, "agent") else None
            while below is not None and below.pid != top.pid:
                below = by_pid.get(below.parent)
            if below is not None:
                return True
        return False

    ordered = sorted(tops, key=lambda top: (not leads(top), top.pid))
    ranks = {top.pid: rank for rank, top in enumerate(ordered)}
    return [replace(one, rank=ranks.get(one.pid, one.rank)) for one in processes]
