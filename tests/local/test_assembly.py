"""Ranks that do not come, or find something else than rank 0: started by hand."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tests.conftest import DaskRunner
    from tests.running import Run

TEMPFAIL, UNAVAILABLE, CONFIG, KILLED = 75, 69, 78, 137


class ByHand:
    """Ranks of one launch, each started (or not) by the test."""

    def __init__(self, dask_runner: DaskRunner, place: Path, size: int) -> None:
        self._dask_runner = dask_runner
        self._variables = {
            "DASKRUNNER_SIZE": str(size),
            "DASKRUNNER_JOB_ID": f"test-{os.getpid()}",
            "DASKRUNNER_DIRECTORY": str(place),
        }

    def start(
        self, rank: int, *args: Any, more: Mapping[str, str] | None = None
    ) -> Run:
        env = {**self._variables, "DASKRUNNER_RANK": str(rank), **(more or {})}
        return self._dask_runner.start(*args, env=env, timeout=90)


@pytest.fixture
def by_hand(dask_runner: DaskRunner, tmp_path: Path) -> Callable[[int], ByHand]:
    place = tmp_path / "meeting"
    place.mkdir(0o700)
    return lambda size: ByHand(dask_runner, place, size)


def test_ranks_that_come_late_are_taken(by_hand: Callable[[int], ByHand]) -> None:
    ranks = by_hand(2)
    args = ("--timeout", 60, "-c", "print('both')")
    late = ranks.start(1, *args)
    first = ranks.start(0, *args)
    assert first.wait().stdout == "both\n"
    assert late.wait().status == 0


def test_missing_ranks_are_named_by_rank_0_alone(
    by_hand: Callable[[int], ByHand],
) -> None:
    ranks = by_hand(4)
    args = ("--timeout", 6, "-c", "print('never')")
    runs = [ranks.start(rank, *args) for rank in (0, 2)]
    first, second = (run.wait() for run in runs)
    assert first.status == TEMPFAIL, first
    assert "ranks 1, 3 of 4 did not arrive within 6 s" in first.stderr
    assert first.stderr.count("error: ") == 1
    assert not second.stderr, second
    assert "never" not in first.stdout


def test_without_rank_0_the_others_say_what_they_saw(
    by_hand: Callable[[int], ByHand],
) -> None:
    ranks = by_hand(3)
    args = ("--timeout", 3, "-c", "1")
    first, second = (ranks.start(rank, *args) for rank in (1, 2))
    one, two = first.wait(), second.wait()
    assert one.status == two.status == TEMPFAIL
    assert "rank 1 on " in one.stderr
    assert "waited 3 s for rank 0" in one.stderr
    assert "does not exist" in one.stderr
    assert not two.stderr  # the same once, not once a rank


def test_a_second_rank_of_the_same_number_is_refused(
    by_hand: Callable[[int], ByHand],
) -> None:
    ranks = by_hand(2)
    code = "import time; print('begun', flush=True); time.sleep(6)"
    runs = [ranks.start(rank, "-c", code) for rank in (0, 1)]
    runs[0].wait_for("begun", 60)
    third = ranks.start(1, "-c", code).wait()
    assert third.status == UNAVAILABLE, third
    ended = runs[0].wait()
    assert ended.status == 0, ended
    assert "a second rank 1" in ended.stderr
    assert runs[1].wait().status == 0


def test_a_rank_that_is_killed_while_running_is_told_and_the_script_goes_on(
    by_hand: Callable[[int], ByHand],
) -> None:
    ranks = by_hand(2)
    code = (
        "import time; from distributed import Client; c = Client();"
        "print('begun', flush=True); time.sleep(4);"
        "print(c.submit(sum, [1, 2]).result())"
    )
    runs = [ranks.start(rank, "-c", code) for rank in (0, 1)]
    runs[0].wait_for("begun", 60)
    runs[1].signal(signal.SIGKILL)
    ended = runs[0].wait()
    assert ended.status == 0, ended
    assert ended.stdout.endswith("3\n")
    assert "rank 1 on" in ended.stderr
    until(lambda: not runs[1].pids)


def test_when_rank_0_is_killed_the_others_end(
    by_hand: Callable[[int], ByHand],
) -> None:
    ranks = by_hand(2)
    code = "import time; print('begun', flush=True); time.sleep(600)"
    runs = [ranks.start(rank, "-c", code) for rank in (0, 1)]
    runs[0].wait_for("begun", 60)
    runs[0].signal(signal.SIGKILL)
    began = time.monotonic()
    ended = runs[1].wait()
    assert ended.status == UNAVAILABLE, ended
    assert time.monotonic() - began < 10
    assert "lost the hub" in ended.stderr
    until(lambda: not runs[0].pids)


def _half(path: Path, record: dict[str, Any]) -> None:
    path.write_text(json.dumps(record)[:80])


def _stale(path: Path, record: dict[str, Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        record["runner"]["port"] = server.getsockname()[1]
    path.write_text(json.dumps(record))


def _readable(path: Path, record: dict[str, Any]) -> None:
    path.write_text(json.dumps(record))
    path.chmod(0o644)


@pytest.mark.parametrize(
    ("lay", "word"),
    [
        (_half, "half-written"),
        (_stale, "does not answer"),
        (_readable, "can be read by others"),
    ],
)
def test_what_is_not_rank_0s_record_is_named_and_a_good_one_still_taken(
    dask_runner: DaskRunner,
    tmp_path: Path,
    lay: Callable[[Path, dict[str, Any]], None],
    word: str,
) -> None:
    place = tmp_path / "meeting"
    place.mkdir(0o700)
    path = place / "record.json"
    code = "import time; print('begun', flush=True); time.sleep(600)"
    ranks = ByHand(dask_runner, place, 2)
    args = ("--scheduler-file", path, "--timeout", 4, "-c", code)
    # A real record of this launch, by a rank 0 that then is gone.
    lost = ranks.start(0, *args[:2], "--timeout", 60, *args[4:])
    until(path.exists)
    record = json.loads(path.read_text())
    lost.signal(signal.SIGKILL)
    # Its agent withdraws the record before it ends as well.
    assert lost.wait().status == KILLED
    path.touch(0o600)
    path.chmod(0o600)
    lay(path, record)
    ended = ranks.start(1, *args).wait()
    assert ended.status == TEMPFAIL, ended
    assert word in ended.stderr, ended
    assert str(path) in ended.stderr


def test_ranks_that_name_mpis_of_two_families_are_refused(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    ranks = ByHand(dask_runner, tmp_path, 2)
    libraries = ("libmpi.so.40", "libmpi.so.12")
    first, second = (
        ranks.start(rank, "-c", "print(1)", more={"MPI4PY_LIBMPI": library})
        for rank, library in enumerate(libraries)
    )
    ended = first.wait()
    assert ended.status == CONFIG, ended
    assert "openmpi in rank 0; mpich in rank 1" in ended.stderr, ended
    assert second.wait().status == 0
