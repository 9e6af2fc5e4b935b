"""The unit tier starts nothing: what a test of it must not do fails the test."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Iterator

# For another Python (tests/images): that a property holds is shown by more elsewhere.
settings.register_profile(
    "few", settings.get_profile("ci"), max_examples=5, stateful_step_count=10
)

#: Python's audit events for processes, and for sockets that anybody else can reach.
#: The socket pair of an event loop is nobody's but its own.
FORBIDDEN = frozenset(
    {
        "os.exec",
        "os.fork",
        "os.forkpty",
        "os.posix_spawn",
        "os.spawn",
        "os.system",
        "pty.spawn",
        "socket.bind",
        "socket.connect",
        "socket.getaddrinfo",
        "socket.gethostbyname",
        "socket.sendto",
        "subprocess.Popen",
    }
)


class _Guard:
    """A hook, which Python never takes away again, that is on while a test runs."""

    def __init__(self) -> None:
        self.on = False
        self.seen: list[str] = []

    def __call__(self, event: str, args: tuple[object, ...]) -> None:
        if self.on and event in FORBIDDEN:
            self.seen.append(f"{event}{args}")
            raise AssertionError(f"a unit test that starts something: {event}{args}")


_GUARD = _Guard()
sys.addaudithook(_GUARD)


@pytest.fixture
def refused() -> Iterator[list[str]]:
    """What this test has been refused, which is what it is about."""
    yield _GUARD.seen
    _GUARD.seen.clear()


@pytest.fixture(autouse=True)
def _starts_nothing() -> Iterator[None]:
    """Fail a test that starts a process or opens a connection, and say which."""
    _GUARD.seen.clear()
    _GUARD.on = True
    yield
    _GUARD.on = False
    # Also where the code under test has taken the refusal for an error of the system.
    assert not _GUARD.seen
