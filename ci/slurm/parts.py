"""Create, find and remove the parts of a cluster in containers, by a label."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

#: On every part: the name of the cluster.
LABEL = "dask-runner.cluster"
#: On a container: the name of the node.
NODE = LABEL + ".node"


def create(
    client: docker.DockerClient, name: str, *, home: bool = True
) -> dict[str, str]:
    """Create the network, and a shared *home*; return the labels for all parts."""
    labels = {LABEL: name}
    client.networks.create(name, driver="bridge", labels=labels)
    if home:
        client.volumes.create(f"{name}-home", labels=labels)
    return labels


def containers(client: docker.DockerClient, name: str) -> list[Container]:
    """Return the nodes, in the order of their names."""
    nodes = [f"{LABEL}={name}", NODE]
    found = client.containers.list(all=True, filters={"label": nodes})
    return sorted(found, key=lambda container: str(container.name))


def remove(client: docker.DockerClient, name: str) -> None:
    """Remove all parts of a cluster, and what else is in its network with its label."""
    its = {"label": f"{LABEL}={name}"}
    for container in client.containers.list(all=True, filters={"label": its["label"]}):
        container.remove(force=True, v=True)
    for network in client.networks.list(filters=its):
        network.remove()
    for volume in client.volumes.list(filters=its):
        volume.remove()
