"""Where the dashboard is, and how the user finds it."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.listening import here
from tests.pages import get, path_in, until_served, websocket
from tests.programs import UNTIL_TOLD, script
from tests.running import DASK_RUNNER, Run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.running import DaskRunner, Ended

#: Prints the links that the user's program sees, to its cluster and to any other, and
#: what shows one in a notebook.
SHOW = """
import json, os, time
from distributed import Client
from distributed.utils import format_dashboard_link
client = Client()
other = format_dashboard_link("c7", 4711)
shown = client._repr_html_() + client.scheduler_info()._repr_html_()
links = {"ours": client.dashboard_link, "other": other, "shown": shown}
print(json.dumps(links), flush=True)
"""

#: The scheduler, of each of two ranks a nanny and a worker, and the hub, whose process
#: is called as it was started: each has one port, and there is no HTTP server.
DASKS = ("dask-agent", "dask-scheduler", "dask-worker")
PORTS = sorted([*DASKS, "dask-agent", "dask-worker", "hub"])

#: Closes a cluster of its own when it is told.
IN_PYTHON = """
import os, time
from distributed import Client
from dask_runner import Runner
with Runner(nthreads=1, {options}) as runner, Client(runner) as client:
    print(runner.dashboard_link == client.dashboard_link, client.dashboard_link)
{wait}
"""


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Run]:
    """A cluster of two ranks that goes on until there is a file."""
    code = script(tmp_path, SHOW + UNTIL_TOLD)
    with Run((str(DASK_RUNNER), "-n", "2", str(code))) as run:
        run.wait_for("begun")
        yield run
        Path(run.cwd, "go").touch()
        assert run.wait(makes=("go",)).status == 0


def ports(run: Run) -> list[str]:
    """Return which processes listen on ports, once for each port."""
    return sorted(
        name if name in DASKS else "hub"
        for name, kind, *_ in here(run.pids)
        if kind != "unix"
    )


def links(ended: Ended) -> dict[str, Any]:
    assert ended.status == 0, ended
    found = json.loads(ended.stdout.splitlines()[0])
    assert isinstance(found, dict)
    return found


def test_it_is_a_socket_that_only_its_user_can_open(held: Run) -> None:
    path = Path(path_in(held.stderr))

    assert path.is_socket()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert ports(held) == PORTS


def test_all_its_pages_are_there_for_a_tunnel(held: Run) -> None:
    path = path_in(held.stderr)
    page = until_served(path)

    assert websocket(path, page, "http://127.0.0.1:8787") == 101
    assert websocket(path, page, "http://localhost:9999") == 101
    for other in ("/health", "/metrics", "/json/counts.json"):
        assert get(path, other)[0] == 200
    _, workers = get(path, "/info/main/workers.html")
    # A worker has no page that a link could lead to.
    assert "tls://" in workers
    assert "/proxy/" not in workers


def test_the_link_says_how_one_comes_to_it_and_others_are_as_they_were(
    held: Run,
) -> None:
    found = json.loads(held.stdout.splitlines()[0])

    assert found["ours"].startswith(f"unix:{path_in(held.stderr)} ")
    assert "(for a browser, dask-runner dashboard local-" in found["ours"]
    assert found["ours"] in found["shown"]
    assert found["other"] == "http://c7:4711/status"


def test_a_job_tells_the_tunnel(tmp_path: Path, dask_runner: DaskRunner) -> None:
    slurm = {"SLURM_JOB_ID": "4711", "SLURM_STEP_ID": "0", "SLURM_PROCID": "0"}
    slurm |= {"SLURM_STEP_NUM_TASKS": "1", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}
    ended = dask_runner(script(tmp_path, SHOW), env=slurm)

    (line,) = (one for one in ended.stderr.splitlines() if "dashboard" in one)
    address, _, tunnel = line.partition(" after: ")
    easier = "dask-runner: dashboard: dask-runner dashboard 4711"
    assert address == f"{easier}; or http://127.0.0.1:8787/status"
    assert shlex.split(tunnel)[:3] == ["ssh", "-N", "-L"]
    assert links(ended)["ours"] == f"http://127.0.0.1:8787/status#first: {tunnel}"


def test_a_path_that_is_too_long_for_a_socket_does_not_matter(
    tmp_path: Path, dask_runner: DaskRunner
) -> None:
    long = tmp_path / ("long" * 30)
    long.mkdir()
    code = script(tmp_path, "print('begun', flush=True)\n" + SHOW + UNTIL_TOLD)
    run = dask_runner.start("--local-directory", long, code)
    run.wait_for("begun\n")
    path = path_in(run.stderr)

    assert "bokeh" in until_served(path)
    assert len(path) <= 107
    Path(run.cwd, "go").touch()
    assert run.wait(makes=("go",)).status == 0
    assert not list(long.iterdir())


@pytest.mark.parametrize(
    ("address", "link", "readers"),
    [
        ("127.0.0.1:0", r"http://127\.0\.0\.1:(\d+)/status", r"every account on \S+"),
        (":0", r"http://\S+:(\d+)/status", r"anyone who reaches \S+:\d+"),
    ],
)
def test_a_port_is_opened_where_the_user_says_and_the_line_says_to_whom(
    dask_runner: DaskRunner, tmp_path: Path, address: str, link: str, readers: str
) -> None:
    code = script(tmp_path, SHOW)
    ended = dask_runner("--dashboard-address", address, code)

    said = re.search(f"dashboard {link} \\({readers} can read it", ended.stderr)
    ours = re.fullmatch(link, links(ended)["ours"])
    assert said, ended
    assert ours, ended
    assert said[1] == ours[1]


def test_a_template_of_the_users_for_a_proxy_is_heeded(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    ended = dask_runner(
        *("--dashboard-address", "127.0.0.1:0", script(tmp_path, SHOW)),
        env={"DASK_DISTRIBUTED__DASHBOARD__LINK": "/proxy/{port}/status"},
    )

    assert re.fullmatch(r"/proxy/\d+/status", links(ended)["ours"])


def test_without_one_nothing_is_served(dask_runner: DaskRunner, tmp_path: Path) -> None:
    code = script(tmp_path, SHOW + UNTIL_TOLD)
    args = ("--no-dashboard", "--dashboard-address", "127.0.0.1:0")
    run = dask_runner.start("-n", 2, *args, code)
    run.wait_for("begun")
    named = [at for _, _, at, _ in here(run.pids)]

    assert ports(run) == PORTS
    assert not [path for path in named if path.endswith("/dashboard")]
    Path(run.cwd, "go").touch()
    ended = run.wait(makes=("go",))
    assert links(ended)["ours"] == ""
    assert "dashboard" not in ended.stderr


@pytest.mark.parametrize("nanny", ["--nanny", "--no-nanny"])
@pytest.mark.parametrize(
    "kind", ["dask.distributed.Worker", "distributed.Nanny", "mine.Mine"]
)
def test_no_worker_has_a_port_for_pages(
    dask_runner: DaskRunner, tmp_path: Path, kind: str, nanny: str
) -> None:
    script(
        tmp_path, "import distributed\nclass Mine(distributed.Worker): 1\n", "mine.py"
    )
    code = script(tmp_path, "from distributed import Client; client = Client()\n")
    with code.open("a") as file:
        file.write("import os, time\n" + UNTIL_TOLD)
    run = dask_runner.start(nanny, "--worker-class", kind, code)
    run.wait_for("begun")
    found = [(name, kind) for name, kind, *_ in here(run.pids) if kind != "unix"]

    # Each nanny, each worker, the scheduler and the hub have one.
    alone = nanny == "--no-nanny" and kind != "distributed.Nanny"
    assert len(found) == (3 if alone else 4), found
    Path(run.cwd, "go").touch()
    assert run.wait(makes=("go",)).status == 0


def test_websockets_with_keys_are_at_the_hosts_address_alone(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    code = script(tmp_path, SHOW + UNTIL_TOLD)
    run = dask_runner.start("-n", 2, "--protocol", "wss", code)
    run.wait_for("begun")
    found = [at for _, kind, at, _ in here(run.pids) if kind != "unix"]

    assert found == ["127.0.0.1"] * len(PORTS)
    Path(run.cwd, "go").touch()
    assert run.wait(makes=("go",)).status == 0


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ("protocol='ws'", "'ws'"),
        ("scheduler_options={'protocol': 'tcp'}", "protocol in scheduler_options"),
        ("worker_options={'protocol': 'ucx'}", "protocol in worker_options"),
        ("worker_options={'security': {}}", "security in worker_options"),
    ],
)
def test_the_librarys_classes_refuse_what_has_no_keys(options: str, word: str) -> None:
    code = IN_PYTHON.format(options=options, wait="")
    with Run((sys.executable, "-c", code)) as run:
        ended = run.wait()

    assert ended.status == 78, ended
    first, _, do = ended.stderr.splitlines()
    assert word in first
    assert "--security none" in do


def test_dask_mpis_function_refuses_it_too() -> None:
    code = "from dask_runner import initialize\ninitialize(protocol='ws')\n"
    with Run((sys.executable, "-c", code)) as run:
        ended = run.wait()

    assert ended.status == 78, ended
    assert "'ws'" in ended.stderr


def test_workers_pages_are_on_ports_where_the_user_says_so() -> None:
    code = IN_PYTHON.format(
        options="worker_options={'dashboard_address': '127.0.0.1:0'}",
        wait="    print(client.scheduler_info()['workers'].popitem()[1]['services'])",
    )
    with Run((sys.executable, "-c", code)) as run:
        ended = run.wait()

    assert ended.status == 0, ended
    same, services = ended.stdout.splitlines()
    assert same.startswith("True unix:"), ended
    assert re.search(r"'dashboard': \d+", services)
    assert "anyone who reaches these ports of the workers can read them" in ended.stderr


def test_a_python_below_a_command_is_told_as_a_script_is(
    dask_runner: DaskRunner,
) -> None:
    code = "from distributed import Client\nprint(Client().dashboard_link)"
    ended = dask_runner("--", sys.executable, "-c", code)

    assert ended.status == 0, ended
    assert ended.stdout.startswith(f"unix:{path_in(ended.stderr)} "), ended


def test_a_program_for_dask_mpi_is_told_as_well() -> None:
    code = (
        "from dask_runner import execute\nfrom distributed import Client\n"
        "print(execute(lambda: Client().dashboard_link, client_rank=0, "
        "exclusive_workers=False))\n"
    )
    with Run((sys.executable, "-c", code)) as run:
        ended = run.wait()

    assert ended.status == 0, ended
    assert ended.stdout.startswith(f"unix:{path_in(ended.stderr)} "), ended
