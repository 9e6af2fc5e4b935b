"""A node of the cluster in containers, and the failures that it can be given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from docker.errors import NotFound

from containers.commands import execute
from dask_runner.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from docker.models.containers import Container

    from ci.slurm.cluster import Cluster

# The node's packets are dropped silently, as when a cable is cut; its loopback still
# works. Connections survive if the rules are removed soon enough.
_CHAINS = (("INPUT", "-i"), ("OUTPUT", "-o"))


class Node:
    """One container of a cluster, and the failures that it can be given.

    Parameters
    ----------
    cluster : Cluster
        The cluster that it belongs to.
    name : str
        Its host name: ``login``, ``c1``, ``c2`` ...
    """

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster = cluster
        self.name = name

    @property
    def container(self) -> Container:
        """The node's container."""
        try:
            return self.cluster.client.containers.get(
                f"{self.cluster.name}-{self.name}"
            )
        except NotFound:
            known = ", ".join(self.cluster.members()) or "none, it is not up"
            raise UsageError(
                f'cluster "{self.cluster.name}" has no node "{self.name}"',
                f"one of its nodes: {known}",
                f"ci/cluster up --name {self.cluster.name}",
            ) from None

    def kill(self) -> None:
        """Kill all its processes at once, as a loss of power does."""
        self.container.kill()

    def stop(self) -> None:
        """Shut it down: slurmd gets SIGTERM first."""
        self.container.stop(timeout=10)

    def freeze(self) -> None:
        """Suspend all its processes; connections stay open."""
        self.container.pause()

    def cut(self) -> None:
        """Cut its network: packets are dropped silently, both ways."""
        self._filter("-I")

    def restore(self) -> None:
        """Undo any of these, and wait until Slurm uses the node again."""
        self.mend()
        self.cluster.wait_ready(self.name)

    def mend(self) -> None:
        """Undo any of these."""
        container = self.container
        if container.status == "paused":
            container.unpause()
        elif container.status != "running":
            container.start()
        self._filter("-D")

    def _filter(self, action: str) -> None:
        container = self.container
        for chain, interface in _CHAINS:
            rule = [chain, "!", interface, "lo", "-j", "DROP"]
            absent, _ = execute(container, ["iptables", "-w", "-C", *rule])
            if bool(absent) == (action == "-D"):
                continue
            code, output = execute(container, ["iptables", "-w", action, *rule])
            if code:
                raise ConfigError(
                    f"iptables on {self.name}: {output}",
                    "an engine whose containers may filter packets",
                )
