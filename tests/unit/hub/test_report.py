"""What is printed, and that printing never ends a job."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

from dask_runner.errors import ConfigError
from dask_runner.hub import messages as m
from dask_runner.hub.members import Group, Member, Node
from dask_runner.hub.report import Reporter, memory_in_words, say
from dask_runner.launch.world import World

if TYPE_CHECKING:
    import pytest

    from dask_runner.errors import RunnerError

WORLD = World("slurm", 0, 4, 0, 2, "4711", "slurm.4711", "file")


def test_every_line_is_marked_as_ours() -> None:
    stream = io.StringIO()
    say("one\ntwo", stream)
    assert stream.getvalue() == "dask-runner: one\ndask-runner: two\n"


def test_a_message_is_written_at_once_so_that_ranks_do_not_mix_lines() -> None:
    writes: list[str] = []

    class Stream(io.StringIO):
        def write(self, text: str) -> int:
            writes.append(text)
            return len(text)

    error: RunnerError = ConfigError("saw", "needed", "do")
    say(error, Stream())
    assert writes == [
        "dask-runner: saw\ndask-runner:   needed: needed\ndask-runner:   you can: do\n"
    ]


def test_a_line_is_printed_while_the_stream_is_in_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class InUse(io.TextIOWrapper):
        def write(self, text: str) -> int:
            # What Python says when the handler of a signal comes in between.
            raise RuntimeError(f"reentrant call: {text}")

    reading, writing = os.pipe()
    with open(reading) as told, InUse(open(writing, "wb")) as stream:  # noqa: PTH123
        monkeypatch.setattr("sys.stderr", stream)
        monkeypatch.setattr("sys.__stderr__", stream)
        say("naïve")
        assert told.readline() == "dask-runner: naïve\n"


def test_the_start_tells_of_spare_nodes(capsys: pytest.CaptureFixture[str]) -> None:
    Reporter(quiet=False).start(WORLD, "shared", 2)
    assert capsys.readouterr().err == (
        "dask-runner: slurm job 4711: 4 ranks, layout shared, 2 spare\n"
    )


def test_the_memory_can_be_followed_from_what_was_given_to_a_worker() -> None:
    given = m.Given(3 << 30, "SLURM_MEM_PER_CPU=1536 MiB x 2 CPUs", 512 << 20)
    one, two = (
        Member(Node("c1", None, 0.0, Group(2)), m.Hello(rank), workers, memory=memory)  # type: ignore[arg-type]
        for rank, workers, memory in ((0, ("0", "0-1"), 2 << 30), (1, ("1",), 2 << 30))
    )
    assert memory_in_words(given, [one, two]) == (
        "memory: 3.0 GiB a rank (SLURM_MEM_PER_CPU=1536 MiB x 2 CPUs), 512.0 MiB of "
        "rank 0's for scheduler and client: 1.0 GiB to 2.0 GiB a worker"
    )
    alone = m.Given(3 << 30, "memory of the node", 0)
    assert memory_in_words(alone, [two]) == (
        "memory: 3.0 GiB a rank (memory of the node): 2.0 GiB a worker"
    )


def test_quiet_leaves_errors_and_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    report = Reporter(quiet=True)
    report.start(WORLD, "shared", 0)
    report.note("a note")
    report.ended(0, 1.0)
    assert capsys.readouterr().err == ""
    report.warn("careful")
    report.error(ConfigError("wrong"))
    assert capsys.readouterr().err == (
        "dask-runner: warning: careful\ndask-runner: error: wrong\n"
    )
