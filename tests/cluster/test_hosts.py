"""``dask-runner --hosts`` on real hosts, over a real ssh."""

from __future__ import annotations

import json
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.conftest import NAME
from tests.cluster.reached import INSTALLED, SIF, Hosts, reached
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.running import Run

TEMPFAIL, CONFIG, UNAVAILABLE, KILLED, TERMINATED = 75, 78, 69, 137, 143
ALL = "login,c1,c2"
#: What ssh and a host that is killed may say.
STRAY = r".*"
#: Seconds for what is left on a host to go.
GONE_SECONDS = 30

WHO = """
import json
from distributed import Client
client = Client()
client.wait_for_workers({size})
import socket
where = client.run(socket.gethostname)
print(json.dumps([socket.gethostname(), sorted(where.values())]), flush=True)
"""
STAY = (
    WHO
    + """
import time
print("begun", flush=True)
time.sleep(600)
"""
)


@pytest.fixture(scope="session")
def hosts(
    engine: Any,
    shown: None,
    worker: str,
    require: Callable[..., AbstractContextManager[None]],
) -> Iterator[Hosts]:
    """Three hosts with sshd; those that are up under the tests' name, else new ones."""
    del shown
    from ci.slurm.cluster import Cluster  # noqa: PLC0415  only where containers are
    from containers import node_image  # noqa: PLC0415  as above

    cluster = Cluster(f"{NAME}{worker}-ssh", system="ssh", client=engine)
    with require("a mirror of Debian with sshd and Apptainer", "cluster"):
        node_image.ensure_slurm_image(engine)
    was_up = bool(cluster.members()) and not worker
    cluster.up()
    with reached(cluster) as found:
        yield found
    if not was_up:
        cluster.down()


@pytest.fixture(autouse=True)
def nothing_stays(hosts: Hosts) -> Iterator[None]:
    """Neither processes nor files stay on the hosts."""
    yield
    until(lambda: not hosts.left(), GONE_SECONDS, hosts.left, every=0.5)


def script(path: Path, text: str) -> Path:
    file = path / "script.py"
    file.write_text(text)
    return file


@pytest.mark.system("ssh", "main job")
def test_one_line_is_a_cluster_of_all_hosts(hosts: Hosts, tmp_path: Path) -> None:
    file = script(tmp_path, WHO.format(size=3))
    with hosts.start("--hosts", ALL, file) as run:
        ended = run.wait()
    assert ended.status == 0, ended
    assert json.loads(ended.stdout) == ["login", ["c1", "c2", "login"]]
    assert "3 ranks" in ended.stderr


def test_hosts_may_have_several_ranks_and_come_from_a_file(
    hosts: Hosts, tmp_path: Path
) -> None:
    (tmp_path / "hosts").write_text("c1 slots=2\n# a comment\nc2:1\n")
    file = script(tmp_path, WHO.format(size=3))
    with hosts.start("--hostfile", tmp_path / "hosts", file) as run:
        ended = run.wait()
    assert ended.status == 0, ended
    assert json.loads(ended.stdout) == ["c1", ["c1", "c1", "c2"]]


def test_an_image_runs_the_ranks_where_nothing_is_installed(
    hosts: Hosts, tmp_path: Path
) -> None:
    for name in hosts.names:
        hosts.root(name, "mv /usr/local/bin/dask-runner /usr/local/bin/hidden")
    try:
        file = script(tmp_path, WHO.format(size=2))
        with hosts.start("--hosts", "c1,c2", "--image", SIF, file) as run:
            ended = run.wait()
    finally:
        for name in hosts.names:
            hosts.root(name, "mv /usr/local/bin/hidden /usr/local/bin/dask-runner")
    assert ended.status == 0, ended
    assert json.loads(ended.stdout) == ["c1", ["c1", "c2"]]


