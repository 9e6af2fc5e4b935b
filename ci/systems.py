"""The systems that a cluster in containers can have: one row each.

``ci/cluster up --system NAME`` brings one up. A cluster has a login node and nodes
``c1``, ``c2`` …; all run the first process of the row's image (``containers/node``).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ci import gridengine, htcondor, oar
from ci.slurm.conf import CGROUP_CONF, slurm_conf, slurm_conf_with_cgroups
from ci.slurm.ready import UP_SECONDS, ended, trouble_until_ready
from containers.commands import execute
from containers.node_image import (
    ensure_gridengine_image,
    ensure_htcondor_image,
    ensure_oar_image,
    ensure_slurm_image,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    import docker
    from docker.models.containers import Container
    from docker.models.images import Image

    Files = Callable[[Sequence[str], int, int], Mapping[str, str]]
    Trouble = Callable[
        [Container, AbstractSet[str], Callable[[], Iterable[Container]]], str
    ]


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
    trouble : callable
        Waits until nodes take work; returns "", or what is wrong if they do not.
    shared_home : bool
        Whether the nodes have one home directory.
    """

    name: str
    title: str
    image: Callable[[docker.DockerClient], Image]
    login: str
    node: str
    files: Files
    trouble: Trouble
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


def _until_ssh_answers(
    login: Container,
    nodes: AbstractSet[str],
    members: Callable[[], Iterable[Container]],
) -> str:
    """Wait until the user can log in from the login node to all others."""
    deadline, seen = time.monotonic() + UP_SECONDS, ""
    waiting = [*sorted(nodes), "login"]
    while waiting and time.monotonic() < deadline:
        line = ["timeout", "10", "ssh", "-o", "BatchMode=yes", waiting[0], "true"]
        code, seen = execute(login, ["runuser", "-u", "user", "--", *line])
        if not code:
            del waiting[0]
            continue
        if gone := ended(members(), {*waiting}):
            return gone
        time.sleep(0.05)
    return f"after {UP_SECONDS} s ssh says: {seen}" if waiting else ""


SYSTEMS: tuple[System, ...] = (
    System(
        name="slurm",
        title="Slurm, with a shared home",
        image=ensure_slurm_image,
        login="slurmctld",
        node="slurmd",
        files=_of_slurm,
        trouble=trouble_until_ready,
    ),
    System(
        name="slurm-cgroups",
        title="the same, and Slurm limits memory and CPUs (no more than there are)",
        image=ensure_slurm_image,
        login="slurmctld",
        node="slurmd",
        files=_of_slurm_with_cgroups,
        trouble=trouble_until_ready,
    ),
    System(
        name="sge",
        title="Grid Engine, with a shared home",
        image=ensure_gridengine_image,
        login="qmaster",
        node="execd",
        files=gridengine.files,
        trouble=gridengine.trouble,
    ),
    System(
        name="htcondor",
        title="HTCondor with a dedicated scheduler, with a shared home",
        image=ensure_htcondor_image,
        login="manager",
        node="execute",
        files=htcondor.files,
        trouble=htcondor.trouble,
    ),
    System(
        name="oar",
        title="OAR with its database, with a shared home",
        image=ensure_oar_image,
        login="server",
        node="node",
        files=oar.files,
        trouble=oar.trouble,
    ),
    System(
        name="hosts",
        title="hosts with sshd and a shared home, for systems that are replayed",
        image=ensure_slurm_image,
        login="sshd",
        node="sshd",
        files=_nothing,
        trouble=_until_ssh_answers,
    ),
    System(
        name="ssh",
        title="hosts with sshd, each with a home of its own, and no batch system",
        image=ensure_slurm_image,
        login="sshd",
        node="sshd",
        files=_nothing,
        trouble=_until_ssh_answers,
        shared_home=False,
    ),
)
BY_NAME: Mapping[str, System] = {row.name: row for row in SYSTEMS}
