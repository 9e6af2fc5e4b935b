"""The lines at the end of a run."""

from __future__ import annotations

from typing import Any

from dask_runner.hub.end_block import lines, size

GIB = 2**30


def report(**other: Any) -> dict[str, Any]:
    return {
        "seconds": {"start": 0.7, "run": 720.0, "end": 0.1, "total": 721.0},
        "cpu": {"seconds": 16000.0, "seconds_allotted": 22500.0, "share": 0.71},
        "memory": {"peak": 3 * GIB, "allotted": 16 * GIB},
        "nodes": [{"name": "c1", "cpus": 16}, {"name": "c2", "cpus": 16}],
        "workers": [worker("0", 1), worker("2-0", 3)],
        "work": {
            "tasks_done": 12345,
            "tasks_erred": 0,
            "tasks_computed_again": 0,
            "tasks_broken_off": 0,
            "idle": 0.09,
            "bytes_moved": 0,
            "bytes_spilled": 0,
        },
        "losses": [],
    } | other


def worker(name: str, peak: int) -> dict[str, Any]:
    memory = {"memory_limit": 4 * GIB, "memory_peak": peak * GIB}
    return {"name": name, "deaths": 0} | memory


def loss(name: str, cause: str = "was killed by SIGKILL") -> dict[str, Any]:
    return {
        "after": 61.2,
        "what": "worker",
        "name": name,
        "node": "c2",
        "cause": cause,
        "then": "started again",
    }


def test_a_long_run_tells_what_it_used() -> None:
    assert lines(report()) == [
        (
            "used 71% of 32 CPUs on 2 nodes (4 h 26 min of CPU time), ran for 12 min; "
            "workers' threads were idle for 9%"
        ),
        "memory: at most 3.0 GiB of 16.0 GiB; worker 2-0 had 3.0 GiB of its 4.0 GiB",
        "tasks: 12,345 done",
    ]


def test_a_short_run_tells_only_of_trouble() -> None:
    short = {"seconds": {"start": 0.7, "run": 5.0, "end": 0.1, "total": 6.0}}
    assert lines(report(**short)) == []
    assert lines(report(**short, workers=[worker("0", 4)]))
    spilled = report()["work"] | {"bytes_spilled": 5, "tasks_erred": 2}
    assert lines(report(**short, work=spilled))[-1] == (
        "tasks: 12,345 done, 2 failed; 5 B spilled to disk"
    )
    assert lines(report(**short, losses=[loss("1")]))[-1] == (
        "lost: worker 1 on c2 after 1 min 1 s: was killed by SIGKILL"
    )


def test_a_run_that_was_never_ready_tells_nothing() -> None:
    seconds = {"start": None, "run": None, "end": 0.1, "total": 60.0}
    assert lines(report(seconds=seconds, losses=[loss("1")])) == []


def test_many_losses_are_few_lines() -> None:
    each = [loss("1"), loss("1"), *(loss(str(number)) for number in range(2, 9))]
    told = [line for line in lines(report(losses=each)) if line.startswith("lost")]
    assert told[0] == (
        "lost: worker 1 on c2 after 1 min 1 s, 2 times: was killed by SIGKILL"
    )
    assert told[-1] == "lost: 3 more, which --report FILE.json lists"
    assert len(told) == 6


def test_what_is_not_known_is_left_out() -> None:
    nothing = {"seconds": None, "seconds_allotted": None, "share": None}
    none = {"peak": None, "allotted": None}
    told = report(cpu=nothing, memory=none, workers=[], work=None, losses=[loss("1")])
    assert len(lines(told)) == 1


def test_sizes_have_three_digits() -> None:
    assert [size(n) for n in (0, 5 << 10, 386 << 20, 3 << 30, 3 << 40)] == [
        *("0 B", "5.0 KiB", "386 MiB", "3.0 GiB", "3.0 TiB")
    ]
