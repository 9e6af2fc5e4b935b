"""What docs/admin/site-kit.md says of settings that some sites have."""

from collections.abc import Iterator

import pytest

from tests.cluster.jobs import SIF, Jobs, told

NODES = ("c1", "c2")

SCRIPT = """\
import socket

from distributed import Client

if __name__ == "__main__":
    print(sorted(set(Client().run(socket.gethostname).values())))
"""


@pytest.fixture
def hidden(jobs: Jobs) -> Iterator[None]:
    """Nodes on which nobody sees the processes of another account."""

    def mount(how: str) -> None:
        for node in NODES:
            line = f"mount -o remount,{how} /proc"
            done = jobs.cluster.run(line, node=node, user="root", timeout=60)
            assert done.returncode == 0, told(done)

    mount("hidepid=2")
    yield
    mount("hidepid=0")


@pytest.fixture
def without_fuse(jobs: Jobs) -> Iterator[None]:
    """Nodes whose users may not mount with FUSE."""

    def allow(mode: str) -> None:
        for node in NODES:
            jobs.cluster.run(f"chmod {mode} /dev/fuse", node=node, user="root")

    allow("600")
    yield
    allow("666")


@pytest.mark.heavy
@pytest.mark.usefixtures("hidden")
def test_a_script_runs_where_processes_of_others_are_hidden(jobs: Jobs) -> None:
    done = jobs.srun("-N2 --ntasks-per-node=2", jobs.write("s.py", SCRIPT)).wait()

    assert done.returncode == 0, told(done)
    assert done.stdout == "['c1', 'c2']\n"


@pytest.mark.heavy
def test_a_script_runs_with_fakeroot(jobs: Jobs) -> None:
    script = jobs.write("s.py", SCRIPT)
    line = ("srun", "-N2", "apptainer", "run", "--fakeroot", SIF, script)

    done = jobs.start(*line).wait()

    assert done.returncode == 0, told(done)
    assert done.stdout == "['c1', 'c2']\n"


@pytest.mark.heavy
@pytest.mark.usefixtures("without_fuse")
def test_a_script_runs_where_a_node_has_no_fuse(jobs: Jobs) -> None:
    script = jobs.write("s.py", SCRIPT)
    line = ("srun", "-N2", "apptainer", "run", "--unsquash", SIF, script)

    done = jobs.start(*line).wait(stray="INFO: +(Converting|Cleaning up).*")

    assert done.returncode == 0, told(done)
    assert done.stdout == "['c1', 'c2']\n"
