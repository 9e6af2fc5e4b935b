"""How a follower and its leader find each other, and part."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dask_runner.node import follower
from tests.programs import printed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


SLURM = {"SLURM_JOB_ID": "4711", "SLURM_STEP_ID": "0", "SLURM_LOCALID": "3"}


ARGS = ("-n", "4", "my script.py", "")


def test_a_name_longer_than_the_kernel_takes_keeps_its_end() -> None:
    environ = {**SLURM, "SLURM_JOB_ID": "x" * 300, "SLURM_STEP_ID": "77"}
    name, _ = follower.meeting_place(environ, ["a.py"])
    held = follower.claim(name)
    assert held is not None
    assert follower.claim(name) is None
    held.close()
    assert name.endswith("-77")


def test_a_follower_loads_nothing_but_itself() -> None:
    code = """
import sys
before = set(sys.modules)
from dask_runner.cli.main import main
print(*sorted(set(sys.modules) - before))
"""
    assert set(printed(code).split()) <= {
        "__future__",
        "_socket",
        "dask_runner",
        "dask_runner.cli",
        "dask_runner.cli.main",
        "dask_runner.node",
        "dask_runner.node.follower",
    }


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep the name of this process that ps shows, and its signals."""
    monkeypatch.setattr(follower, "NAME", Path("/proc/self/comm").read_text().strip())
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@pytest.fixture
def name() -> str:
    return f"dask-runner-test-{os.getpid()}"


def claimed(name: str) -> int:
    """Open the leader's socket, as a descriptor."""
    held = follower.claim(name)
    assert held is not None
    return held.detach()


@contextlib.contextmanager
def leading(
    name: str, lead: Callable[[socket.socket], None]
) -> Iterator[socket.socket]:
    """Play the leader, to a follower that has introduced itself."""
    with socket.socket(fileno=claimed(name)) as listening:

        def meet() -> None:
            sock, _ = listening.accept()
            with sock:
                size = int.from_bytes(sock.recv(follower.LENGTH))
                sock.recv(size, socket.MSG_WAITALL)
                lead(sock)

        leader = threading.Thread(target=meet)
        leader.start()
        yield listening
        leader.join()


def saying(*answers: bytes) -> Callable[[socket.socket], None]:
    def lead(sock: socket.socket) -> None:
        for answer in answers:
            sock.sendall(answer)

    return lead


@pytest.mark.parametrize(
    ("answers", "status"),
    [
        ([b"held\n", b"played 69 we are lost\n"], follower.LOST),
        ([b"held\n", b"played 69 we are lost\n", b"end 3"], follower.LOST),
        ([b"played 69 other words\n", b"played 69 we are lost\n"], follower.LOST),
        ([b"held\n", b"played 69 \n", b"end 3\n"], 3),
        ([b"held\n", b"end 143\n"], 143),
        ([b"end 78\n"], 78),
    ],
    ids=["dies", "dies in the status", "says more", "ends", "ends early", "ends first"],
)
def test_a_leader_that_plays_our_part_may_end_at_any_moment(
    name: str,
    answers: list[bytes],
    status: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with leading(name, saying(*answers)):
        assert follower.follow(name, ARGS) == status
    said = "we are lost\n" if status == follower.LOST else ""
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    "answers",
    [[], [b"held"], [b"held\n"], [b"held\n", b"played 69 we a"]],
    ids=["at once", "in a word", "while it holds us", "in its last words"],
)
def test_a_leader_that_dies_before_the_hub_knows_us_is_found_dead(
    name: str, answers: list[bytes]
) -> None:
    with leading(name, saying(*answers)):
        left = follower.follow(name, ARGS)
    assert not isinstance(left, int)
    assert left is not None
    assert left.recv(1) == b""
    left.close()


def test_a_connection_stays_with_who_plays_its_part_itself(name: str) -> None:
    said = []

    def lead(sock: socket.socket) -> None:
        sock.sendall(b"yourself\nmore")
        said.append(sock.recv(1))

    with leading(name, lead):
        left = follower.follow(name, ARGS)
        assert not isinstance(left, int)
        assert left is not None
        assert left.recv(4) == b"more"
        left.close()
    assert said == [bytes([follower.STAYS])]


