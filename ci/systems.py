"""The systems that a cluster in containers can have: one row each.

``ci/cluster up --system NAME`` brings one up. A cluster has a login node and nodes
``c1``, ``c2`` …; all run the first process of the row's image (``containers/node``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ci import gridengine, htcondor, oar
from ci.ready import Seen
from ci.slurm import ready as slurm
from ci.slurm.conf import CGROUP_CONF, slurm_conf, slurm_conf_with_cgroups
from containers.commands import execute
from containers.node_image import (
    ensure_gridengine_image,
    ensure_htcondor_image,
    ensure_oar_image,
    ensure_slurm_image,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    import docker
    from docker.models.containers import Container
    from docker.models.images import Image

    from ci.ready import Look

    Files = Callable[[Sequence[str], int, int], Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class System:
    """One row of the table.

    Attributes
    ----------
    name : str
    title : str
        What it is, for ``ci/cluster up --help``.
    image : callable
        Returns the image of its nodes; builds it if it is not there.
    login, node : str
        What the first process of a container is told: on the login node, and on the
        others.
    files : callable
        Returns files of each container, by their paths: from the nodes' names, and the
        CPUs and the memory in MiB of each.
    look : callable
        Says whether nodes take work.
    shared_home : bool
        Whether the nodes have one home directory.
    """

    name: str
    title: str
    image: Callable[[docker.DockerClient], Image]
    login: str
    node: str
    files: Files
    look: Look
    shared_home: bool = True


def _of_slurm(nodes: Sequence[str], cpus: int, memory: int) -> Mapping[str, str]:
    return {"etc/slurm/slurm.conf": slurm_conf(nodes, cpus, memory)}


def _of_slurm_with_cgroups(
    nodes: Sequence[str], cpus: int, memory: int
) -> Mapping[str, str]:
    return {
        "etc/slurm/slurm.conf": slurm_conf_with_cgroups(nodes, cpus, memory),
        "etc/slurm/cgroup.conf": CGROUP_CONF,
    }


def _nothing(nodes: Sequence[str], cpus: int, memory: int) -> Mapping[str, str]:
    del nodes, cpus, memory
    return {}


def _ssh_answers(login: Container, nodes: AbstractSet[str]) -> Seen:
    """Have the user log in from the login node to all nodes."""
    for name in (*sorted(nodes), "login"):
        line = ["timeout", "10", "ssh", "-o", "BatchMode=yes", name, "true"]
        code, said = execute(login, ["runuser", "-u", "user", "--", *line])
        if code:
            return Seen(ready=False, said=f"ssh says: {said}")
    return Seen(ready=True, said="")


SYSTEMS: tuple[System, ...] = (
    System(
        name="slurm",
        title="Slurm, with a shared home",
        image=ensure_slurm_image,
        login="slurmctld",
        node="slurmd",
        files=_of_slurm,
        look=slurm.look,
    ),
    System(
        name="slurm-cgroups",
        title="the same, and Slurm limits memory and CPUs (no more than there are)",
        image=ensure_slurm_image,
        login="slurmctld",
        node="slurmd",
        files=_of_slurm_with_cgroups,
        look=slurm.look,
    ),
    System(
        name="sge",
        title="Grid Engine, with a shared home",
        image=ensure_gridengine_image,
        login="qmaster",
        node="execd",
        files=gridengine.files,
        look=gridengine.look,
    ),
    System(
        name="htcondor",
        title="HTCondor with a dedicated scheduler, with a shared home",
        image=ensure_htcondor_image,
        login="manager",
        node="execute",
        files=htcondor.files,
        look=htcondor.look,
    ),
    System(
        name="oar",
        title="OAR with its database, with a shared home",
        image=ensure_oar_image,
        login="server",
        node="node",
        files=oar.files,
        look=oar.look,
    ),
    System(
        name="hosts",
        title="hosts with sshd and a shared home, for systems that are replayed",
        image=ensure_slurm_image,
        login="sshd",
        node="sshd",
        files=_nothing,
        look=_ssh_answers,
    ),
    System(
        name="ssh",
        title="hosts with sshd, each with a home of its own, and no batch system",
        image=ensure_slurm_image,
        login="sshd",
        node="sshd",
        files=_nothing,
        look=_ssh_answers,
        shared_home=False,
    ),
)
BY_NAME: Mapping[str, System] = {row.name: row for row in SYSTEMS}
