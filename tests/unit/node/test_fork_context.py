"""What an agent may do for the ranks of its node."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from dask_runner.launch.launch import Launch
from dask_runner.launch.plan import make_plan
from dask_runner.launch.settings import settle
from dask_runner.node import fork_context
from dask_runner.node.fork_context import Borrow, ForkContext
from dask_runner.resources.cgroups import Limit
from dask_runner.resources.machine import Snapshot, take
from dask_runner.wire.message import decode, encode
from tests.unit.records import world

if TYPE_CHECKING:
    from pathlib import Path


def context(
    private: Path,
    environ: dict[str, str] | None = None,
    settings: dict[str, Any] | None = None,
    **snapshot: Any,
) -> ForkContext:
    """Return that of a rank here; its snapshot has no limits and no GPUs."""
    launch = Launch(
        world(local_rank=1, local_size=4),
        make_plan(4, "shared"),
        settle(settings or {}, {}),
        {} if environ is None else environ,
    )
    seen: Snapshot = replace(take({}), **{"limits": (), "environ": {}, **snapshot})
    return ForkContext.of(launch, seen, private)


def test_an_agent_can_fork_for_a_rank_like_its_own(tmp_path: Path) -> None:
    mine = context(tmp_path)
    other = world(rank=2, local_rank=0, local_size=4)
    assert mine.why_not(replace(mine, world=other)) == ""


def test_a_context_survives_its_journey(tmp_path: Path) -> None:
    message = Borrow(context(tmp_path))
    assert decode(encode(message)) == message


@pytest.mark.parametrize(
    "other", [{"key": "slurm.4711.1"}, {"size": 5}, {"local_size": 3}], ids=str
)
def test_an_agent_is_not_for_another_launch(
    tmp_path: Path, other: dict[str, Any]
) -> None:
    mine = context(tmp_path)
    stranger = replace(mine, world=replace(mine.world, **other))
    assert "launch" in stranger.why_not(mine)


@pytest.mark.parametrize(
    "environ",
    [
        {"DASK_LOGGING__DISTRIBUTED": "debug"},
        {"PYTHONPATH": "/mine"},
        {"LD_PRELOAD": "/mine.so"},
        {"APPTAINER_CONTAINER": "/images/other.sif"},
    ],
    ids=lambda environ: next(iter(environ)),
)
def test_an_agent_declines_what_acts_before_a_process_begins(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    assert "start" in context(tmp_path, environ).why_not(context(tmp_path))


def test_the_interpreter_acts_before_a_process_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = fork_context.at_startup({})
    monkeypatch.setattr(sys, "executable", "/elsewhere/python")
    assert fork_context.at_startup({}) != before


@pytest.mark.parametrize("environ", [{"LANG": "C"}, {"DASK_RUNNER__NTHREADS": "2"}])
def test_other_variables_do_no_harm(tmp_path: Path, environ: dict[str, str]) -> None:
    assert context(tmp_path, environ).why_not(context(tmp_path)) == ""


def test_a_class_of_the_users_gets_no_variables_of_another_rank(
    tmp_path: Path,
) -> None:
    own = {"worker_class": "distributed.Nanny"}
    plain, more = context(tmp_path, {}, own), context(tmp_path, {"OWN": "1"}, own)
    assert "class" in plain.why_not(more)
    assert more.why_not(plain) == ""


@pytest.mark.parametrize("side", [0, 1])
def test_workers_without_a_nanny_have_their_ranks_own_agent(
    tmp_path: Path, side: int
) -> None:
    pair = [context(tmp_path), context(tmp_path)]
    pair[side] = context(tmp_path, {}, {"nanny": False})
    assert "nanny" in pair[0].why_not(pair[1])


def test_a_rank_in_another_directory_has_its_worker_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = context(tmp_path)
    monkeypatch.chdir(tmp_path)
    rank = context(tmp_path)
    assert rank.directories[0] == str(tmp_path)
    assert rank.why_not(agent) == ""


def test_an_agent_declines_a_directory_that_it_does_not_see(tmp_path: Path) -> None:
    agent = context(tmp_path)
    gone = replace(agent, directories=(agent.directories[0], str(tmp_path / "gone")))
    assert "directories" in gone.why_not(agent)


def test_an_agent_declines_cpus_outside_its_cpuset(tmp_path: Path) -> None:
    beyond = max(fork_context.reachable()) + 1
    assert "CPUs" in context(tmp_path, cpus=(beyond,)).why_not(context(tmp_path))


def test_an_agent_gives_cpus_that_it_is_not_bound_to_itself(tmp_path: Path) -> None:
    mask = os.sched_getaffinity(0)
    agent, rank = context(tmp_path), context(tmp_path, cpus=(max(mask),))
    os.sched_setaffinity(0, {min(mask)})
    try:
        assert rank.why_not(agent) == ""
        assert os.sched_getaffinity(0) == {min(mask)}
    finally:
        os.sched_setaffinity(0, mask)


def test_an_agent_declines_a_rank_with_a_limit_of_its_own(tmp_path: Path) -> None:
    def limited(group: str, *, own: bool) -> ForkContext:
        limit = Limit("memory", group, "memory.max", "1073741824", own=own)
        return context(tmp_path, limits=(limit,))

    step = "/slurm/job_1/step_0/user"
    shared = limited(step, own=False)
    assert shared.why_not(shared) == ""
    one, two = (limited(f"{step}/task_{rank}", own=True) for rank in (0, 1))
    assert "limit" in two.why_not(one)


@pytest.mark.parametrize("text", ["max", "max 100000", "-1", str(2**63 - 4096)])
def test_a_limit_that_is_none_sets_nobody_apart(tmp_path: Path, text: str) -> None:
    limit = Limit("memory", "/task_1", "memory.max", text, own=True)
    assert context(tmp_path, limits=(limit,)).why_not(context(tmp_path)) == ""


def test_an_agent_declines_a_rank_with_other_gpus(tmp_path: Path) -> None:
    one, two = (context(tmp_path, environ={}, settings={}) for _ in range(2))
    one, two = (
        replace(each, devices=(f"CUDA_VISIBLE_DEVICES={card}", "0::/job"))
        for each, card in ((one, 0), (two, 1))
    )
    assert one.why_not(one) == ""
    assert "GPUs" in two.why_not(one)
    assert "GPUs" in two.why_not(context(tmp_path))


def test_the_gpus_of_a_rank_are_those_that_its_variables_name(tmp_path: Path) -> None:
    launch = Launch(world(local_rank=1), make_plan(4, "shared"), settle({}, {}), {})
    seen = replace(take({}), environ={"CUDA_VISIBLE_DEVICES": "1"})
    first, *_ = ForkContext.of(launch, seen, tmp_path).devices
    assert first == "CUDA_VISIBLE_DEVICES=1"
