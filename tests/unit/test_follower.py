"""What a follower finds at a glance, what it says, and how little it loads."""

from __future__ import annotations

import os
import socket
import sys
import threading
from pathlib import Path

import pytest

from dask_runner import follower, node
from dask_runner.cli import cli
from dask_runner.hosting import Introduction
from dask_runner.launchers import LAUNCHERS
from dask_runner.messages import ProtocolError
from tests.programs import printed

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
        assert bool(found) == (word == "run")
    for args in (["--help"], ["--version"], []):
        assert follower.meeting_place(SLURM, args) == ("", False)


def test_a_name_longer_than_the_kernel_takes_keeps_its_end() -> None:
    environ = {**SLURM, "SLURM_JOB_ID": "x" * 300, "SLURM_STEP_ID": "77"}
    name, _ = follower.meeting_place(environ, ["a.py"])
    held = follower.claim(name)
    assert held is not None
    assert follower.claim(name) is None
    held.close()
    assert name.endswith("-77")


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


def test_a_follower_loads_nothing_but_itself() -> None:
    code = """
import sys
before = set(sys.modules)
from dask_runner.entry import main
print(*sorted(set(sys.modules) - before))
"""
    assert set(printed(code).split()) <= {
        "__future__",
        "_socket",
        "dask_runner",
        "dask_runner.entry",
        "dask_runner.follower",
    }


@pytest.mark.parametrize(
    ("answers", "status"),
    [
        ([], None),
        ([b"half a line"], None),
        ([b"we are lost\n"], follower.LOST),
        ([b"we are lost\n", b"3"], follower.LOST),
        ([b"\n", b"3\n"], 3),
    ],
    ids=["goes", "goes in a word", "dies", "dies in the status", "ends"],
)
def test_a_leader_may_end_at_any_moment(
    answers: list[bytes],
    status: int | None,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # This process keeps the name that ps shows.
    monkeypatch.setattr(follower, "NAME", Path("/proc/self/comm").read_text().strip())
    name = f"dask-runner-test-{os.getpid()}"
    with node.listen(name) as listening:  # type: ignore[union-attr]

        def lead() -> None:
            sock, _ = listening.accept()
            with sock:
                size = int.from_bytes(sock.recv(follower.LENGTH))
                sock.recv(size, socket.MSG_WAITALL)
                for answer in answers:
                    sock.sendall(answer)

        leader = threading.Thread(target=lead)
        leader.start()
        assert follower.follow(name, ARGS) == status
        leader.join()
    said = "we are lost\n" if status == follower.LOST else ""
    assert capsys.readouterr().err == said


def test_a_leader_that_never_answers_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(follower, "ANSWERS", 0.1)
    name = f"dask-runner-test-{os.getpid()}"
    with node.listen(name):  # type: ignore[union-attr]
        assert follower.follow(name, ARGS) is None


def test_a_leader_that_never_comes_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(follower, "APPEARS", 0.1)
    assert follower.follow(f"dask-runner-test-{os.getpid()}", ARGS) is None
