"""A node of the cluster in containers, and what can happen to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from docker.errors import NotFound

from containers.commands import execute
from dask_runner.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from docker.models.containers import Container

    from ci.slurm.cluster import Cluster

# A node's packets vanish without a word, as when a cable is cut; its own loopback
# goes on. The established connections survive if it is mended soon enough.
_CHAINS = (("INPUT", "-i"), ("OUTPUT", "-o"))


class Node:
    """One container of a cluster, and what can happen to it.

    Parameters
    ----------
    cluster : Cluster
        The cluster it belongs to.
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
                "ci/cluster up",
            ) from None

    def kill(self) -> None:
        """Let it lose power: every process on it is gone at once."""
        self.container.kill()

    def stop(self) -> None:
        """Shut it down in order: slurmd gets SIGTERM first."""
        self.container.stop(timeout=10)

    def freeze(self) -> None:
        """Stop all its processes where they are; connections stay open."""
        self.container.pause()

    def cut(self) -> None:
        """Cut its network: packets vanish both ways, nothing is told."""
        self._filter("-I")

    def restore(self) -> None:
        """Undo what was done to it, and wait until Slurm uses it again."""
        self.mend()
        self.cluster.wait_ready(self.name)

    def mend(self) -> None:
        """Undo what was done to it."""
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
