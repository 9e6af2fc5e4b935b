"""The carrier writes what others print, and outlives them."""

from __future__ import annotations

import json
import os
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from dask_runner.programs import carrier
from dask_runner.programs.carried import WRITE_NOW
from dask_runner.programs.carrier import Carrier

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Seconds for what takes a moment.
SOON = 20.0


class Agent:
    """The agent's end of a carrier that runs in a thread."""

    def __init__(self, tmp_path: Path, to: tuple[int, int] | None = None) -> None:
        self.out, self.err = tmp_path / "out", tmp_path / "err"
        theirs: socket.socket
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.lifeline, top = socket.socketpair()
        files = [path.open("ab") for path in (self.out, self.err)]
        self._kept = [theirs, top, *files]
        out, err = to or tuple(file.fileno() for file in files)
        carrier = Carrier(theirs, top.fileno(), out, err)
        self.thread = threading.Thread(target=carrier.run, daemon=True)
        self.thread.start()

    def prints(self, label: str, copy: str = "") -> tuple[int, int]:
        """Return stdout and stderr of a process that prints."""
        (out, our_out), (err, our_err) = os.pipe(), os.pipe()
        about = json.dumps([label, copy]).encode()
        there, theirs = socket.socketpair()
        self._kept.append(there)
        with theirs:
            given = [out, err, theirs.fileno()]
            socket.send_fds(self.socket, [about], given)
        os.close(out)
        os.close(err)
        return our_out, our_err

    def written(self) -> None:
        """Wait until all is written."""
        ours, theirs = os.pipe()
        socket.send_fds(self.socket, [WRITE_NOW], [theirs])
        os.close(theirs)
        assert os.read(ours, 1) == b""
        os.close(ours)

    def ends(self) -> None:
        self.socket.close()
        self.thread.join(SOON)
        assert not self.thread.is_alive()

    def discard(self) -> None:
        for one in (self.socket, self.lifeline):
            one.close()
        self.thread.join(SOON)
        for each in self._kept:
            each.close()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    made = Agent(tmp_path)
    yield made
    made.discard()


def close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def test_lines_of_several_are_whole_however_they_are_written(agent: Agent) -> None:
    one, two = agent.prints("0"), agent.prints("1-1")
    for number in range(300):
        for label, (out, _) in (("a", one), ("b", two)):
            os.write(out, f"{label} {number} ".encode())
            os.write(out, b"." * 40 + b"\n")
    os.write(two[1], b"trouble\n")
    close(*one, *two)
    agent.ends()

    lines = agent.out.read_text().splitlines()
    for label, mark in (("0", "a"), ("1-1", "b")):
        own = [line for line in lines if line.startswith(f"[{label}] ")]
        assert own == [f"[{label}] {mark} {n} " + "." * 40 for n in range(300)]
    assert len(lines) == 600
    assert agent.err.read_text() == "[1-1] trouble\n"


def test_what_a_process_has_printed_is_written_after_its_end(agent: Agent) -> None:
    out, err = agent.prints("0")
    os.write(out, b"whole\nhalf")
    close(out, err)
    agent.ends()
    assert agent.out.read_text() == "[0] whole\n[0] half\n"


def test_it_says_when_all_is_written(agent: Agent) -> None:
    out, err = agent.prints("0")
    for size in (10, 70_000):
        line = b"." * (size // 10 - 1) + b"\n"
        thread = threading.Thread(target=os.write, args=(out, line * 10))
        thread.start()
        thread.join(SOON)
        agent.written()
        assert agent.out.read_bytes().endswith(b"[0] " + line)
    assert agent.out.read_text().count("\n") == 20
    close(out, err)


def test_where_nobody_reads_it_keeps_little_and_those_who_print_wait(
    tmp_path: Path,
) -> None:
    reader, writer = os.pipe()
    agent = Agent(tmp_path, (writer, writer))
    out, err = agent.prints("0")
    os.set_blocking(out, False)
    sent = 0
    line = b"." * 99 + b"\n"
    waited = threading.Event()
    # What is on its way: two pipes, and what the carrier has read.
    most = 2 * carrier.MOST_IN_A_PIPE
    while not waited.wait(0.1):
        before = sent
        try:
            while sent < most:
                sent += os.write(out, line * 10)
        except BlockingIOError:
            pass
        if sent == before:
            break
    assert sent < most
    close(out, err)
    read = threading.Thread(target=agent.ends)
    read.start()
    found = 0
    os.set_blocking(reader, True)
    while found < sent + sent // 100 * len("[0] "):
        found += len(os.read(reader, 1 << 16))
    read.join(SOON)
    close(reader, writer)
    agent.discard()


def test_a_copy_gets_the_lines_without_label(agent: Agent, tmp_path: Path) -> None:
    copy = tmp_path / "0.log"
    copy.write_text("before\n")
    out, err = agent.prints("0", str(copy))
    os.write(out, b"said\n")
    agent.written()
    os.write(err, b"trouble\n")
    close(out, err)
    agent.ends()
    assert copy.read_text() == "before\nsaid\ntrouble\n"
    assert agent.out.read_text() == "[0] said\n"


def test_a_copy_that_cannot_be_written_is_told_once(agent: Agent) -> None:
    out, err = agent.prints("0", "/dev/full")
    for _ in range(3):
        os.write(out, b"said\n")
        agent.written()
    close(out, err)
    agent.ends()
    assert agent.out.read_text() == "[0] said\n" * 3
    told = "dask-runner: warning: /dev/full lacks lines: No space left on device\n"
    assert agent.err.read_text() == told


def test_it_does_not_wait_for_what_a_task_has_left_where_the_rank_is_gone(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carrier.signal, "alarm", lambda _: None)
    left = agent.prints("0")
    os.write(left[0], b"last\n")
    agent.lifeline.close()
    agent.ends()
    assert agent.out.read_text() == "[0] last\n"
    close(*left)
