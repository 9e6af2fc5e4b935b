"""What a rank has to do with the other ranks of its node."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from dask_runner.launch.launch import Launch
from dask_runner.launch.plan import make_plan
from dask_runner.launch.settings import settle
from dask_runner.node.agent_sharing import AgentSharing
from dask_runner.node.follower import Beside
from tests.unit.records import world

NAME = "dask-runner-0-slurm-4711-0"


def sharing(
    *, listening: socket.socket | None = None, mpi_tasks: bool = False, **place: Any
) -> AgentSharing:
    beside = Beside()
    beside.name, beside.listening = NAME, listening
    launch = Launch(
        world(**{"local_size": 4, **place}),
        make_plan(4, "shared"),
        settle({"mpi_tasks": mpi_tasks}, {}),
        {},
    )
    return AgentSharing.of(launch, beside)


def test_the_first_rank_of_a_node_leads_if_it_has_the_nodes_socket() -> None:
    with socket.socket(socket.AF_UNIX) as held:
        leads = sharing(local_rank=0, listening=held)
    assert (leads.leads, leads.have_agent) == (True, False)
    squatted = sharing(local_rank=0)
    assert (squatted.leads, squatted.have_agent) == (False, False)


def test_another_rank_asks_for_the_leaders_agent() -> None:
    asks = sharing(local_rank=1)
    assert (asks.leads, asks.asks_at, asks.have_agent) == (False, NAME, True)


@pytest.mark.parametrize(
    "alone",
    [{"mpi_tasks": True}, {"key": ""}, {"local_rank": None}, {"local_size": 1}],
    ids=str,
)
def test_a_rank_that_can_share_nothing_has_its_own_agent(alone: dict[str, Any]) -> None:
    assert sharing(**{"local_rank": 1, **alone}) == AgentSharing()
