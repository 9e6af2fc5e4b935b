"""What the kernel tells of processes that died or stand still."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from dask_runner.node import exits
from dask_runner.node.exits import Ended
from dask_runner.resources.cgroups import oom_kills

if TYPE_CHECKING:
    from pathlib import Path

MOUNTS = {
    "memory.events": "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
    "memory.oom_control": "30 23 0:26 / /sys/fs/cgroup rw - cgroup cgroup rw,memory\n",
}
GROUPS = {
    "memory.events": "0::/job/task\n",
    "memory.oom_control": "4:memory:/job/task\n",
}


@pytest.mark.parametrize("file", MOUNTS)
def test_kills_for_memory_are_read_from_the_control_group(
    tmp_path: Path, file: str
) -> None:
    group = tmp_path / "sys/fs/cgroup/job/task"
    group.mkdir(parents=True)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/mountinfo").write_text(MOUNTS[file])
    (tmp_path / "proc/self/cgroup").write_text(GROUPS[file])
    assert oom_kills(tmp_path) == 0
    (group / file).write_text("low 0\noom 3\noom_kill 2\noom_group_kill 0\n")
    assert oom_kills(tmp_path) == 2


def test_a_kill_is_the_kernels_only_if_its_count_has_risen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts = iter([5, 5, 6, 7])
    monkeypatch.setattr(exits, "oom_kills", lambda: next(counts))
    kills = exits.Kills()
    assert kills.why(-signal.SIGKILL) == ""
    assert "out of memory" in kills.why(-signal.SIGKILL)
    assert kills.why(-signal.SIGSEGV) == ""
    assert kills.why(1) == ""


def test_nothing_is_known_of_a_process_that_is_not_there() -> None:
    assert not exits.is_stopped(2**22 + 1)


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_stands_still_for_longer_than_the_silence_is_found() -> None:
    clock = Clock()
    stopped = exits.StoppedProcesses(10, clock, {7}.__contains__)
    for now, found in ((5, []), (10, []), (15, [7])):
        clock.now = now
        assert stopped.too_long({7, 8}, 5) == found


def test_what_goes_on_begins_anew() -> None:
    clock = Clock()
    standing = {7}
    stopped = exits.StoppedProcesses(6, clock, lambda pid: pid in standing)
    for now in (5, 10, 15):
        clock.now = now
        if now == 10:
            standing.clear()
        assert stopped.too_long({7}, 5) == []
        standing.add(7)
    clock.now = 20
    assert stopped.too_long({7}, 5) == [7]


def test_the_time_in_which_the_whole_job_was_suspended_does_not_count() -> None:
    clock = Clock()
    stopped = exits.StoppedProcesses(30, clock, {7}.__contains__)
    clock.now = 3600
    assert stopped.too_long({7}, 5) == []


@pytest.mark.parametrize(
    ("ended", "words"),
    [
        (Ended(-9), "was killed by SIGKILL"),
        (Ended(-9, "it stood"), "was killed by SIGKILL (it stood)"),
        (Ended(-37), "was killed by signal 37"),
        (Ended(3), "ended with status 3"),
        (Ended(0, known=False), "is gone"),
    ],
)
def test_an_end_is_told_as_far_as_it_is_known(ended: Ended, words: str) -> None:
    assert str(ended) == words


def test_a_signal_without_a_name_has_a_shells_status() -> None:
    assert Ended(-37).shell_status == 165