def test_input_arguments_and_the_status_are_the_scripts(
    hosts: Hosts, tmp_path: Path
) -> None:
    text = "import sys; print(sys.argv[1:], sys.stdin.read()); sys.exit(7)"
    file = script(tmp_path, text)
    with hosts.start("--hosts", "c1,c2", file, "a", "-b", stdin="words") as run:
        ended = run.wait()
    assert (ended.status, ended.stdout) == (7, "['a', '-b'] words\n")


def test_a_script_that_all_hosts_have_runs_where_it_is(hosts: Hosts) -> None:
    from pathlib import Path  # noqa: PLC0415  tests alone

    # All hosts show the checkout's examples.
    text = "import os; print(os.path.abspath(__file__))"
    place = "/home/user/job"
    for name in ("c1", "c2"):
        hosts.root(name, f"mkdir {place}; echo '{text}' > {place}/s.py")
    Path(place).mkdir(parents=True)
    try:
        Path(place, "s.py").write_text(f"{text}\n")
        with hosts.start("--hosts", "c1,c2", f"{place}/s.py") as run:
            ended = run.wait()
    finally:
        import shutil  # noqa: PLC0415

        shutil.rmtree(place)
        for name in ("c1", "c2"):
            hosts.root(name, f"rm -r {place}")
    assert ended.stdout == f"{place}/s.py\n", ended


def begun(hosts: Hosts, tmp_path: Path, where: str = ALL) -> Run:
    size = len(where.split(","))
    file = script(tmp_path, STAY.format(size=size))
    run = hosts.start("--hosts", where, file)
    run.wait_for("begun", 120)
    return run


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.system("ssh", "taken away")
def test_a_signal_ends_all(hosts: Hosts, tmp_path: Path, number: int) -> None:
    with begun(hosts, tmp_path) as run:
        run.signal(number)
        assert run.wait(stray=STRAY).status == 128 + number


def test_all_ends_with_the_launcher(hosts: Hosts, tmp_path: Path) -> None:
    with begun(hosts, tmp_path) as run:
        run.process.kill()
        run.process.wait()
        until(lambda: not hosts.left(), GONE_SECONDS, hosts.left, every=0.5)


def test_all_ends_with_the_ssh_of_rank_0(hosts: Hosts, tmp_path: Path) -> None:
    with begun(hosts, tmp_path) as run:
        (ssh,) = (
            pid
            for pid, words in run.pids.items()
            if "/usr/bin/ssh" in words and " login " in words
        )
        import os  # noqa: PLC0415

        os.kill(ssh, signal.SIGKILL)
        ended = run.wait(stray=STRAY)
    assert ended.status in (UNAVAILABLE, KILLED), ended
    assert "login" in ended.stderr


@pytest.mark.system("ssh", "a lost node")
def test_a_host_that_is_killed_costs_its_worker(hosts: Hosts, tmp_path: Path) -> None:
    text = (
        WHO.format(size=3)
        + """
import time
print("begun", flush=True)
while len(client.scheduler_info(n_workers=-1)["workers"]) > 2:
    time.sleep(0.1)
print("went on")
"""
    )
    file = script(tmp_path, text)
    with hosts.start("--hosts", ALL, "--silence", "10", file) as run:
        run.wait_for("begun", 120)
        hosts.cluster.node("c2").kill()
        try:
            ended = run.wait(stray=STRAY)
        finally:
            hosts.cluster.node("c2").restore()
            hosts.configure()
            # As a machine that has lost its power, it has kept its disk.
            hosts.root("c2", "rm -rf /tmp/dask-runner-* /var/tmp/dask-runner-*")
    assert ended.status == 0, ended
    assert "went on" in ended.stdout
    assert "lost" in ended.stderr


