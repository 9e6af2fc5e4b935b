"""Bring up a cluster in containers: a login node and compute nodes, of Slurm or others.

::

    with Cluster(name="mine", nodes=2, cpus=16) as cluster:
        done = cluster.run("srun -N2 hostname", timeout=60)
        cluster.node("c1").kill()

All state is in the containers and their labels, so any process can use a cluster that
is up: ``Cluster(name)``.
"""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from ci import ready
from ci.slurm import parts
from ci.slurm.container import start_container
from ci.slurm.node import Node
from ci.systems import BY_NAME
from containers.commands import Completed, Running
from containers.engine import ensure, locked, say, tail
from containers.entry import ROOT
from dask_runner.errors import AssemblyError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    import docker
    from docker.models.containers import Container

    from ci.systems import System

NAME = "dask-runner"
LOGIN = "login"
USER = "user"
HOME = "/home/user"
SHAPE = "dask-runner.shape"
SLURM = "slurm"


class Cluster:
    """A cluster in containers.

    Entering brings it up and leaving takes it down; an entry that fails removes what it
    had made.

    Parameters
    ----------
    name : str
        Part of the names of its containers, network and volume: several can be up.
    nodes : int
        Number of compute nodes, ``c1``, ``c2`` ...
    cpus : int
        CPUs that each node claims to have; more than the machine's are fine.
    system : str, optional
        What starts jobs on it: a row of :data:`ci.systems.SYSTEMS`. By default that of
        the cluster of this name that is up, else Slurm.
    images : path, optional
        Folder shown as ``/images``; by default ``CLUSTER_IMAGES`` of the
        environment, else ``build`` of the checkout.
    client : docker.DockerClient, optional
        The engine, if not the default one.
    """

    def __init__(
        self,
        name: str = NAME,
        *,
        nodes: int = 2,
        cpus: int = 16,
        system: str | None = None,
        images: Path | None = None,
        client: docker.DockerClient | None = None,
    ) -> None:
        self.name = name
        self.nodes = nodes
        self.cpus = cpus
        self._system = system
        self.images = images or Path(os.environ.get("CLUSTER_IMAGES") or ROOT / "build")
        self._client = client

    @property
    def client(self) -> docker.DockerClient:
        """The engine."""
        if self._client is None:
            self._client = ensure()
        return self._client

    @property
    def system(self) -> System:
        """The row of its system."""
        if self._system is None:
            shapes = [json.loads(one.labels[SHAPE]) for one in self._all()]
            self._system = next((one.get("system", SLURM) for one in shapes), SLURM)
        return BY_NAME[self._system]

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.down()

    def up(self) -> None:
        """Bring it up, if it is not up.

        Raises
        ------
        ConfigError
            One of that name is up with another system, or number of nodes or CPUs.
        AssemblyError
            It did not become ready; the message has the ends of the logs.
        """
        image = self.system.image(self.client)
        with locked(f"cluster-{self.name}"):
            if self._found():
                if {one.attrs["Image"] for one in self._all()} != {image.id}:
                    say(
                        f'cluster "{self.name}" is kept, but its image is not the '
                        f"checkout's: ci/cluster down --name {self.name}, then up"
                    )
                return
            try:
                self._create(image.tags[0])
                self.wait_ready()
            except BaseException:
                parts.remove(self.client, self.name)
                raise

    def down(self) -> None:
        """Remove its containers, its network and its home."""
        with locked(f"cluster-{self.name}"):
            parts.remove(self.client, self.name)

    def node(self, name: str) -> Node:
        """Return the node of that host name."""
        return Node(self, name)

    def members(self) -> list[str]:
        """Return the host names of its containers, the login node last."""
        return sorted(container.labels[parts.NODE] for container in self._all())

    def start(
        self,
        command: str | Sequence[str],
        *,
        node: str = LOGIN,
        user: str = USER,
        timeout: float | None = 60,
        env: Mapping[str, str] | None = None,
        cwd: str = HOME,
        **options: Any,
    ) -> Running:
        """Start a command on a node and return at once.

        Parameters
        ----------
        command : str or sequence of str
            A line for bash, or a program with its arguments.
        node, user : str
            The node and the account to run it on and as.
        timeout : float or None
            Seconds after which it is ended.
        env : mapping of str to str, optional
            Variables to add to those of a login.
        cwd : str
            Its working directory; the shared home by default.
        **options
            More of :class:`containers.commands.Running`.
        """
        return Running(
            self.node(node).container,
            command,
            user=user,
            timeout=timeout,
            env=env,
            cwd=cwd,
            **options,
        )

    def run(
        self,
        command: str | Sequence[str],
        *,
        timeout: float = 60,
        **options: Any,
    ) -> Completed:
        """Run a command to its end; parameters as for :meth:`start`.

        Raises
        ------
        CommandTimeoutError
            It was ended at its deadline.
        """
        return self.start(command, timeout=timeout, **options).wait()

    def write(self, path: str, text: str, *, mode: int = 0o644) -> None:
        """Write a file as the ordinary user, in the home if the path is relative."""
        script = 'cat > "$1" && chmod "$2" "$1"'
        writing = self.start(["sh", "-c", script, "", path, f"{mode:o}"], stdin=True)
        writing.write(text.encode())
        writing.close_stdin()
        done = writing.wait()
        if done.returncode:
            raise OSError(done.stderr)

    def logs(self, lines: int | Literal["all"] = "all") -> str:
        """Return what the daemons logged, node by node."""
        return "\n".join(
            f"== {container.labels[parts.NODE]} ({container.status})\n"
            f"{container.logs(tail=lines).decode(errors='replace')}"
            for container in self._all()
        )

    def wait_ready(self, *names: str) -> None:
        """Wait until the nodes take work.

        Parameters
        ----------
        *names : str
            Nodes to wait for; all by default.

        Raises
        ------
        AssemblyError
            The deadline passed before they did, or a container ended.
        """
        wanted = set(names or self._names()) - {LOGIN}
        login = self.node(LOGIN).container
        if trouble := ready.trouble(self.system.look, login, wanted, self._all):
            raise AssemblyError(
                f'cluster "{self.name}": {trouble}; the logs end with\n'
                f"{tail(self.logs(20), 80)}",
                f"{self.nodes} nodes that take work within {ready.UP_SECONDS} s",
                "see ci/README.md, how to debug the cluster",
            )

    def _names(self) -> list[str]:
        return [f"c{number}" for number in range(1, self.nodes + 1)]

    def _shape(self) -> str:
        shape = {"nodes": self.nodes, "cpus": self.cpus, "images": str(self.images)}
        if self.system.name != SLURM:
            shape["system"] = self.system.name
        return json.dumps(shape)

    def _all(self) -> list[Container]:
        return parts.containers(self.client, self.name)

    def _found(self) -> bool:
        """Return whether it is up already; remove what is left of one that is not.

        An engine that was stopped while a cluster was up leaves its containers, ended.
        """
        containers = self._all()
        if all(one.status in ("exited", "dead", "created") for one in containers):
            parts.remove(self.client, self.name)
            return False
        shapes = {container.labels[SHAPE] for container in containers}
        if shapes != {self._shape()}:
            raise ConfigError(
                f'cluster "{self.name}" is up as {", ".join(sorted(shapes))}',
                f"one as {self._shape()}",
                f"ci/cluster down --name {self.name}, or choose another --name",
            )
        for name in (LOGIN, *self._names()):
            self.node(name).mend()
        self.wait_ready()
        return True

    def _create(self, image: str) -> None:
        self.images.mkdir(parents=True, exist_ok=True)
        shared_home = self.system.shared_home
        labels = parts.create(self.client, self.name, home=shared_home)
        memory = self.client.info()["MemTotal"] // 2**20 // self.nodes
        files = self.system.files(self._names(), self.cpus, memory)

        def start(node: str, daemon: str) -> None:
            start_container(
                self.client,
                image,
                cluster=self.name,
                node=node,
                daemon=daemon,
                files=files,
                shared_home=shared_home,
                binds={self.images: "/images", ROOT / "examples": "/examples"},
                labels=labels | {parts.NODE: node, SHAPE: self._shape()},
            )

        # slurmctld looks up the addresses of its nodes when it starts: they go first.
        with ThreadPoolExecutor() as pool:
            daemon = self.system.node
            starts = [pool.submit(start, name, daemon) for name in self._names()]
            for started in starts:
                started.result()
        start(LOGIN, self.system.login)
