"""How processes of this machine stand still, and end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from dask_runner.node import exits

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    code = "print(flush=True); import time; time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as one:
        assert one.stdout is not None
        one.stdout.readline()
        yield one
        one.kill()


def test_a_stopped_process_is_told_from_one_that_sleeps(
    sleeper: subprocess.Popen[bytes],
) -> None:
    assert not exits.is_stopped(sleeper.pid)
    sleeper.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, sleeper.pid, os.WSTOPPED)
    assert exits.is_stopped(sleeper.pid)
    sleeper.send_signal(signal.SIGCONT)
    os.waitid(os.P_PID, sleeper.pid, os.WCONTINUED)
    assert not exits.is_stopped(sleeper.pid)


@pytest.mark.parametrize("number", [signal.SIGSEGV, 37])
def test_the_status_of_anybodys_child_is_known_until_somebody_waits_for_it(
    sleeper: subprocess.Popen[bytes], number: int
) -> None:
    born = exits.birth(sleeper.pid)
    assert exits.ended(sleeper.pid, born) is None

    sleeper.send_signal(number)
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert exits.ended(sleeper.pid, born) == -number

    sleeper.wait()
    assert exits.ended(sleeper.pid, born) == exits.UNKNOWN


def test_a_later_process_of_the_same_number_is_another(
    sleeper: subprocess.Popen[bytes],
) -> None:
    assert exits.ended(sleeper.pid, "1") == exits.UNKNOWN
