"""``dask-runner dashboard``: real clusters, and browsers that come to them."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tornado.httpclient import HTTPClientError

from tests.browser import Browser, Home
from tests.pages import get, listens
from tests.running import DASK_RUNNER, Run
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path)
    yield made
    made.close()


def test_its_owner_sees_the_pages_and_the_figures_move(home: Home) -> None:
    cluster = home.serve("lab")
    shown, browser = home.show("lab")
    browser.enters()
    page = browser.status()

    files = re.findall(r'"(static/[^"]+)"', page)
    assert files
    for name in files:
        assert browser.get(f"/{name}")[0] == 200
    assert browser.session(page) == "ACK"
    assert browser.get("/")[1]["Location"] == "status"
    assert browser.get("/info/main/workers.html")[0] == 200

    shown.signal(signal.SIGINT)
    ended = shown.wait()
    assert ended.status == 0, ended
    assert browser.token not in ended.stderr
    cluster.signal(signal.SIGTERM)
    assert cluster.wait().status == 143


def test_nobody_else_sees_anything(home: Home) -> None:
    home.serve("lab")
    shown, browser = home.show()
    other = Browser(shown.stdout)
    browser.enters()
    page = browser.status()

    for path in ("/", "/status", f"/status?token={browser.token}x", "/health"):
        assert other.get(path)[0] == 403
    assert browser.get("/status", Host="somebody.example:8787")[0] == 403
    for wrong in ({"Origin": "http://127.0.0.1:1"}, {"Cookie": ""}):
        with pytest.raises(HTTPClientError, match="403"):
            browser.session(page, **wrong)
    # No argument and no variable has the secrets.
    for pid in shown.pids:
        for name in ("cmdline", "environ"):
            assert browser.token not in Path(f"/proc/{pid}/{name}").read_text()


def test_two_clusters_have_links_of_their_own(home: Home) -> None:
    home.serve("a")
    home.serve("b")
    with_none = home.run("dashboard").wait()
    assert with_none.status == 78, with_none
    assert "2 clusters, and no name: a, b" in with_none.stderr

    _, one = home.show("a")
    _, other = home.show("b")
    one.enters()
    other.enters()
    one.status()
    assert one.port != other.port
    # A browser sends the cookies of all ports.
    assert other.get("/status", Cookie=one.headers["Cookie"])[0] == 403
    both = f"{one.headers['Cookie']}; {other.headers['Cookie']}"
    assert other.get("/health", Cookie=both)[0] == 200
    assert one.get("/health", Cookie=both)[0] == 200


def test_a_cluster_that_is_stopped_ends_it_with_0(home: Home) -> None:
    home.serve("lab")
    shown, browser = home.show()
    browser.enters()
    assert home.run("stop", "lab").wait().status == 0

    ended = shown.wait()
    assert ended.status == 0, ended
    assert "the cluster lab has ended" in ended.stderr


def test_one_that_stands_still_does_not_hold_up_the_end_of_its_cluster(
    home: Home,
) -> None:
    cluster = home.serve("lab")
    shown, browser = home.show()
    browser.enters()
    (name, *_) = re.findall(r'"(static/js/bokeh.min[^"]+)"', browser.status())
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            # Nobody reads it, so it waits in the hub.
            unread = http.client.HTTPConnection("127.0.0.1", browser.port)
            stack.callback(unread.close)
            unread.request("GET", f"/{name}", headers=browser.headers)
        shown.signal(signal.SIGSTOP)
        assert home.run("stop", "lab").wait().status == 0
        assert cluster.wait().status == 0
        shown.signal(signal.SIGCONT)
        ended = shown.wait()

    assert ended.status == 0, ended
    assert "the cluster lab has ended" in ended.stderr


@pytest.mark.parametrize("victim", ["scheduler", "all"])
def test_a_cluster_that_is_killed_ends_it_with_69(home: Home, victim: str) -> None:
    cluster = home.serve("lab")
    shown, browser = home.show()
    browser.enters()
    page = browser.status()
    assert browser.session(page) == "ACK"
    scheduler = cluster.named("dask-scheduler")
    for pid in scheduler if victim == "scheduler" else cluster.pids:
        os.kill(pid, signal.SIGKILL)

    ended = shown.wait()
    assert ended.status == 69, ended
    assert "lab" in ended.stderr
    assert " is lost: " in ended.stderr


def test_a_cluster_without_a_dashboard_is_refused(home: Home) -> None:
    home.serve("bare", "--no-dashboard")
    ended = home.run("dashboard").wait()

    assert ended.status == 78, ended
    assert ended.stdout == ""
    first, needed, do = ended.stderr.splitlines()
    assert "the cluster 'bare' has no dashboard" in first
    assert "needed: " in needed
    assert "you can: " in do


def test_a_cluster_that_is_not_ready_is_waited_for(home: Home) -> None:
    # Of two ranks, one has come.
    step = {"SLURM_JOB_ID": "4711", "SLURM_STEP_ID": "0", "SLURM_PROCID": "0"}
    step |= {"SLURM_STEP_NUM_TASKS": "2", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}
    args = (str(DASK_RUNNER), "serve", "--name", "lab")
    with Run(args, env={"HOME": str(home.directory), **step}) as cluster:
        until((home.directory / ".dask-runner/cluster-lab.json").exists)
        shown, browser = home.show("lab")
        browser.enters()
        status, headers, page = browser.get("/status")
        assert status == 503
        assert headers["Refresh"]
        assert b"starting" in page
        cluster.signal(signal.SIGTERM)
        assert shown.wait().status in {0, 69}


def test_prometheus_reads_the_metrics_of_all_workers_that_answer(home: Home) -> None:
    cluster = home.serve("lab", "--nworkers", "2")
    shown, browser = home.show("lab", "--prometheus")
    directory = home.directory / ".dask-runner"
    (targets,) = directory.glob("prometheus-*-lab.json")
    (target,) = json.loads(targets.read_text())
    token = (directory / "prometheus-token").read_text()
    bearer = {"Authorization": f"Bearer {token}"}
    assert target["targets"] == [f"127.0.0.1:{browser.port}"]
    assert browser.get("/metrics")[0] == browser.get("/status", **bearer)[0] == 403

    def up(**headers: str) -> dict[str, float]:
        status, _, body = browser.get("/metrics", **bearer, **headers)
        assert status == 200
        told = list(text_string_to_metric_families(body.decode()))
        threads = [
            one.labels["worker"]
            for family in told
            for one in family.samples
            if one.name == "dask_worker_threads"
        ]
        found = {
            one.labels["worker"]: one.value
            for family in told
            for one in family.samples
            if one.name == "dask_runner_worker_up"
        }
        assert sorted(threads) == sorted(name for name, value in found.items() if value)
        return found

    assert up() == {"0": 1, "0-1": 1}
    (still, _) = cluster.named("dask-worker")
    os.kill(still, signal.SIGSTOP)
    try:
        told = up(**{"X-Prometheus-Scrape-Timeout-Seconds": "1"})
    finally:
        os.kill(still, signal.SIGCONT)
    assert sorted(told.values()) == [0, 1]

    assert home.run("stop", "lab").wait().status == 0
    assert shown.wait().status == 0
    assert not targets.exists()


def test_a_socket_shows_all_clusters_below_their_names(
    home: Home, tmp_path: Path
) -> None:
    home.serve("a")
    path = tmp_path / "socket"
    shown = home.run("dashboard", "--socket", str(path))
    until(lambda: listens(path))
    until(lambda: get(str(path), "/status")[0] == 200)
    status, index = get(str(path), "/")
    assert status == 200
    assert re.findall(r'href="([^"]+)"', index) == ["a/status"]

    cluster = home.serve("b")
    until(lambda: get(str(path), "/b/status")[0] == 200)
    assert get(str(path), "/a/health") == (200, "ok")
    assert get(str(path), "/status")[0] == 404  # of which of two?
    assert get(str(path), "/", {"Host": "somebody.example"})[0] == 403
    cluster.signal(signal.SIGTERM)
    cluster.wait()
    assert get(str(path), "/status")[0] == 200

    shown.signal(signal.SIGTERM)
    assert shown.wait().status == 0
    assert not path.exists()


def test_a_killed_one_leaves_a_socket_that_the_next_replaces(
    home: Home, tmp_path: Path
) -> None:
    path = tmp_path / "socket"
    shown = home.run("dashboard", "--socket", str(path))
    until(path.is_socket)
    shown.signal(signal.SIGKILL)
    shown.wait()
    again = home.run("dashboard", "--socket", str(path))
    until(lambda: answers(path))
    again.signal(signal.SIGTERM)  # nohup(1) may be around the tests
    assert again.wait().status == 0


def test_nohup_keeps_it(home: Home) -> None:
    home.serve("lab")
    env = {"HOME": str(home.directory)}
    with Run(("nohup", str(DASK_RUNNER), "dashboard"), env=env) as run:
        run.wait_for("token=")
        until(lambda: run.stdout.endswith("\n"))
        browser = Browser(run.stdout)
        run.signal(signal.SIGHUP)
        browser.enters()
        browser.status()
        run.signal(signal.SIGTERM)
        assert run.wait(stray="nohup: .*").status == 0


def test_it_ends_with_a_killed_parent_where_that_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    words = [str(DASK_RUNNER), "dashboard", "--socket", str(path), "--with-parent"]
    code = f"import subprocess; subprocess.run({words})"
    with Run((sys.executable, "-c", code)) as parent:
        until(lambda: answers(path))
        parent.signal(signal.SIGKILL)
        until(lambda: not parent.pids)
        assert not path.exists()
        assert parent.wait().status == 137


def answers(path: Path) -> bool:
    try:
        return get(str(path), "/")[0] == 200
    except OSError:
        return False
