"""Programs that attach to a running cluster: what they get, and when it is lost.

It is one file because nearly all tests use one cluster, which takes seconds to start.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import venv
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import ROOT
from tests.local.attaching import BEGIN, KNOWN, SECONDS, attach, failed, serving, told
from tests.running import DASK_RUNNER, DaskRunner, Run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

pytestmark = pytest.mark.xdist_group("attach")

#: Waits for a task that does not end, and prints what it gets instead.
WAIT = f"""{BEGIN}
cluster = Cluster.from_name("lab")
client = Client(cluster)
future = client.submit(time.sleep, 600)
until(lambda: client.processing())
print("waiting", flush=True)
try:
    future.result()
except BaseException as error:
    print(type(error).__name__, flush=True)
until(lambda: client.status == "closed")
print(cluster.status.name, flush=True)
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Run]:
    """A cluster of four ranks that is there for all tests which leave it as it was."""
    with serving(4, timeout=600) as run:
        yield run


# --- what it is -----------------------------------------------------------------


def test_a_program_attaches_works_and_leaves(lab: Run) -> None:
    code = """
with Cluster.from_name("lab") as cluster, Client(cluster) as client:
    assert client.security.require_encryption
    assert cluster.get_client() is client
    print(cluster.name, cluster.scheduler_address.partition("://")[0])
    print(client.submit(sum, [1, 2]).result(), len(cluster.scheduler_info["workers"]))
    print(cluster)
print(cluster.status.name)
"""
    lines = told(lab, code).splitlines()
    assert lines[:2] == ["lab tls", "3 4"]
    assert re.fullmatch(
        r"Cluster\(lab, 'tls://[\d.:]+', workers=4, threads=4, memory=.*\)", lines[2]
    )
    assert lines[3] == "closed"
    assert told(lab, "print(Cluster.list(), Cluster.from_name())").startswith("['lab']")


def test_no_key_is_written_into_a_file(lab: Run, tmp_path: Path) -> None:
    code = """
def refuse(event, args):
    # A number is a file that is open already.
    if event == "open" and isinstance(args[0], (str, bytes)) and args[2] & 3:
        opened.append(args[0])
opened = []
sys.addaudithook(refuse)
with Cluster.from_name("lab") as cluster, Client(cluster) as client:
    client.submit(abs, -1).result()
print([one for one in opened if one != "/dev/null"])
"""
    assert told(lab, code, TMPDIR=str(tmp_path)).strip() == "[]"
    assert not list(tmp_path.iterdir())


def test_it_is_asynchronous_where_that_is_asked_for(lab: Run) -> None:
    code = """
async def main():
    async with (
        Cluster.from_name("lab", asynchronous=True) as cluster,
        Client(cluster, asynchronous=True) as client,
    ):
        print(await client.submit(sum, [1, 2]))
        print(len(await cluster.get_logs()))
        cluster.scale(4)
        await cluster.scale(4)
    other = await Cluster("lab", asynchronous=True)
    await other.close()
    print(cluster.status.name, other.status.name)
asyncio.run(main())
"""
    assert told(lab, code).split() == ["3", "6", "closed", "closed"]


def test_logs_and_pages_are_there_and_no_link_refuses(lab: Run) -> None:
    code = """
cluster = Cluster.from_name("lab")
logs = cluster.get_logs()
assert "State start" in logs["Scheduler"], logs
assert sum("Registered to" in text for text in logs.values()) == 4
html = cluster._repr_html_()
assert "None" not in html.replace("none", ""), html
print(cluster.dashboard_link)
print(html.count("<code>dask-runner dashboard lab</code>"))
cluster.close()
"""
    assert told(lab, code).split("\n")[:2] == ["dask-runner dashboard lab", "2"]


def test_the_link_is_the_proxys_where_one_is_configured(lab: Run) -> None:
    code = "c = Cluster(); print(c.dashboard_link); c.close()"
    link = "/user/me/proxy/dask-runner/status"
    found = told(lab, code, DASK_DISTRIBUTED__DASHBOARD__LINK=link)
    assert found.strip() == link


def test_attaching_costs_a_moment_beyond_the_import_of_dask(lab: Run) -> None:
    code = """
import distributed
began = time.perf_counter()
from dask_runner import Cluster
client = Client(Cluster.from_name("lab"))
client.submit(abs, -1).result()
print(time.perf_counter() - began)
client.close()
client.cluster.close()
"""
    # DESIGN has 0.3 s; a busy machine may not have it each time.
    assert min(float(told(lab, code)) for _ in range(5)) < 0.3 * 3


def test_importing_the_package_imports_no_dask() -> None:
    code = "import sys, dask_runner; print({'dask', 'distributed'} & {*sys.modules})"
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert ended.stdout == "set()\n"


