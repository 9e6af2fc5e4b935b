"""Hosts with sshd in containers, and the machine of a user who has ssh to them."""

from __future__ import annotations

import shlex
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from containers.commands import execute
from tests.running import DASK_RUNNER, Run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ci.slurm.cluster import Cluster

SIF = "/images/dask-runner.sif"
#: As a site's module has it.
INSTALLED = "/usr/local/bin/dask-runner"
WRAPPER = f'#!/bin/sh\nexec apptainer -s run {SIF} "$@"\n'
#: What a user's processes are called by ps, but for those of ssh and this look.
LEFT = (
    "ps -u user -o pid=,args= | grep -v -e sshd -e 'ps -u' -e systemd -e 'grep' || true"
)


class Hosts:
    """The hosts, as one who types ``dask-runner --hosts`` on another machine sees them.

    Parameters
    ----------
    cluster : Cluster
        Of the system ``ssh``.
    directory : Path
        Where the user's ssh has its key and configuration.
    """

    def __init__(self, cluster: Cluster, directory: Path) -> None:
        self.cluster = cluster
        self.names = cluster.members()
        self._directory = directory
        key = directory / "key"
        key.write_text(
            self.root("login", "cat /home/user/.ssh/id_ed25519").strip() + "\n"
        )
        key.chmod(0o600)
        self.configure()
        for name in self.names:
            self.root(name, f"printf %s {shlex.quote(WRAPPER)} > {INSTALLED}")
            self.root(name, f"chmod 755 {INSTALLED}")

    def root(self, name: str, line: str) -> str:
        """Run a line of shell on a host as root; return what it prints."""
        code, out = execute(self.cluster.node(name).container, ["sh", "-c", line])
        assert code == 0, out
        return out

    def address(self, name: str) -> str:
        """Return a host's address in the network of the containers."""
        networks = self.cluster.node(name).container.attrs["NetworkSettings"]
        found: str = networks["Networks"][self.cluster.name]["IPAddress"]
        return found

    def configure(self, more: str = "", hosts: Mapping[str, str] | None = None) -> None:
        """Write the user's ssh configuration, and the ssh that reads it."""
        known = {name: self.address(name) for name in self.names} | dict(hosts or {})
        lines = [more]
        for name, address in known.items():
            lines.append(f"Host {name}\n  HostName {address}\n")
        lines.append(
            f"Host *\n  User user\n  IdentityFile {self._directory}/key\n"
            "  IdentitiesOnly yes\n  StrictHostKeyChecking accept-new\n"
            f"  UserKnownHostsFile {self._directory}/known\n  LogLevel ERROR\n"
        )
        (self._directory / "config").write_text("\n".join(lines))
        ssh = self._directory / "ssh"
        ssh.write_text(
            f'#!/bin/sh\nexec /usr/bin/ssh -F {self._directory}/config "$@"\n'
        )
        ssh.chmod(0o755)

    def start(self, *args: Any, **how: Any) -> Run:
        """Type a command on the user's machine."""
        path = f"{self._directory}:/usr/local/bin:/usr/bin:/bin"
        env = {"PATH": path, **how.pop("env", {})}
        return Run((str(DASK_RUNNER), *map(str, args)), env=env, **how)

    def left(self) -> list[str]:
        """Return what still runs on the hosts, and the files that are left there."""
        found = []
        for name in self.names:
            if self.cluster.node(name).container.status != "running":
                continue
            out = self.root(name, LEFT)
            out += self.root(
                name,
                "find /tmp /var/tmp /home/user/.dask-runner "
                "-mindepth 1 -user user 2>/dev/null || true",
            )
            found += [f"{name}: {line}" for line in out.splitlines()]
        return found


@contextmanager
def reached(cluster: Cluster) -> Iterator[Hosts]:
    """Have ssh to the hosts of a cluster."""
    with tempfile.TemporaryDirectory(prefix="ssh-") as name:
        yield Hosts(cluster, Path(name))
