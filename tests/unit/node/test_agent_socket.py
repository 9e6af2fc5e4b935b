"""How ranks of a node find their agent, and what it may do for them."""

from __future__ import annotations

import json
import os
import socket
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from dask_runner.hub.typed_json import read, write
from dask_runner.launch.world import World
from dask_runner.node import agent_socket
from dask_runner.node.follower import OVERFLOW
from dask_runner.resources.cgroups import Limit
from dask_runner.resources.machine import Snapshot, take

if TYPE_CHECKING:
    from pathlib import Path

WORLD = World("slurm", 3, 8, 1, 4, "4711", "slurm-4711.0", "file")


def test_ranks_of_one_launch_look_for_the_same_agent() -> None:
    one = agent_socket.home(WORLD, {"SLURM_PROCID": "3", "LANG": "C"})
    other = agent_socket.home(
        replace(WORLD, rank=2, local_rank=0), {"SLURM_PROCID": "2"}
    )
    assert one == other
    assert one.startswith("dask-runner-")


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
def test_what_acts_before_a_process_begins_makes_another_agent(
    environ: dict[str, str],
) -> None:
    assert agent_socket.home(WORLD, environ) != agent_socket.home(WORLD, {})


def test_another_launch_has_another_agent() -> None:
    assert agent_socket.home(
        replace(WORLD, key="slurm-4711.1"), {}
    ) != agent_socket.home(WORLD, {})


@pytest.mark.parametrize(
    "other",
    [{"key": ""}, {"local_rank": None}, {"local_size": 1}],
    ids=["no key", "unknown place", "alone"],
)
def test_a_rank_that_cannot_tell_or_is_alone_shares_no_agent(
    other: dict[str, Any],
) -> None:
    assert agent_socket.home(replace(WORLD, **other), {}) == ""


def test_where_users_prove_nothing_there_is_no_home(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, other = socket.socketpair()
    with one, other:
        assert agent_socket.of_this_user(one)
        monkeypatch.setattr(os, "geteuid", lambda: OVERFLOW)
        monkeypatch.setattr(agent_socket, "peer", lambda _: (1, OVERFLOW))
        assert not agent_socket.of_this_user(one)
    assert agent_socket.home(WORLD, {}) == ""


# --- places -------------------------------------------------------------------


@pytest.fixture
def snapshot() -> Snapshot:
    return replace(take({}), limits=(), environ={})


def place(snapshot: Snapshot, private: Path, **other: Any) -> agent_socket.Place:
    return replace(agent_socket.Place.of(snapshot, private), **other)


def test_an_agent_can_speak_for_a_rank_with_its_own_place(
    snapshot: Snapshot, tmp_path: Path
) -> None:
    mine = place(snapshot, tmp_path)
    assert mine.why_not(mine) == ""


def test_a_place_survives_its_journey(snapshot: Snapshot, tmp_path: Path) -> None:
    mine = place(snapshot, tmp_path)
    assert read(agent_socket.Place, json.loads(write(mine))) == mine


def test_a_rank_in_another_directory_has_its_worker_there(
    snapshot: Snapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = place(snapshot, tmp_path)
    monkeypatch.chdir(tmp_path)
    rank = place(snapshot, tmp_path)
    assert rank.directory == str(tmp_path)
    assert rank.why_not(agent) == ""


def test_an_agent_declines_a_directory_that_it_does_not_see(
    snapshot: Snapshot, tmp_path: Path
) -> None:
    agent = place(snapshot, tmp_path)
    gone = replace(agent, private=str(tmp_path / "gone"))
    assert "directories" in gone.why_not(agent)


def test_an_agent_declines_cpus_outside_its_cpuset(
    snapshot: Snapshot, tmp_path: Path
) -> None:
    agent = place(snapshot, tmp_path)
    beyond = max(agent_socket.reachable()) + 1
    rank = place(snapshot, tmp_path, cpus=[beyond])
    assert "CPUs" in rank.why_not(agent)


def test_an_agent_gives_cpus_that_it_is_not_bound_to_itself(
    snapshot: Snapshot, tmp_path: Path
) -> None:
    mask = os.sched_getaffinity(0)
    agent = place(snapshot, tmp_path)
    rank = place(snapshot, tmp_path, cpus=[max(mask)])
    os.sched_setaffinity(0, {min(mask)})
    try:
        assert rank.why_not(agent) == ""
        assert os.sched_getaffinity(0) == {min(mask)}
    finally:
        os.sched_setaffinity(0, mask)


def test_an_agent_declines_a_rank_with_a_limit_of_its_own(
    snapshot: Snapshot, tmp_path: Path
) -> None:
    def limited(group: str, *, own: bool) -> agent_socket.Place:
        limit = Limit("memory", group, "memory.max", "1073741824", own=own)
        return place(replace(snapshot, limits=(limit,)), tmp_path)

    step = "/slurm/job_1/step_0/user"
    shared = limited(step, own=False)
    assert shared.why_not(shared) == ""
    one, two = (limited(f"{step}/task_{rank}", own=True) for rank in (0, 1))
    assert "limit" in two.why_not(one)


@pytest.mark.parametrize("text", ["max", "max 100000", "-1", str(2**63 - 4096)])
def test_a_limit_that_is_none_sets_nobody_apart(
    snapshot: Snapshot, tmp_path: Path, text: str
) -> None:
    limit = Limit("memory", "/task_1", "memory.max", text, own=True)
    rank = place(replace(snapshot, limits=(limit,)), tmp_path)
    assert rank.why_not(place(snapshot, tmp_path)) == ""


def test_an_agent_declines_a_rank_with_other_gpus(
    snapshot: Snapshot, tmp_path: Path
) -> None:
    one, two = (
        place(replace(snapshot, environ={"CUDA_VISIBLE_DEVICES": card}), tmp_path)
        for card in "01"
    )
    assert one.why_not(one) == ""
    assert "GPUs" in two.why_not(one)
    assert "GPUs" in two.why_not(place(snapshot, tmp_path))


def test_the_interpreter_is_part_of_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    before = agent_socket.home(WORLD, {})
    monkeypatch.setattr(sys, "executable", "/elsewhere/python")
    assert agent_socket.home(WORLD, {}) != before