def test_another_version_is_told_in_a_line(lab: Run) -> None:
    code = """
from importlib import metadata
metadata.version = lambda package: "1.28.1"
Cluster.from_name("lab").close()
"""
    with attach(lab, f"{BEGIN}{code}") as program:
        err = program.communicate(timeout=SECONDS)[1]
    assert program.returncode == 0
    (line,) = err.splitlines()
    assert line.startswith("dask-runner: warning: the cluster 'lab' has Python 3.")


# --- several at once --------------------------------------------------------------


def test_clients_come_and_go_and_one_that_is_killed_costs_nothing(lab: Run) -> None:
    code = f"""{BEGIN}
client = Client(Cluster.from_name("lab"))
print("here", flush=True)
sys.stdin.readline()
print(sum(client.gather(client.map(lambda i: i + 1, range(100), pure=False))))
"""
    with ExitStack() as stack:
        programs = [stack.enter_context(attach(lab, code)) for _ in range(4)]
        for program in programs:
            assert program.stdout is not None
            assert program.stdout.readline() == "here\n"
        programs[0].kill()
        for program in programs[1:]:
            assert program.communicate("\n", timeout=SECONDS)[0] == "5050\n"
        programs[0].communicate()
    assert told(lab, "print(Client(Cluster()).submit(abs, -1).result())") == "1\n"


# --- its own ------------------------------------------------------------------------

OWN = """
import os
from dask.distributed import Client
from dask_runner import Cluster
with Cluster() as cluster, Client(cluster) as client:
    print(cluster.name, client.submit(abs, -1).result())
"""


@pytest.mark.parametrize("below", [(), ("--", sys.executable)])
def test_a_program_of_a_cluster_finds_its_own(
    lab: Run, dask_runner: DaskRunner, below: tuple[str, ...]
) -> None:
    ended = dask_runner(
        *("-n", 2, "--name", "mine", *below, "-c", OWN), env={"HOME": str(lab.home)}
    )
    assert ended.stdout == "mine 1\n", ended


def test_a_program_without_a_home_is_told_that_there_is_none(
    dask_runner: DaskRunner,
) -> None:
    ended = dask_runner("-n", 1, "-c", OWN, env={"HOME": "/proc"}, stray=".*")
    assert ended.status == 1
    assert ended.stderr.count("Traceback") == 1


# --- what cannot be -------------------------------------------------------------------


def test_errors_read_well_where_a_notebook_shows_them(lab: Run) -> None:
    err = failed(lab, 'Cluster.from_name("nobody")')
    assert err.count("Traceback") == 1
    assert err.endswith(
        f"UnavailableError: no cluster named 'nobody' in {lab.home}/.dask-runner on "
        f"{os.uname().nodename}\n"
        "  needed: one of lab\n"
        "  you can: see them with dask-runner list; start one with dask-runner serve "
        "--name NAME\n"
    )


def test_two_clusters_and_no_name_is_a_question(lab: Run) -> None:
    command = (str(DASK_RUNNER), "serve", "-n", "1", "--name", "lab2")
    with Run(command, env={"HOME": str(lab.home)}) as run:
        run.wait_for("ready after")
        assert "ConfigError: 2 clusters, and no name: lab, lab2" in failed(
            lab, "Cluster()"
        )
        assert told(lab, "Cluster('lab2').shutdown(); print(Cluster.list())") == (
            "['lab']\n"
        )
        assert run.wait().status == 0


def test_a_hub_that_stands_still_is_told_with_its_last_sign_of_life(lab: Run) -> None:
    (hub,) = hubs(lab)
    os.kill(hub, signal.SIGSTOP)
    try:
        err = failed(lab, 'Cluster.from_name("lab")')
    finally:
        os.kill(hub, signal.SIGCONT)
    assert err.count("Traceback") == 1
    assert "the cluster 'lab' does not answer at 127.0.0.1:" in err
    assert "last sign of life" in err


# --- its end --------------------------------------------------------------------------


def hubs(run: Run) -> list[int]:
    """Return the process that has the hub."""
    found = []
    for pid, words in run.tops.items():
        environ = Path(f"/proc/{pid}/environ").read_text().split("\0")
        if "-m dask_runner serve" in words and "DASKRUNNER_RANK=0" in environ:
            found.append(pid)
    return found


def kill(run: Run, what: str) -> None:
    pids = hubs(run) if what == "hub" else run.named(what)
    os.kill(pids[0], signal.SIGKILL)


def stop(run: Run, what: str) -> None:
    del what
    told(run, "Cluster().shutdown()")


