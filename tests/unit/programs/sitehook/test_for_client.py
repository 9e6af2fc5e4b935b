"""What a program is told that was written for a cluster of its own."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import TYPE_CHECKING

import pytest
from distributed import Client

from dask_runner.programs.sitehook.for_client import (
    JUPYTER,
    Link,
    advise,
    in_jupyter,
    not_yours,
    other_versions,
)

if TYPE_CHECKING:
    from pathlib import Path

#: An import of a module that may be installed here.
MISSING = "raise ModuleNotFoundError(\"No module named '"


def _error(code: str) -> BaseException:
    with pytest.raises(Exception) as raised:  # noqa: PT011  any, as a user's
        exec(code, {"Client": Client})  # noqa: S102  our own
    return raised.value


@pytest.mark.parametrize(
    ("code", "part"),
    [
        ("Client('tls://x:1', n_workers=4, memory_limit='1GiB')", "'n_workers'"),
        ("Client('tls://x:1', processes=False)", "Client() cannot give it 'processes'"),
        (f"{MISSING}dask_jobqueue'\")", "write Client() in place of"),
        (f"{MISSING}dask_mpi'\")", "write Client(), without dask_mpi"),
        (f"{MISSING}pandas'\")", "there is no module pandas here"),
    ],
)
def test_it_is_told_in_one_line_what_to_write(
    code: str, part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    advise(_error(code))

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("dask-runner: ")
    assert part in line


@pytest.mark.parametrize(
    "code",
    [
        "raise ValueError(\"Unexpected keyword arguments: ['n_workers']\")",
        f"{MISSING}dask_mpi.mine'\")",
        "1 / 0",
        "int('x')",
    ],
)
def test_other_errors_are_the_programs_own(
    code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    advise(_error(code))

    assert capsys.readouterr().err == ""


def test_a_mounted_file_of_somebody_else_is_told_with_the_line_to_type(
    tmp_path: Path,
) -> None:
    found = tmp_path.stat()
    owner = f"{found.st_uid}:{found.st_gid}"

    saw, _, do = not_yours(str(tmp_path / "out"), found.st_uid + 1, 7, device=-1)

    assert f"this container's user, {found.st_uid + 1}:7" in saw
    assert f"{str(tmp_path)!r} is {owner}'s" in saw
    assert f"docker run --user {owner} " in do


def test_nothing_is_told_of_what_is_ones_own_or_the_images(tmp_path: Path) -> None:
    found = tmp_path.stat()

    assert not_yours(str(tmp_path), found.st_uid, 7, device=-1) == ()
    assert not_yours(str(tmp_path), found.st_uid + 1, 7, device=found.st_dev) == ()
    assert not_yours(None, found.st_uid + 1, 7, device=-1) == ()
    assert not_yours(str(tmp_path / "no" / "out"), 1, 1, device=-1) == ()


def test_a_link_to_a_cluster_elsewhere_is_no_cluster_of_this_program(
    capsys: pytest.CaptureFixture[str],
) -> None:
    link = Link("{scheme}://{host}:{port}/status")
    link.ours = "ours"

    assert link.format(scheme="http", host="c7", port=1) == "http://c7:1/status"
    assert link.format(scheme="http", host="c7", port=None) == "ours"
    assert capsys.readouterr().err == ""


def test_a_template_of_the_user_that_needs_no_port_stays_as_it_is() -> None:
    link = Link("/user/{USER}/dask")
    link.ours = "ours"

    assert link.format(USER="me", host="c7", port=None) == "/user/me/dask"


@pytest.mark.parametrize(
    ("name", "prefix", "link"),
    [
        ("lab", "/", "/proxy/dask-runner/lab/status"),
        ("lab", "/user/me/", "/user/me/proxy/dask-runner/lab/status"),
        ("lab", "", ""),
        ("", "/user/me/", ""),
    ],
)
def test_jupyter_shows_a_cluster_that_has_a_name(
    name: str, prefix: str, link: str
) -> None:
    assert in_jupyter(name, {JUPYTER: prefix}) == link
    assert in_jupyter(name, {}) == ""


OWN = platform.python_version(), metadata.version("distributed")


def test_the_same_versions_are_not_worth_a_word() -> None:
    patch = OWN[0].rpartition(".")[0] + ".99"

    assert other_versions("lab", *OWN) == ""
    assert other_versions("lab", patch, OWN[1]) == ""


@pytest.mark.parametrize("other", [("2.7.18", OWN[1]), (OWN[0], "1.28.1")])
def test_other_versions_are_named_beside_this_programs(other: tuple[str, str]) -> None:
    line = other_versions("lab", *other)

    assert line.startswith("warning: the cluster 'lab' has Python ")
    for version in (*other, *OWN):
        assert version in line
