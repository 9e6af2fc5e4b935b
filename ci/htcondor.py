"""HTCondor in containers: a pool with a dedicated scheduler, and when it is ready."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ci.ready import Seen
from containers.commands import execute

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from docker.models.containers import Container

#: The configuration of every node. Only the pool is on its network, so hosts are
#: trusted; a user has the same number and home on all nodes.
_ALL = """\
CONDOR_HOST = login
use security:host_based
ALLOW_WRITE = *
ALLOW_DAEMON = *
ALLOW_READ = *
ALLOW_ADMINISTRATOR = root@*, condor@*
UID_DOMAIN = pool
FILESYSTEM_DOMAIN = pool
TRUST_UID_DOMAIN = true
SOFT_UID_DOMAIN = true
DEFAULT_DOMAIN_NAME = pool
# Nothing here listens on IPv6, and names are those of the engine.
ENABLE_IPV6 = false
# A lost node is noticed in half a minute, and jobs start within seconds.
POLLING_INTERVAL = 2
UPDATE_INTERVAL = 5
SCHEDD_INTERVAL = 2
NEGOTIATOR_INTERVAL = 2
NEGOTIATOR_MIN_INTERVAL = 1
NEGOTIATOR_CYCLE_DELAY = 1
ALIVE_INTERVAL = 10
MAX_CLAIM_ALIVES_MISSED = 3
UNUSED_CLAIM_TIMEOUT = 5
"""

_MANAGER = """\
DAEMON_LIST = MASTER, COLLECTOR, NEGOTIATOR, SCHEDD
"""

#: Parallel jobs of one scheduler alone, as the manual has it ("Dedicated Scheduling").
_EXECUTE = """\
DAEMON_LIST = MASTER, STARTD
NUM_CPUS = {cpus}
MEMORY = {memory}
# Two slots, of which a job can ask for the larger one, and so for one on each node.
SLOT_TYPE_1 = cpus={larger}, mem=60%, disk=60%, swap=60%
NUM_SLOTS_TYPE_1 = 1
SLOT_TYPE_2 = cpus={smaller}, mem=40%, disk=40%, swap=40%
NUM_SLOTS_TYPE_2 = 1
DedicatedScheduler = "DedicatedScheduler@login.pool"
STARTD_ATTRS = $(STARTD_ATTRS), DedicatedScheduler
START = true
SUSPEND = false
CONTINUE = true
PREEMPT = false
KILL = false
WANT_SUSPEND = false
WANT_VACATE = false
RANK = Scheduler =?= $(DedicatedScheduler)
# Of these containers' control groups none can be made.
BASE_CGROUP =
"""


def files(nodes: Sequence[str], cpus: int, memory: int) -> Mapping[str, str]:
    """Return the configuration: for all, and for the two kinds of nodes."""
    del nodes
    smaller = cpus * 2 // 5
    execute_ = _EXECUTE.format(
        cpus=cpus, memory=memory, larger=cpus - smaller, smaller=smaller
    )
    return {
        "etc/condor/config.d/pool": _ALL,
        "etc/condor/manager": _MANAGER,
        "etc/condor/execute": execute_,
    }


def look(login: Container, nodes: AbstractSet[str]) -> Seen:
    """Ask the manager whether the nodes are in the pool, and whether jobs are taken."""
    line = ["timeout", "10", "condor_status", "-af", "Machine"]
    _, said = execute(login, line)
    ready = nodes <= {one.split(".")[0] for one in said.split()} and _queues(login)
    return Seen(ready, f"condor_status says: {said}")


def _queues(login: Container) -> bool:
    code, _ = execute(login, ["timeout", "10", "condor_q", "-totals"])
    return not code
