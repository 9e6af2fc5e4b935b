"""Ranks that meet at an address, with a secret, and share no directory."""

from __future__ import annotations

import json
import secrets
import signal
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.strangers import KINDS, flood, visit
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.conftest import DaskRunner
    from tests.running import Run

TEMPFAIL, CONFIG, KILLED = 75, 78, 137
RAN = ("-c", "print('ran')")
STAY = ("-c", "import time; print('begun', flush=True); time.sleep(600)")


class Place:
    """An address, and a secret for it; each process has a home of its own."""

    def __init__(self, dask_runner: DaskRunner) -> None:
        with socket.create_server(("127.0.0.1", 0)) as sock:
            self.port: int = sock.getsockname()[1]
        self.secret = secrets.token_hex(16)
        self._dask_runner = dask_runner

    def start(
        self,
        *args: Any,
        size: int | None = 2,
        secret: str = "",
        env: Mapping[str, str] | None = None,
    ) -> Run:
        words = () if size is None else ("--size", size)
        meet = ("--meet", f"tcp://127.0.0.1:{self.port}")
        more = {"DASK_RUNNER__SECRET": secret or self.secret, **(env or {})}
        return self._dask_runner.start(*words, *meet, *args, env=more)

    def typed(self, *args: Any, env: Mapping[str, str]) -> Run:
        return self._dask_runner.start(*args, env=env)

    def first(self, *args: Any, **how: Any) -> Run:
        run = self.start(*args, **how)
        until(self.is_open)
        return run

    def is_open(self) -> bool:
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", self.port)) == 0


@pytest.fixture
def place(dask_runner: DaskRunner) -> Place:
    return Place(dask_runner)


def statuses(*runs: Run) -> list[int]:
    return [run.wait().status for run in runs]


@contextmanager
def squatting(port: int, answer: bytes) -> Iterator[None]:
    """Another program that has the port, and says something to who comes."""
    import threading  # noqa: PLC0415  tests alone

    server = socket.create_server(("127.0.0.1", port))
    server.settimeout(0.1)
    over = threading.Event()

    def serve() -> None:
        while not over.is_set():
            try:
                visitor, _ = server.accept()
            except TimeoutError:
                continue
            with visitor:
                visitor.sendall(answer)
                visitor.recv(4096)

    thread = threading.Thread(target=serve)
    thread.start()
    yield
    over.set()
    thread.join()
    server.close()


def test_three_processes_without_a_directory_are_a_cluster(place: Place) -> None:
    runs = [place.start(*RAN, size=3) for _ in range(3)]
    assert statuses(*runs) == [0, 0, 0]
    assert "".join(run.stdout for run in runs) == "ran\n"


def test_ranks_that_are_counted_meet_there_as_well(place: Place) -> None:
    def pod(index: int) -> Run:
        env = {
            "JOB_COMPLETION_INDEX": str(index),
            "HOSTNAME": f"demo-{index}",
            "DASK_RUNNER__SIZE": "3",
        }
        return place.start(*RAN, size=None, env=env)

    runs = [pod(index) for index in (2, 1, 0)]
    assert statuses(*runs) == [0, 0, 0]
    assert runs[2].stdout == "ran\n"
    assert "kubernetes job demo: 3 ranks" in runs[2].stderr


def test_two_ranks_of_one_number_are_two_launches(place: Place) -> None:
    def pod() -> Run:
        env = {
            "LWS_LEADER_ADDRESS": "demo-0",
            "LWS_WORKER_INDEX": "1",
            "LWS_GROUP_SIZE": "3",
        }
        return place.start(*STAY, size=None, env=env)

    zero = {
        "LWS_LEADER_ADDRESS": "demo-0",
        "LWS_WORKER_INDEX": "0",
        "LWS_GROUP_SIZE": "3",
    }
    first = place.first(*STAY, "--timeout", "20", size=None, env=zero)
    ranks = [pod(), pod()]
    until(lambda: any(run.process.poll() is not None for run in ranks))
    (refused,) = (run for run in ranks if run.process.poll() is not None)
    ended = refused.wait()
    assert ended.status == CONFIG
    assert "rank 1 on" in ended.stderr
    for run in (first, *ranks):
        if run.process.poll() is None:
            run.signal(signal.SIGTERM)
            run.wait()


def test_another_secret_is_a_stranger_at_once(place: Place) -> None:
    first = place.first(*RAN)
    other = place.start(*RAN, secret=secrets.token_hex(16)).wait()
    assert other.status == CONFIG
    assert "a stranger listens at 127.0.0.1:" in other.stderr
    second = place.start(*RAN)
    assert statuses(first, second) == [0, 0]


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\n\r\n", b""])
def test_a_program_that_has_the_port_is_named(place: Place, answer: bytes) -> None:
    with squatting(place.port, answer):
        ended = place.start("--timeout", "6", *RAN).wait()
    assert ended.status in (CONFIG, TEMPFAIL)
    said = "a stranger listens at" if answer else "for the first process:"
    assert f"{said} 127.0.0.1:{place.port}" in ended.stderr


