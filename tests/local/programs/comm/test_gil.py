"""A thread that computes in Python gives the lock up soon while much data moves."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from distributed.comm import connect
from distributed.protocol import to_serialize

from dask_runner.programs.comm import gil, node_socket
from tests.local.programs.comm.talking import echoing, play, security

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SOON = round(1e6 * gil.SOON)
MUCH, LITTLE = gil.LITTLE + 1, gil.LITTLE

FORK = f"""
import os, sys
from dask_runner.programs.comm import gil
before = sys.getswitchinterval()
with gil.soon({MUCH}):
    child = os.fork()
    if not child:
        assert sys.getswitchinterval() == before
        with gil.soon({MUCH}):
            assert sys.getswitchinterval() < before
        assert sys.getswitchinterval() == before
        os._exit(7)
    _, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 7
assert sys.getswitchinterval() == before
"""


def microseconds() -> int:
    return round(1e6 * sys.getswitchinterval())


ORDINARY = microseconds()


@contextlib.contextmanager
def computing() -> Iterator[set[int]]:
    """Compute in another thread; yield how long it may keep the lock, as it sees it."""
    seen: set[int] = set()
    ended = threading.Event()

    def compute() -> None:
        while not ended.is_set():
            seen.add(microseconds())

    thread = threading.Thread(target=compute)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


async def there_and_back(nbytes: int, enough: Callable[[], bool]) -> None:
    """Send data again and again, until it is enough."""
    async with echoing() as address:
        comm = await connect(address, **security().get_connection_args("client"))
        while not enough():
            await comm.write([to_serialize(bytes(nbytes))])
            await comm.read()
        comm.abort()


@pytest.mark.parametrize("how", ["TLS", "within the node"])
def test_a_large_frame_waits_less_for_a_thread_that_computes(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if how == "TLS":
        monkeypatch.setattr(node_socket, "connect", lambda *_: None)
    with computing() as seen:
        # On a busy machine the thread sees little of what is quick.
        play(there_and_back(10_000_000, lambda: SOON in seen))
    assert seen == {ORDINARY, SOON}
    assert microseconds() == ORDINARY


def test_a_small_one_leaves_threads_as_they_are() -> None:
    with computing() as seen:
        times = iter(range(20))
        play(there_and_back(10_000, lambda: next(times, None) is None))
    assert seen == {ORDINARY}


def test_it_is_so_until_the_last_has_moved_its_own() -> None:
    with contextlib.ExitStack() as first:
        with gil.soon(MUCH), gil.soon(LITTLE):
            first.enter_context(gil.soon(MUCH))
            assert microseconds() == SOON
        assert microseconds() == SOON
    assert microseconds() == ORDINARY


def test_who_wants_it_sooner_keeps_that() -> None:
    sys.setswitchinterval(2e-6)
    try:
        with gil.soon(MUCH):
            assert microseconds() == 2
        assert microseconds() == 2
    finally:
        sys.setswitchinterval(ORDINARY / 1e6)


def test_a_fork_from_within_is_not_within() -> None:
    subprocess.run([sys.executable, "-c", FORK], check=True, timeout=60)