@pytest.mark.parametrize(
    "answer", [b"apart\n", b"nonsense\n", b"end soon\n", b"\xff\0\n"]
)
def test_a_leader_of_others_is_left_with_a_word(name: str, answer: bytes) -> None:
    said = []

    def lead(sock: socket.socket) -> None:
        sock.sendall(answer)
        said.append(sock.recv(9))

    with leading(name, lead):
        assert follower.follow(name, ARGS) is None
    assert said == [bytes([follower.HANGS_UP])]


def test_a_leader_that_never_answers_is_not_waited_for(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "ANSWER_SECONDS", 0.1)
    with leading(name, lambda sock: said.append(sock.recv(9))):
        said: list[bytes] = []
        assert follower.follow(name, ARGS) is None
    assert said == [bytes([follower.HANGS_UP])]


def test_a_leader_that_is_stopped_is_killed_and_found_dead(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "STOPPED_CHECK_SECONDS", 0.1)
    code = f"""
import os, signal
from dask_runner.node import follower
held = follower.claim({name!r})
print("claimed", flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE
    ) as leader:
        assert leader.stdout is not None
        leader.stdout.readline()
        os.waitid(os.P_PID, leader.pid, os.WSTOPPED | os.WNOWAIT)
        left = follower.follow(name, ARGS)
        assert leader.wait() == -signal.SIGKILL
    assert not isinstance(left, int)
    assert left is not None
    with contextlib.suppress(ConnectionResetError):  # it did not read all
        assert left.recv(1) == b""
    left.close()


def test_a_leader_that_never_comes_is_not_waited_for(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "FIND_LEADER_SECONDS", 0.1)
    assert follower.follow(name, ARGS) is None


@contextlib.contextmanager
def full(name: str) -> Iterator[socket.socket]:
    """Listen under a name, with a queue in which nobody has a place any more."""
    with socket.socket(socket.AF_UNIX) as listening, contextlib.ExitStack() as stack:
        listening.bind(f"\0{name}")
        listening.listen(0)
        while True:
            guest = stack.enter_context(socket.socket(socket.AF_UNIX))
            guest.setblocking(False)
            try:
                guest.connect(f"\0{name}")
            except BlockingIOError:
                break
        yield listening


def test_a_leader_that_takes_nobody_in_is_not_waited_for(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "FIND_LEADER_SECONDS", 0.1)
    with full(name):
        assert follower.follow(name, ARGS) is None


def test_a_signal_waits_for_a_leader_and_is_raised_again_without_one(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "FIND_LEADER_SECONDS", 0.2)
    follower.hold_signals()
    signal.raise_signal(signal.SIGTERM)
    assert follower.follow(name, ARGS) is None
    assert signal.sigpending() == {signal.SIGTERM}
    assert signal.sigwait([signal.SIGTERM]) == signal.SIGTERM


def test_a_leader_gets_the_signals_that_came_before_it_did(name: str) -> None:
    heard = []

    def lead(sock: socket.socket) -> None:
        heard.append(sock.recv(1))
        sock.sendall(b"end 143\n")

    follower.hold_signals()
    signal.raise_signal(signal.SIGTERM)
    with leading(name, lead):
        assert follower.follow(name, ARGS) == 143
    assert heard == [bytes([signal.SIGTERM])]
    assert signal.sigwait([signal.SIGTERM]) == signal.SIGTERM


def test_a_leader_that_makes_no_end_after_a_signal_is_left(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "END_SECONDS", 1)
    follower.hold_signals()
    signal.raise_signal(signal.SIGINT)
    over = threading.Event()
    with leading(name, lambda _: over.wait(60) and None):
        with pytest.raises(SystemExit) as e:
            follower.follow(name, ARGS)
        over.set()
    assert e.value.code == 130
    assert signal.sigwait([signal.SIGINT]) == signal.SIGINT
