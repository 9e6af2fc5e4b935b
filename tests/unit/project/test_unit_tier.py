"""What the unit tier does not do is refused, where its tests run."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable


def _listens() -> None:
    socket.create_server(("127.0.0.1", 0))


def _connects() -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect("\0nobody")


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize(
    "start",
    [
        lambda: subprocess.run([sys.executable, "-c", ""], check=True),
        os.fork,
        lambda: os.system("true"),  # noqa: S605
        _listens,
        _connects,
    ],
)
def test_a_unit_test_that_starts_something_fails(
    start: Callable[[], object], refused: list[str]
) -> None:
    with pytest.raises(AssertionError, match="a unit test that starts something"):
        start()
    assert len(refused) == 1


def test_an_event_loop_is_no_connection() -> None:
    one, other = socket.socketpair()
    with one, other:
        one.send(b"x")
        assert other.recv(1) == b"x"
