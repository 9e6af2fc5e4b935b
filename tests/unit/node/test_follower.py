"""What a follower finds at a glance, what it says, and how little it loads."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from dask_runner.cli.commands import cli
from dask_runner.launch.detect import LAUNCHERS
from dask_runner.node import follower
from dask_runner.node.introduction import Introduction
from dask_runner.wire.message import ProtocolError

SLURM = {"SLURM_JOB_ID": "4711", "SLURM_STEP_ID": "0", "SLURM_LOCALID": "3"}
ARGS = ("-n", "4", "my script.py", "")


@pytest.mark.parametrize("glance", follower.GLANCES, ids=lambda glance: glance[0])
def test_a_glance_reads_what_the_table_of_launchers_reads(
    glance: tuple[str, str, tuple[str, ...]],
) -> None:
    name, local_rank, launch = glance
    (row,) = (row for row in LAUNCHERS if row.name == name)
    assert row.local_rank[0] == local_rank
    assert set(launch) <= {variable for variable, _ in row.key}


def test_glances_have_the_order_of_the_table() -> None:
    order = [row.name for row in LAUNCHERS]
    glances = [name for name, _, _ in follower.GLANCES]
    assert glances == sorted(glances, key=order.index)


def test_ranks_of_one_step_have_one_meeting_place_and_one_leader() -> None:
    leader = follower.meeting_place({**SLURM, "SLURM_LOCALID": "0"}, ["a.py"])
    other = follower.meeting_place(SLURM, ["a.py"])
    assert leader == (other[0], True)
    assert other[1] is False
    assert "4711-0" in other[0]


def test_another_step_has_another_meeting_place() -> None:
    other = {**SLURM, "SLURM_STEP_ID": "1"}
    assert follower.meeting_place(SLURM, ["a.py"]) != follower.meeting_place(
        other, ["a.py"]
    )


@pytest.mark.parametrize("missing", sorted(SLURM))
def test_without_its_variables_there_is_no_meeting_place(missing: str) -> None:
    environ = {name: value for name, value in SLURM.items() if name != missing}
    assert follower.meeting_place(environ, ["a.py"]) == ("", False)


def test_only_who_runs_a_program_has_a_meeting_place() -> None:
    for word in cli.commands:
        found, _ = follower.meeting_place(SLURM, [word, "a.py"])
        assert bool(found) == (word in {"run", "serve", "join"})
    for args in (["--help"], ["--version"], []):
        assert follower.meeting_place(SLURM, args) == ("", False)


def test_an_introduction_is_read_as_it_was_meant(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EQUALS", "a=b=c\nd")
    monkeypatch.setenv("NO_TEXT", os.fsdecode(b"\xff\xfe"))
    found = Introduction.read(follower.introduce(ARGS))
    assert found.args == ARGS
    assert found.environ == dict(os.environ)
    assert found.directory == str(Path.cwd())
    assert found.executable == sys.executable
    assert found.identities[0] == follower.identity(".")


@pytest.mark.parametrize("cut", [0, 1, 40, -1])
def test_half_an_introduction_is_none(cut: int) -> None:
    whole = follower.introduce(ARGS)
    with pytest.raises(ProtocolError):
        Introduction.read(whole[:cut])


def test_garbage_is_no_introduction() -> None:
    for garbage in (b"", b"\0", b"\0" * 20, b"GET / HTTP/1.1\r\n\r\n", os.urandom(999)):
        with pytest.raises(ProtocolError):
            Introduction.read(garbage)


def test_where_users_prove_nothing_there_is_no_leader(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert follower.meeting_place(SLURM, ["a.py"])[0]
    monkeypatch.setattr(os, "geteuid", lambda: follower.OVERFLOW)
    assert follower.meeting_place(SLURM, ["a.py"]) == ("", False)


@pytest.mark.parametrize("descriptor", ["-1", "", "x", "987654"])
def test_a_connection_that_is_none_is_not_taken_over(descriptor: str) -> None:
    assert follower.kept(descriptor) is None


def test_a_connection_is_taken_over_and_not_handed_on() -> None:
    one, other = socket.socketpair()
    with other:
        one.set_inheritable(True)
        left = follower.kept(str(one.detach()))
        assert left is not None
        assert not os.get_inheritable(left.fileno())
        left.close()
