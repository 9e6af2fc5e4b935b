"""Start a container in which Slurm, or another system, and Apptainer run."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any, cast

from docker.errors import APIError

from containers.base_image import archive
from dask_runner.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import docker

#: The first container fills the new home from the image; the engine fails if a second
#: one fills it at the same time.
_filling = Lock()


def start_container(
    client: docker.DockerClient,
    image: str,
    *,
    cluster: str,
    node: str,
    daemon: str,
    files: Mapping[str, str],
    shared_home: bool,
    binds: Mapping[Path, str],
    labels: dict[str, str],
) -> None:
    """Start one node of a cluster.

    Parameters
    ----------
    client : docker.DockerClient
        The engine.
    image : str
        The nodes' image.
    cluster, node : str
        The name of the cluster and of its network, and the host name.
    daemon : str
        What its first process is told, such as ``slurmctld``.
    files : mapping of str to str
        The texts of files in it, by their paths below the root.
    shared_home : bool
        Whether all nodes of the cluster have one home directory.
    binds : mapping of path to str
        Folders of this machine, and their paths in the container, read-only.
    labels : dict of str to str
        The labels by which the container is found again.

    Raises
    ------
    ConfigError
        The engine refuses what Apptainer and Slurm need.
    """
    api = client.api
    folders: dict[str, Mapping[str, str]] = {
        str(path.resolve()): {"bind": target, "mode": "ro"}
        for path, target in binds.items()
    }
    if shared_home:
        folders[f"{cluster}-home"] = {"bind": "/home", "mode": "rw"}
    host = api.create_host_config(
        binds=folders,
        cap_add=["ALL"],
        # Some machines cannot give it, and nothing here needs it.
        cap_drop=["SYS_RESOURCE"],
        security_opt=["seccomp=unconfined", "apparmor=unconfined"],
        devices=["/dev/fuse"],
        shm_size="4g",
        init=True,
        network_mode=cluster,
    )
    # systempaths=unconfined on the command line: a user namespace may mount a /proc of
    # its own only if no part of the outer one is masked.
    host["MaskedPaths"] = []
    host["ReadonlyPaths"] = []
    network: Any = api.create_networking_config(
        cast("Any", {cluster: api.create_endpoint_config(aliases=[node])})
    )
    with _filling:
        created = api.create_container(
            image,
            command=[daemon],
            name=f"{cluster}-{node}",
            hostname=node,
            labels=labels,
            host_config=host,
            networking_config=network,
        )
    if files:
        packed = archive({path: text.encode() for path, text in files.items()})
        api.put_archive(created["Id"], "/", packed)
    try:
        api.start(created["Id"])
    except APIError as error:
        raise ConfigError(
            f"{cluster}-{node} does not start: {error.explanation}",
            "an engine with /dev/fuse that grants capabilities (ci/README.md)",
            "modprobe fuse, if the device is missing",
        ) from None
