"""What the start line and the link say of the dashboard."""

from __future__ import annotations

import shlex

import pytest

from dask_runner.hub.dashboard import told
from dask_runner.hub.messages import SchedulerUp

PLACE = "user@c1"


def said(
    dashboard: str, readers: str = "", name: str = "", *, launched: bool = True
) -> list[str]:
    up = SchedulerUp("tls://10.0.0.1:1", dashboard, readers)
    return list(told(up, PLACE, name, launched=launched))


def test_without_one_there_is_nothing_to_say() -> None:
    assert said("") == ["", ""]


def test_a_socket_of_a_job_is_reached_by_a_tunnel() -> None:
    link, line = said("/tmp/x/dashboard")

    tunnel = "ssh -N -L 8787:/tmp/x/dashboard user@c1"
    assert line == f"dashboard http://127.0.0.1:8787/status after: {tunnel}"
    assert link == f"http://127.0.0.1:8787/status#first: {tunnel}"


def test_a_job_with_a_name_names_the_easier_way_first() -> None:
    link, line = said("/tmp/x/dashboard", name="lab")

    way, _, tunnel = line.partition("; or ")
    assert way == "dashboard: dask-runner dashboard lab"
    assert tunnel == (
        "http://127.0.0.1:8787/status after: ssh -N -L 8787:/tmp/x/dashboard user@c1"
    )
    assert link == said("/tmp/x/dashboard")[0]


def test_a_local_run_with_a_name_names_the_command_for_a_browser() -> None:
    link, line = said("/tmp/x/dashboard", name="lab", launched=False)

    assert "for a browser here, dask-runner dashboard lab; from elsewhere: " in line
    assert link == "unix:/tmp/x/dashboard (for a browser, dask-runner dashboard lab)"


def test_a_local_run_names_the_option_for_a_browser() -> None:
    link, line = said("/tmp/x/dashboard", launched=False)

    assert "--dashboard-address 127.0.0.1:8787" in line
    assert "ssh -N -L 8787:/tmp/x/dashboard user@c1" in line
    assert len(line.splitlines()) == 1
    assert link.startswith("unix:/tmp/x/dashboard ")
    assert "--dashboard-address 127.0.0.1:8787" in link


@pytest.mark.parametrize(
    ("path", "end"),
    [
        ("/a b/dashboard", "8787:/a b/dashboard"),
        ("/a:b/dashboard", r"8787:/a\:b/dashboard"),
        (r"/a\b/dashboard", r"8787:/a\\b/dashboard"),
        ("/it's $HOME;&|*/d", "8787:/it's $HOME;&|*/d"),
    ],
)
def test_a_path_is_quoted_for_the_shell_and_for_ssh(path: str, end: str) -> None:
    _, line = said(path)

    command = line.partition("after: ")[2]
    assert shlex.split(command) == ["ssh", "-N", "-L", end, PLACE]


@pytest.mark.parametrize(
    ("at", "end"),
    [
        ("http://127.0.0.1:8787", "8787:127.0.0.1:8787"),
        ("https://[::1]:8788", "8788:[::1]:8788"),
    ],
)
def test_a_port_on_loopback_names_its_readers_and_the_tunnel(at: str, end: str) -> None:
    link, line = said(at, "every account on c1")

    assert link == f"{at}/status"
    assert line == (
        f"dashboard {at}/status (every account on c1 can read it; from elsewhere: "
        f"ssh -N -L {end} user@c1)"
    )


def test_a_port_for_all_names_its_readers() -> None:
    link, line = said("http://10.0.0.1:8787", "anyone who reaches 10.0.0.1:8787")

    assert link == "http://10.0.0.1:8787/status"
    assert line == f"dashboard {link} (anyone who reaches 10.0.0.1:8787 can read it)"