@pytest.mark.parametrize(
    ("end", "what", "status", "line"),
    [
        (stop, "", 0, "the cluster 'lab' has ended"),
        (kill, "dask-scheduler", 69, "the cluster 'lab' has ended with status 69"),
        (kill, "hub", 137, "the cluster 'lab' is lost: "),
    ],
)
def test_an_attached_program_knows_the_end_at_once(
    end: Any, what: str, status: int, line: str
) -> None:
    with serving() as run, attach(run, WAIT) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "waiting\n"
        end(run, what)
        began = time.monotonic()
        out, err = program.communicate(timeout=SECONDS)
        assert time.monotonic() - began < KNOWN
        assert out == "FutureCancelledError\nclosed\n"
        assert err.startswith(f"dask-runner: {line}"), err
        assert len(err.splitlines()) == 1, err
        assert run.wait(stray=".*").status == status


def test_a_worker_that_is_killed_costs_an_attached_program_nothing() -> None:
    code = """
client = Client(Cluster.from_name("lab"))
data = client.map(lambda i: time.sleep(0.1) or i, range(40), pure=False)
print("begun", flush=True)
sys.stdin.readline()
print(sum(client.gather(data)))
"""
    with serving() as run, attach(run, BEGIN + code) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "begun\n"
        kill(run, "dask-worker")
        assert program.communicate("\n", timeout=SECONDS) == ("780\n", "")


def test_closing_ends_the_cluster_only_where_that_is_asked_for() -> None:
    with serving() as run:
        told(run, "Client(Cluster()).shutdown(); print(Cluster.list())")
        assert told(run, "print(Cluster.list())") == "['lab']\n"
        # Without a close: at the end of the program.
        told(run, "cluster = Cluster(shutdown_on_close=True)")
        assert run.wait().status == 0


def test_an_attached_program_of_an_event_loop_knows_the_end() -> None:
    code = f"""{BEGIN}
async def main():
    cluster = await Cluster.from_name("lab", asynchronous=True)
    print("here", flush=True)
    while cluster.status.name != "closed":
        await asyncio.sleep(0.01)
asyncio.run(main())
"""
    with serving() as run, attach(run, code) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "here\n"
        kill(run, "dask-scheduler")
        assert program.communicate(timeout=SECONDS)[1] == (
            "dask-runner: the cluster 'lab' has ended with status 69\n"
        )


# --- other tools ---------------------------------------------------------------------

#: Finds clusters as dask-ctl does, by what the package has installed.
DISCOVER = """
from importlib.metadata import entry_points
(method,) = entry_points(group="dask_cluster_discovery", name="dask-runner")

async def found():
    return [one async for one in method.load()()]
"""


def test_other_tools_find_clusters_by_the_entry_point() -> None:
    code = f"""{DISCOVER}
((name, kind),) = asyncio.run(found())
cluster = kind.from_name(name)
print(name, isinstance(cluster, Cluster), len(cluster.scheduler_info["workers"]))
exec(cluster.get_snippet())
print(client.submit(abs, -1).result())
client.close()
kind.from_name(name).close()
"""
    with serving() as run:
        with attach(run, BEGIN + code) as program:
            out, err = program.communicate(timeout=SECONDS)
        assert out == "lab True 2\n1\n", err
        assert run.wait().status == 0


#: dask-ctl imports what newer versions of Dask do not have any more.
WITH_DASK_CTL = (
    "dask-ctl==2024.1.0",
    "dask==2025.1.0",
    "distributed==2025.1.0",
    "setuptools<81",
)


@pytest.mark.heavy
def test_dask_ctl_lists_scales_and_ends_a_cluster(
    tmp_path: Path, require: Callable[..., AbstractContextManager[None]]
) -> None:
    own = tmp_path / "bin"
    with require("a package index", "local"):
        venv.create(tmp_path, with_pip=True)
        line = [own / "python", "-m", "pip", "install", "-q", *WITH_DASK_CTL, ROOT]
        subprocess.run(line, check=True, capture_output=True, timeout=600)

    def dask(*args: str) -> str:
        return subprocess.run(
            [own / "dask", "cluster", *args],
            env={"PATH": os.environ["PATH"], "HOME": str(run.home), "COLUMNS": "200"},
            check=True,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        ).stdout

    command = (str(own / "dask-runner"), "serve", "-n", "3", "--name", "lab")
    with Run(command) as run:
        run.wait_for("ready after")
        (row,) = (line for line in dask("list").splitlines() if "lab" in line)
        assert row.split()[3:6] == ["dask-runner", "3", "3"]
        assert "Scaled cluster lab to 2 workers" in dask("scale", "lab", "2")
        assert 'from_name("lab")' in dask("snippet", "lab").replace("'", '"')
        dask("delete", "lab")
        assert run.wait(stray=".*").status == 0
