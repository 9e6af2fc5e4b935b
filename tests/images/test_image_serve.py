"""``docker run dask-runner:openmpi serve``: a cluster in a container that stays.

Its user is on the machine, or in other containers with the same home directory. Such
containers are nodes as well: each has a name, an address and processes of its own.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from dask_runner.meeting import cluster_directory
from tests.running import DASK_RUNNER
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.images.conftest import Contained, Ended

SECONDS = 60

#: As the documents have it: on a network that others are on as well.
SERVE = ("serve", "-n", "2", "--name", "lab", "--interface", "eth0")
USE = (
    "from dask.distributed import Client; print(Client().submit(sum, [1, 2]).result())"
)


@dataclass(frozen=True)
class Machine:
    """A machine with containers that share its user's home directory."""

    contained: Contained
    home: Path
    network: str

    def options(self, **how: Any) -> dict[str, Any]:
        """Return what the documents give to ``docker run``."""
        home = str(self.home)
        return {
            "user": f"{os.getuid()}:{os.getgid()}",
            "environment": {"HOME": home},
            "volumes": {home: {"bind": home, "mode": "rw"}},
            "network": self.network,
        } | how

    def start(self, *args: str, **how: Any) -> Any:
        """Start a container, and return it when its cluster is ready."""
        container = self.contained.start(*args, **self.options(**how))
        until(
            lambda: b"ready after" in container.logs(),
            SECONDS,
            lambda: container.logs().decode(),
        )
        return container

    def pair(self, *args: str, code: str, second: tuple[str, ...] = ()) -> list[Any]:
        """Start two containers that are a cluster of two, the second with options more.

        The first is rank 0: it has waited for the second.
        """
        line = ("--size", "2", "--name", "pair", *args)
        first = self.contained.start(*line, "-c", code, **self.options())
        until(lambda: self.files, SECONDS, lambda: first.logs().decode())
        return [
            first,
            self.contained.start(*line, *second, "-c", code, **self.options()),
        ]

    def run(self, *args: str, **how: Any) -> Ended:
        """Run a container to its end."""
        return self.contained.run(*args, **self.options(**how))

    def call(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Run the command on the machine itself."""
        return subprocess.run(
            [str(DASK_RUNNER), *args],
            env={"PATH": os.environ["PATH"], "HOME": str(self.home)},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    @property
    def workers(self) -> int:
        """The workers of the one cluster, as the machine itself sees it."""
        (found,) = json.loads(self.call("list", "--json").stdout)["clusters"]
        return int(found["workers"])

    @property
    def files(self) -> list[str]:
        """What the clusters have left in the home directory."""
        return sorted(str(one.relative_to(self.home)) for one in self.home.rglob("*"))

    def age(self) -> None:
        """Let a time pass in which a cluster that lives would have shown it."""
        path = cluster_directory.path_of("lab", {"HOME": str(self.home)})
        os.utime(path, (1, 1))


@pytest.fixture
def machine(engine: Any, contained: Contained, tmp_path: Path) -> Iterator[Machine]:
    """A machine whose containers are on a network of their own."""
    home = tmp_path / "home"
    home.mkdir(0o700)
    network = engine.networks.create(f"dask-runner-tests-{secrets.token_hex(4)}")
    yield Machine(contained, home, network.name)
    contained.discard()
    network.remove()


def said(*containers: Any) -> str:
    return "".join(one.logs().decode() for one in containers)


def ended(container: Any) -> int:
    status: int = container.wait(timeout=SECONDS)["StatusCode"]
    return status


@pytest.mark.system("Docker", "serve")
def test_it_is_found_from_another_container_and_from_the_machine(
    machine: Machine,
) -> None:
    serving = machine.start(*SERVE)

    listed = machine.run("list")
    assert listed.stdout.splitlines()[1].split()[0] == "lab", listed
    used = machine.run("connect", "lab", "-c", USE)
    assert (used.status, used.stdout, used.foreign) == (0, "3\n", []), used
    (found,) = json.loads(machine.call("list", "--json").stdout)["clusters"]
    assert (found["name"], found["workers"], found["serves"]) == ("lab", 2, True)
    used_here = machine.call("connect", "lab", "-c", USE)
    assert (used_here.returncode, used_here.stdout) == (0, "3\n"), used_here

    stopped = machine.run("stop", "lab")
    assert (stopped.status, stopped.foreign) == (0, []), stopped
    assert ended(serving) == 0, serving.logs().decode()
    assert machine.files == []


def test_it_is_found_over_the_machines_own_network(machine: Machine) -> None:
    serving = machine.start(*SERVE[:-2], network=None, network_mode="host")
    used = machine.run("connect", "-c", USE, network=None, network_mode="host")
    assert (used.status, used.stdout) == (0, "3\n"), used
    stopped = machine.call("stop", "lab")
    assert stopped.returncode == 0, stopped
    assert ended(serving) == 0, serving.logs().decode()
    assert machine.files == []


def test_docker_stop_ends_it_and_its_name_is_gone(machine: Machine) -> None:
    serving = machine.start(*SERVE)
    serving.stop(timeout=30)
    assert ended(serving) == 143, serving.logs().decode()
    assert machine.files == []


@pytest.mark.system("Docker", "a killed container")
def test_after_docker_kill_the_next_one_has_its_name(machine: Machine) -> None:
    """The next one has its address as well, at which nothing listens any more."""
    serving = machine.start(*SERVE)
    serving.kill()
    assert ended(serving) == 137
    assert machine.files == [".dask-runner", ".dask-runner/cluster-lab.json"]

    following = machine.run(*SERVE, "--no-client-timeout", "1")

    assert following.status == 0, following
    assert "the cluster's name is lab" in following.stderr
    assert machine.files == []


def test_one_that_only_its_container_reaches_keeps_its_name_and_says_where_it_is(
    machine: Machine,
) -> None:
    """Each container has a loopback of its own, where nothing of the others listens."""
    serving = machine.start(*SERVE[:-2])
    where = serving.attrs["Config"]["Hostname"]

    for verb in (("stop", "lab"), ("connect", "lab", "-c", USE)):
        refused = machine.run(*verb)
        assert refused.status == 69, refused
        assert f"that is the loopback of {where} alone" in refused.stderr
        assert "docker exec" in refused.stderr
        assert "--interface" in refused.stderr
    second = machine.run(*SERVE, "--no-client-timeout", "1")
    assert "a cluster named 'lab' was on" in second.stderr, second
    assert second.status == 78

    listed = serving.exec_run(["dask-runner", "list", "--json"])
    (found,) = json.loads(listed.output)["clusters"]
    assert found["answers"]
    assert serving.exec_run(["dask-runner", "stop", "lab"]).exit_code == 0
    assert ended(serving) == 0, serving.logs().decode()
    assert machine.files == []


def test_one_that_was_killed_where_only_its_container_reached_it_is_dropped_in_time(
    machine: Machine,
) -> None:
    serving = machine.start(*SERVE[:-2])
    serving.kill()
    assert ended(serving) == 137
    machine.age()
    assert json.loads(machine.call("list", "--json").stdout)["clusters"] == []
    assert machine.files == []


def test_without_a_home_directory_it_says_what_to_give_to_docker(
    machine: Machine,
) -> None:
    nobody = {"user": "12345:12345", "environment": {}, "volumes": {}}
    ended = machine.run(*SERVE, **nobody)
    assert ended.status == 78, ended
    assert "the cluster cannot be found by name" in ended.stderr
    assert "docker run -e HOME=DIR -v DIR:DIR" in ended.stderr
    assert ended.foreign == []


#: Says which hosts have workers.
HOSTS = (
    "from dask.distributed import Client; import socket\n"
    "print(*sorted(Client().run(socket.gethostname).values()))"
)


@pytest.mark.heavy
@pytest.mark.system("Docker", "join")
def test_another_container_joins_it_and_ends_with_it(machine: Machine) -> None:
    serving = machine.start(*SERVE)
    joining = machine.contained.start("join", "lab", **machine.options())
    until(
        lambda: machine.workers == 3,
        SECONDS,
        lambda: said(serving, joining),
    )

    used = machine.run("connect", "lab", "-c", HOSTS)

    names = [one.attrs["Config"]["Hostname"] for one in (serving, serving, joining)]
    assert used.stdout.split() == sorted(names), used
    assert machine.run("stop", "lab").status == 0
    assert ended(joining) == 0, joining.logs().decode()
    assert ended(serving) == 0, serving.logs().decode()
    assert machine.files == []


#: Goes on when a worker is lost.
WAITS = """
import time
from dask.distributed import Client
client = Client()
def workers():
    return len(client.scheduler_info(n_workers=-1)["workers"])
assert workers() == 2
print("begun", flush=True)
while workers() == 2:
    time.sleep(0.1)
print("fewer", flush=True)
"""


@pytest.mark.heavy
@pytest.mark.system("Docker", "a lost node")
def test_a_script_goes_on_without_a_container_that_is_cut_off_and_killed(
    machine: Machine, engine: Any
) -> None:
    first, second = machine.pair("--silence", "3", code=WAITS)
    until(
        lambda: b"begun" in first.logs(),
        SECONDS,
        lambda: said(first, second),
    )

    # No packet tells of its end.
    engine.networks.get(machine.network).disconnect(second, force=True)
    second.kill()

    status, told = ended(first), first.logs().decode()
    assert status == 0, told
    assert "fewer" in told
    assert f"lost rank 1 on {second.attrs['Config']['Hostname']}" in told
    assert machine.files == []


@pytest.mark.system("Docker", "a failed rank")
def test_a_container_that_fails_ends_the_cluster_with_its_error(
    machine: Machine,
) -> None:
    first, second = machine.pair(
        code="print('it began')", second=("--local-directory", "/nowhere")
    )

    status, told = ended(first), first.logs().decode()

    # The status of the job is rank 0's.
    assert (status, ended(second)) == (78, 0), told
    assert f"rank 1 on {second.attrs['Config']['Hostname']}: " in told
    assert "/nowhere" in told
    assert "it began" not in told
    assert machine.files == []
