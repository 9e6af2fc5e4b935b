"""The name of a node's socket, and who believes whom there."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from dask_runner.node import node_socket
from dask_runner.node.follower import OVERFLOW, Beside
from tests.unit.records import world

if TYPE_CHECKING:
    from dask_runner.launch.world import World

WORLD = world(rank=3, local_rank=1, local_size=4)


def test_ranks_of_one_launch_look_for_the_same_socket() -> None:
    leader = replace(WORLD, rank=2, local_rank=0)
    assert node_socket.name_of(WORLD) == node_socket.name_of(leader)


def test_another_launch_has_another_socket() -> None:
    other = replace(WORLD, key="slurm-4711.1")
    assert node_socket.name_of(other) != node_socket.name_of(WORLD)


@pytest.mark.parametrize(
    "other",
    [{"key": ""}, {"local_rank": None}, {"local_size": 1}],
    ids=["no key", "unknown place", "alone"],
)
def test_a_rank_that_cannot_tell_or_is_alone_shares_nothing(
    other: dict[str, Any],
) -> None:
    assert node_socket.may_share(WORLD)
    assert not node_socket.may_share(replace(WORLD, **other))
    assert settled(replace(WORLD, **other)).name == ""


def settled(world: World, name: str = "") -> Beside:
    beside = Beside()
    beside.name = name
    node_socket.claim_late(beside, world)
    return beside


def test_a_name_that_was_known_at_a_glance_stays() -> None:
    assert settled(WORLD, "dask-runner-0-slurm-4711-0").name.endswith("4711-0")
    assert settled(WORLD).name == node_socket.name_of(WORLD)


def test_where_users_prove_nothing_nobody_shares(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, other = socket.socketpair()
    with one, other:
        assert node_socket.of_this_user(one)
        monkeypatch.setattr(os, "geteuid", lambda: OVERFLOW)
        monkeypatch.setattr(node_socket, "peer", lambda _: (1, OVERFLOW))
        assert not node_socket.of_this_user(one)
    assert not node_socket.may_share(WORLD)
