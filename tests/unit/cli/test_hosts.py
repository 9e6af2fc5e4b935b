"""What ``--hosts`` makes of ssh's end, of the script and of the image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dask_runner.cli import hosts, ssh
from dask_runner.cli.hosted import script_here
from dask_runner.errors import ConfigError, RunnerError, UnavailableError
from dask_runner.launch.hosts import Host
from dask_runner.launch.launch import Program
from dask_runner.launch.settings import settle

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("status", "line", "kind"),
    [
        (255, "me@a: Permission denied (publickey).", ConfigError),
        (255, "Host key verification failed.", ConfigError),
        (255, "ssh: Could not resolve hostname a: Name not known", ConfigError),
        (255, "ssh: connect to host a port 22: Connection refused", UnavailableError),
        (127, "sh: 1: exec: dask-runner: not found", ConfigError),
        (1, "ImportError: no module", ConfigError),
    ],
)
def test_the_cause_is_sshs_own_last_line(
    status: int, line: str, kind: type[RunnerError]
) -> None:
    error = ssh.refused("a", status, ["before", line])
    assert isinstance(error, kind)
    assert error.saw.startswith("a")
    assert line in error.saw
    assert error.needed
    assert error.do


def test_hosts_are_those_of_the_option_or_the_file(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("c\n")
    assert hosts.hosts_of(settle({"hosts": "a,b"}, {})) == [Host("a"), Host("b")]
    file = str(tmp_path / "hosts")
    assert hosts.hosts_of(settle({"hostfile": file}, {})) == [Host("c")]
    assert hosts.hosts_of(settle({}, {})) == []


def test_an_image_is_for_hosts() -> None:
    with pytest.raises(ConfigError, match="--image x without --hosts"):
        hosts.hosts_of(settle({"image": "x"}, {}))


def test_a_path_in_a_command_is_one_word_of_the_hosts_shell() -> None:
    command = ssh.command_of("/a b/$(x).sif")
    assert command.startswith("exec sh -c ")
    assert "'\"'\"'/a b/$(x).sif'\"'\"'" in command


def test_a_script_that_is_a_file_is_sent(tmp_path: Path) -> None:
    script = tmp_path / "s.py"
    script.write_text("pass")
    program = Program("script", str(script), ("a", "b"))
    args = ["--hosts", "x", str(script), "a", "b"]
    assert hosts._script(program, args) == (b"pass", 2)  # noqa: SLF001
    assert hosts._script(Program("code", "pass"), ["-c", "pass"]) == (b"", -1)  # noqa: SLF001
    assert hosts._script(None, ["serve"]) == (b"", -1)  # noqa: SLF001


def test_a_host_has_a_script_by_its_path_and_text(tmp_path: Path) -> None:
    import hashlib  # noqa: PLC0415  this test alone

    (tmp_path / "s.py").write_text("pass")
    digest = hashlib.sha256(b"pass").hexdigest()
    assert script_here(str(tmp_path), "s.py", digest)
    assert not script_here(str(tmp_path), "s.py", digest[::-1])
    assert not script_here(str(tmp_path), "other.py", digest)
    assert not script_here(str(tmp_path), "s.py", "")
