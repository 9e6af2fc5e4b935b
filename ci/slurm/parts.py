"""What a cluster in containers is made of, found again in the engine by a label."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

#: Has the name of the cluster, on all that belongs to it.
LABEL = "dask-runner.cluster"
#: Has the name of the node, on its container.
NODE = LABEL + ".node"


def create(client: docker.DockerClient, name: str) -> dict[str, str]:
    """Create what the nodes share; return the labels of all that is the cluster's."""
    labels = {LABEL: name}
    client.networks.create(name, driver="bridge", labels=labels)
    client.volumes.create(f"{name}-home", labels=labels)
    return labels


def containers(client: docker.DockerClient, name: str) -> list[Container]:
    """Return the nodes, in the order of their names."""
    found = client.containers.list(all=True, filters={"label": f"{LABEL}={name}"})
    return sorted(found, key=lambda container: str(container.name))


def remove(client: docker.DockerClient, name: str) -> None:
    """Remove all that there is of it."""
    for container in containers(client, name):
        container.remove(force=True, v=True)
    its = {"label": f"{LABEL}={name}"}
    for network in client.networks.list(filters=its):
        network.remove()
    for volume in client.volumes.list(filters=its):
        volume.remove()
