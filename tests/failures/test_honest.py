"""The table of honest ends: whoever is killed at whatever moment, there is one."""

import re
from itertools import product

import pytest

from tests.failures.kills.draw import OPTIONS, PER_NODE, PHASES, SIGNALS, Draw
from tests.failures.kills.honest import ALL, ROWS, Blow, honest, row
from tests.failures.kills.table import lines
from tests.failures.kills.timeline import OVER
from tests.failures.kills.victims import KINDS, victims
from tests.failures.parts import Process

SEEDS = range(2000)
TWO_A_NODE = Draw(0, "shared", 2, (), "running", 0.5, 9, (0.0, 0.0))


def blow(
    kind: str, number: int, phase: str, *, rank: int = 0, layout: str = "shared"
) -> Blow:
    draw = Draw(0, layout, 2, (), phase, 0.5, number, (0.0, 0.0))
    return Blow(draw, kind, rank, number, (phase,))


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_an_end_at_each_moment_by_each_signal(kind: str) -> None:
    for number, phase, layout in product(SIGNALS, [*PHASES, OVER], PER_NODE):
        for rank in range(4):
            found = honest(blow(kind, number, phase, rank=rank, layout=layout))
            assert found
            for one in found:
                re.compile(one.says)
                assert one.statuses
                assert not {2, 78} & one.statuses


@pytest.mark.parametrize("number", range(len(ROWS)))
def test_each_row_is_for_somebody(number: int) -> None:
    found = {
        ROWS.index(row(kind, signal, phase))
        for kind, signal, phase in product(KINDS, SIGNALS, ALL)
    }
    assert number in found


def test_a_seed_draws_the_same_run_again() -> None:
    assert [Draw.of(seed) for seed in SEEDS] == [Draw.of(seed) for seed in SEEDS]


def test_all_is_drawn_that_there_is() -> None:
    draws = [Draw.of(seed) for seed in SEEDS]
    assert {one.number for one in draws} == {*SIGNALS}
    assert {one.phase for one in draws} == {*PHASES}
    assert {one.options for one in draws} == {*OPTIONS}
    assert {(one.layout, one.per_node) for one in draws} == {
        (layout, number) for layout, numbers in PER_NODE.items() for number in numbers
    }


def process(
    pid: int, parent: int, name: str, words: str = "", rank: int = 2
) -> Process:
    return Process("c2", pid, parent, rank, name, words, "S")


def test_each_process_is_told_by_its_name_and_its_parent() -> None:
    top = "/opt/dask-runner/bin/python3 /opt/dask-runner/libexec/dask-runner -c x"
    start = "/opt/dask-runner/bin/python3 -P -m dask_runner.programs.start"
    agent = f"{start} programs.agent 8 log {{}}"
    found = victims(
        [
            process(1, 0, "starter", "Apptainer runtime parent: dask-runner.sif"),
            process(2, 1, "dask-runner", top),
            process(3, 2, "dask-agent", agent),
            process(4, 3, "dask-agent", agent),
            process(5, 3, "dask-forkserver", agent),
            process(6, 5, "dask-forkserver", agent),
            process(7, 5, "dask-worker", agent),
            process(8, 3, "dask-tracker", agent),
            process(9, 2, "dask-scheduler", agent),
            process(10, 2, "dask-client", agent),
            process(11, 0, "dask-follower", "dask-runner -c x", rank=3),
            process(12, 0, "starter", "Apptainer runtime parent", rank=3),
            process(13, 12, "starter", "starter", rank=3),
        ],
        TWO_A_NODE,
    )
    assert [one.kind for one in found] == [
        "container",
        "leader",
        "agent",
        "newborn",
        "forkserver",
        "newborn",
        "worker",
        "tracker",
        "scheduler",
        "client",
        "follower",
        "container",
        "newcomer",
    ]


def test_each_kind_is_as_likely_as_any_other() -> None:
    many = victims([process(pid, 0, "dask-worker") for pid in range(9)], Draw.of(0))
    few = victims([process(10, 0, "dask-client")], Draw.of(0))

    picked = [Draw.of(seed).pick(many + few).kind for seed in SEEDS]

    assert 0.4 < picked.count("client") / len(SEEDS) < 0.6


def test_the_table_counts_what_was_late_and_what_was_wrong() -> None:
    rows = [
        {"kind": "hub", "signal": "SIGKILL", "seconds": 2.0, "seed": 5, "faults": []},
        {
            "kind": "hub",
            "signal": "SIGKILL",
            "seconds": 61.8,
            "seed": 7,
            "faults": ["ended after 61.8 s, not 15"],
        },
    ]

    words = lines(rows)[1].split()
    assert words == ["hub", "SIGKILL", "2", "1", "1", "61.8", "s", "(7)"]