def test_nobody_at_the_address_is_said_at_the_deadline(
    dask_runner: DaskRunner,
) -> None:
    # An address of documentation, which no host has.
    ended = dask_runner(
        *("--size", 2, "--meet", "tcp://192.0.2.1:7700", "--timeout", 4, *RAN),
        env={"DASK_RUNNER__SECRET": secrets.token_hex(16)},
    )
    assert ended.status == TEMPFAIL
    assert "waited 4 s for the first process" in ended.stderr
    assert "192.0.2.1:7700" in ended.stderr


@pytest.mark.parametrize("behave", KINDS, ids=lambda kind: kind.__name__)
def test_strangers_are_told_nothing(
    place: Place, behave: Callable[[socket.socket], None]
) -> None:
    first = place.first(*RAN)
    told = visit(behave, "127.0.0.1", place.port)
    assert b"PRIVATE" not in told
    assert b"Seat" not in told
    assert statuses(first, place.start(*RAN)) == [0, 0]
    assert first.stderr.count("refused a connection") <= 1


def test_a_flood_of_half_open_connections_stops_nothing(place: Place) -> None:
    first = place.first(*RAN)
    with flood("127.0.0.1", place.port, 2000):
        assert statuses(first, place.start(*RAN)) == [0, 0]


def test_the_first_one_killed_ends_the_others(place: Place) -> None:
    first = place.first(*STAY, size=3)
    until(lambda: established(place.port) == 0)  # the look whether it is open
    second = place.start(*STAY, size=3)
    until(lambda: established(place.port) > 0)
    first.process.kill()
    first.wait()
    ended = second.wait()
    assert ended.status == TEMPFAIL
    assert "ended before all had come" in ended.stderr


def established(port: int) -> int:
    """Count the connections that a port has accepted."""
    from pathlib import Path  # noqa: PLC0415  tests alone

    lines = [
        line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
    ]
    local = f":{port:04X}"
    return sum(line[1].endswith(local) and line[3] == "01" for line in lines)


def test_the_secret_is_in_no_process_but_the_ranks(place: Place) -> None:
    """Neither the script, nor a worker, nor anything's command line has it."""
    code = (
        "import json, os; from distributed import Client\n"
        "client = Client()\n"
        "theirs = client.run(lambda: dict(os.environ))\n"
        "print(json.dumps([dict(os.environ), *theirs.values()]))"
    )
    runs = [place.start("-c", code) for _ in range(2)]
    assert statuses(*runs) == [0, 0]
    out = "".join(run.stdout for run in runs)
    assert len(json.loads(out)) == 3
    assert place.secret not in out


def node(place: Place, index: int, **more: str) -> Run:
    """Start a node of an AWS Batch job, whose main node has no variable of the host."""
    env = {
        "AWS_BATCH_JOB_ID": f"demo#{index}",
        "AWS_BATCH_JOB_NODE_INDEX": str(index),
        "AWS_BATCH_JOB_NUM_NODES": "3",
        "DASK_RUNNER__MEET": f"tcp://$MAIN_NODE:{place.port}",
        "DASK_RUNNER__SECRET": place.secret,
    }
    return place.typed(*RAN, env=env | more)


def test_a_variable_may_hold_the_host_of_rank_0(place: Place) -> None:
    main = node(place, 0)
    others = [node(place, index, MAIN_NODE="127.0.0.1") for index in (1, 2)]

    assert statuses(main, *others) == [0, 0, 0]
    assert main.stdout == "ran\n"


def test_a_variable_that_is_not_set_is_named(place: Place) -> None:
    ended = node(place, 1).wait()

    assert ended.status == CONFIG


def test_a_counted_rank_that_cannot_begin_is_told_by_rank_0(place: Place) -> None:
    host = {"MAIN_NODE": "127.0.0.1"}
    runs = [node(place, 0), node(place, 1, **host)]
    runs.append(node(place, 2, **host, DASK_RUNNER__NTHREADS="many"))

    ended = [run.wait() for run in runs]

    # Rank 1 is played by rank 0's process here, and ends in order.
    assert (ended[0].status, ended[2].status) == (CONFIG, CONFIG), ended
    assert ended[0].stderr.count("error:") == 1, ended
    assert "DASK_RUNNER__NTHREADS = 'many'" in ended[0].stderr
    assert not ended[1].stderr + ended[2].stderr, ended
    assert max(one.seconds for one in ended) < 30


def test_a_counted_rank_0_that_cannot_begin_tells_the_others(place: Place) -> None:
    host = {"MAIN_NODE": "127.0.0.1"}
    runs = [node(place, index, **host) for index in (1, 2)]
    runs.append(node(place, 0, DASK_RUNNER__NTHREADS="many"))

    ended = [run.wait() for run in runs]

    assert [one.status for one in ended] == [CONFIG] * 3, ended
    assert "DASK_RUNNER__NTHREADS = 'many'" in ended[2].stderr
    assert not ended[0].stderr + ended[1].stderr, ended
