"""Whoever is stopped in its last moments is killed by the kernel, or left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from dask_runner.node.kill_timer import end_watch

CODE = """
import os, signal, sys
from dask_runner.node.kill_timer import die_in
die_in(1)
if "lives" in sys.argv:
    die_in(0)
    signal.sigtimedwait([], 2)
    print("lives")
else:
    os.kill(os.getpid(), signal.SIGSTOP)
"""


def ended(*args: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-c", CODE, *args]
    return subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)


def test_who_is_stopped_and_not_continued_dies_in_time() -> None:
    assert ended().returncode == -signal.SIGKILL


def test_who_has_changed_its_mind_lives() -> None:
    done = ended("lives")
    assert (done.returncode, done.stdout) == (0, "lives\n")


def test_a_child_that_watches_is_ended_even_if_it_is_stopped() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    child.send_signal(signal.SIGSTOP)
    end_watch(str(child.pid))
    with pytest.raises(ChildProcessError):
        os.waitpid(child.pid, os.WNOHANG)
    child.wait()


@pytest.mark.parametrize("word", ["", "0", "-1", "1", "x", "9" * 30, str(os.getppid())])
def test_what_is_no_child_is_left_alone(word: str) -> None:
    end_watch(word)