#: Seconds of silence after which a node is lost.
SILENCE = 10


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("victim", "status"), [("c2", 0), ("login", UNAVAILABLE)], ids=["c2", "rank 0"]
)
def test_a_network_that_is_cut_silently_costs_what_was_behind_it(
    hosts: Hosts, tmp_path: Path, victim: str, status: int
) -> None:
    text = (
        WHO.format(size=3)
        + """
import time
print("begun", flush=True)
while len(client.scheduler_info(n_workers=-1)["workers"]) > 2:
    time.sleep(0.1)
print("went on", flush=True)
if socket.gethostname() == "{victim}":
    time.sleep(600)
""".replace("{victim}", victim)
    )
    file = script(tmp_path, text)

    def running() -> list[str]:
        return [one for one in hosts.left() if f"{victim}: " in one]

    with hosts.start("--hosts", ALL, "--silence", SILENCE, file) as run:
        run.wait_for("begun", 120)
        hosts.cluster.node(victim).cut()
        try:
            began = time.monotonic()
            ended = run.wait(stray=STRAY)
            # The launcher's, and that of each rank, also behind the cut.
            assert time.monotonic() - began < SILENCE + 15
            until(lambda: not running(), SILENCE + 20, running, every=0.5)
        finally:
            hosts.cluster.node(victim).restore()
    assert ended.status == status, ended
    assert ("went on" in ended.stdout) is (status == 0)
    assert "lost" in ended.stderr


@pytest.mark.system("ssh", "serve")
def test_a_cluster_is_served_on_hosts(hosts: Hosts) -> None:
    with hosts.start("serve", "--hosts", ALL, "--name", "lab") as run:
        run.wait_for("ready after", 120)
        done = hosts.cluster.run("dask-runner stop lab", timeout=60)
        assert done.returncode == 0, done
        assert run.wait(stray=STRAY).status == 0


@pytest.mark.system("ssh", "join")
def test_a_served_cluster_is_found_where_it_was_typed_and_joined_by_hosts(
    hosts: Hosts,
) -> None:
    with hosts.start("serve", "--hosts", "login,c1", "--name", "lab") as serving:
        serving.wait_for("ready after", 120)
        home = {"HOME": str(serving.home)}
        until((serving.home / ".dask-runner/cluster-lab.json").exists)
        with hosts.start("join", "lab", "--hosts", "c2", env=home) as joining:
            joining.wait_for("joined the cluster lab", 120)
            code = (
                "from distributed import Client; c = Client();"
                "c.wait_for_workers(3); print('three')"
            )
            with hosts.start("connect", "lab", "-c", code, env=home) as connected:
                ended = connected.wait(stray=STRAY)
            assert (ended.status, ended.stdout) == (0, "three\n"), ended
            with hosts.start("stop", "lab", env=home) as stopping:
                assert stopping.wait(stray=STRAY).status == 0
            assert joining.wait(stray=STRAY).status == 0
        assert serving.wait(stray=STRAY).status == 0


# --- ranks that are handed out --------------------------------------------------------


def test_hosts_that_share_nothing_meet_at_an_address(hosts: Hosts) -> None:
    code = WHO.format(size=3)
    runs = [
        hosts.cluster.start(
            ["dask-runner", "--size", "3", "--meet", "tcp://c1:7700", "-c", code],
            node=name,
            env={"DASK_RUNNER__SECRET": "a secret of these three hosts"},
            timeout=120,
        )
        for name in ("login", "c2", "c1")
    ]
    done = [run.wait() for run in runs]
    assert [one.returncode for one in done] == [0, 0, 0], done
    # The one that can listen there is rank 0, though it came last.
    assert json.loads(done[2].stdout) == ["c1", ["c1", "c2", "login"]]


# --- bad input -----------------------------------------------------------------------


def refused(hosts: Hosts, *args: str) -> tuple[int, str, float]:
    with hosts.start(*args, "-c", "print('ran')") as run:
        ended = run.wait()
    assert ended.stdout == "", ended
    assert ended.stderr.count("error:") == 1, ended
    assert "needed:" in ended.stderr, ended
    assert "you can:" in ended.stderr, ended
    return ended.status, ended.stderr, ended.seconds


def test_a_host_without_a_name_is_named(hosts: Hosts) -> None:
    status, err, _ = refused(hosts, "--hosts", "c1,nowhere.invalid")
    assert status == CONFIG
    assert "nowhere.invalid: ssh: Could not resolve hostname" in err


def test_a_host_that_refuses_ssh_is_named(hosts: Hosts) -> None:
    hosts.configure(f"Host closed\n  HostName {hosts.address('c1')}\n  Port 1\n")
    status, err, _ = refused(hosts, "--hosts", "c2,closed")
    hosts.configure()
    assert status == UNAVAILABLE
    assert "closed: ssh: connect to host" in err
    assert "Connection refused" in err


def test_a_host_that_does_not_answer_costs_no_more_than_the_timeout(
    hosts: Hosts,
) -> None:
    hosts.cluster.node("c2").cut()
    try:
        status, err, seconds = refused(hosts, "--hosts", "c1,c2", "--timeout", "5")
    finally:
        hosts.cluster.node("c2").restore()
    assert status == TEMPFAIL
    assert "c2 did not answer within 5 s" in err
    assert seconds < 30


def test_a_refused_key_is_said(hosts: Hosts) -> None:
    hosts.configure(
        f"Host strange\n  HostName {hosts.address('c1')}\n  User other\n"
        "  IdentityFile none\n"
    )
    status, err, _ = refused(hosts, "--hosts", "c2,strange")
    hosts.configure()
    assert status == CONFIG
    assert "strange: " in err
    assert "Permission denied" in err


def test_an_unknown_host_key_is_said(hosts: Hosts) -> None:
    hosts.configure(
        f"Host unknown\n  HostName {hosts.address('c1')}\n"
        "  StrictHostKeyChecking yes\n  UserKnownHostsFile /dev/null\n"
    )
    status, err, _ = refused(hosts, "--hosts", "c2,unknown")
    hosts.configure()
    assert status == CONFIG
    assert "unknown: Host key verification failed." in err


def test_a_host_without_dask_runner_is_said(hosts: Hosts) -> None:
    hosts.root("c1", "mv /usr/local/bin/dask-runner /usr/local/bin/hidden")
    try:
        status, err, _ = refused(hosts, "--hosts", "c1,c2")
    finally:
        hosts.root("c1", "mv /usr/local/bin/hidden /usr/local/bin/dask-runner")
    assert status == CONFIG
    assert "c1 has no dask-runner: " in err
    assert "not found" in err


@pytest.mark.system("ssh", "a failed rank")
def test_a_rank_that_fails_ends_all_with_its_error(hosts: Hosts) -> None:
    wrong = "export DASK_RUNNER__NTHREADS=many"
    hosts.root("c2", f"sed -i '2i {wrong}' {INSTALLED}")
    try:
        status, err, seconds = refused(hosts, "--hosts", "c1,c2")
    finally:
        hosts.root("c2", f"sed -i 2d {INSTALLED}")
    assert status == CONFIG, err
    assert "DASK_RUNNER__NTHREADS = 'many'" in err
    assert seconds < 30


def test_a_host_without_the_image_is_said(hosts: Hosts) -> None:
    status, err, _ = refused(hosts, "--hosts", "c1", "--image", "/images/none.sif")
    assert status == CONFIG
    assert "c1: " in err
    assert "could not open image" in err


def test_a_start_up_file_that_prints_disturbs_nothing(
    hosts: Hosts, tmp_path: Path
) -> None:
    hosts.root("c1", "echo 'echo hello from bashrc' > /home/user/.bashrc.new")
    hosts.root(
        "c1",
        "cp /home/user/.bashrc /home/user/.bashrc.old;"
        "cat /home/user/.bashrc.new /home/user/.bashrc.old > /home/user/.bashrc",
    )
    try:
        file = script(tmp_path, "print('ran')")
        with hosts.start("--hosts", "c1,c2", file) as run:
            ended = run.wait()
    finally:
        hosts.root(
            "c1",
            "mv /home/user/.bashrc.old /home/user/.bashrc; rm /home/user/.bashrc.new",
        )
    assert (ended.status, ended.stdout) == (0, "ran\n"), ended
