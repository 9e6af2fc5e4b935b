"""Joins come at any time, and leave in order; what they lose is a loss like another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dask_runner.errors import ConfigError, UnavailableError
from dask_runner.hub import messages as m
from dask_runner.hub.requests import AskJoin
from tests.unit.stage import FakeRank, Stage, all_leave, playing, ready

if TYPE_CHECKING:
    from collections.abc import Sequence

TERM, USR1 = 15, 10
#: Long enough for no test to wait for it.
GRACE = 30.0


async def comes(
    stage: Stage, rank: int, size: int, *, key: str = "slurm.2", **more: Any
) -> FakeRank:
    """Connect one rank of a join, each on a node of its own."""
    asked = {
        "launcher": "slurm",
        "job_id": "2",
        "grace": GRACE,
        "leaves_in": -1.0,
        "last_grace": GRACE,
        **more,
    }
    found = FakeRank(await stage.connect(), rank)
    found.channel.send(AskJoin(f"d{rank}", key, size, **asked))
    await found.hears(m.Joined)
    found.say(m.Hello(rank, local_size=1))
    return found


async def joined(stage: Stage, size: int, **more: Any) -> list[FakeRank]:
    """Have a join come whose workers are up."""
    ranks = [await comes(stage, number, size, **more) for number in range(size)]
    number = stage.state.joins.states[-1].name
    for rank in ranks:
        await rank.hears(m.Start)
        rank.say(m.WorkersUp([f"{number}.{rank.rank}"], 2, 2**30))
    return ranks


def joined_names(stage: Stage) -> list[str]:
    return [join.name for join in stage.state.joins.states]


def names(stage: Stage) -> list[str]:
    return sorted(name for one in stage.state.members for name in one.workers)


async def leave(ranks: Sequence[FakeRank], join: str = "j1") -> None:
    for rank in ranks:
        rank.say(m.WorkerLeft(f"{join}.{rank.rank}"))
    await all_leave([*ranks])


def test_a_join_adds_workers_and_takes_them_away_in_order() -> None:
    async def play(stage: Stage) -> None:
        own = await ready(stage, 2)
        ranks = await joined(stage, 2)
        assert names(stage) == ["0", "1", "j1.0", "j1.1"]
        assert stage.said.notes[-1] == "join j1: 2 ranks of slurm job 2"
        gone = stage.state.joins.stop("j1", "me on c1")
        retired = await own[0].hears(m.RetireAll)
        assert retired == m.RetireAll(["j1.0", "j1.1"], GRACE)
        await leave(ranks)
        assert gone.is_set()
        assert names(stage) == ["0", "1"]
        assert stage.said.notes[-2:] == [
            "join j1 leaves: stopped by me on c1",
            "join j1 has left",
        ]
        assert not stage.said.warnings + stage.said.errors

    playing(2)(play)


def test_joins_are_numbered_and_nodes_of_one_launch_are_one_join() -> None:
    async def play(stage: Stage) -> None:
        await ready(stage, 1)
        await joined(stage, 2)
        await joined(stage, 2, key="slurm.3")
        assert joined_names(stage) == ["j1", "j2"]
        # Processes that are alone have no key that nobody else has.
        await joined(stage, 1, key="local-7")
        await joined(stage, 1, key="local-7")
        assert joined_names(stage) == ["j1", "j2", "j3", "j4"]

    playing(1)(play)


def test_a_launch_whose_nodes_have_all_left_is_a_new_join_when_one_comes_back() -> None:
    async def play(stage: Stage) -> None:
        await ready(stage, 1)
        ranks = await joined(stage, 2)
        stage.state.joins.stop("j1", "me")
        with pytest.raises(UnavailableError, match="join j1 is ending"):
            await comes(stage, 0, 2)
        await leave(ranks)
        await joined(stage, 2)
        assert joined_names(stage) == ["j2"]

    playing(1)(play)


@pytest.mark.parametrize("has_left", [False, True])
def test_a_node_that_comes_when_its_join_leaves_leaves_with_it(
    *, has_left: bool
) -> None:
    async def play(stage: Stage) -> None:
        await ready(stage, 1)
        early = await comes(stage, 0, 2)
        await early.hears(m.Start)
        early.say(m.WorkersUp(["j1.0"], 2, 2**30))
        gone = stage.state.joins.stop("j1", "me")
        if has_left:
            await leave([early])
            assert gone.is_set()
        late = await comes(stage, 1, 2)
        if not has_left:
            early.say(m.WorkerLeft("j1.0"))
        staying = [late] if has_left else [early, late]
        await all_leave(staying)
        assert joined_names(stage) == []
        assert gone.is_set()
        assert names(stage) == ["0"]
        assert stage.said.notes.count("join j1 has left") == 1
        # Both have been there: what comes now is another join.
        await joined(stage, 2)
        assert joined_names(stage) == ["j2"]

    playing(1)(play)


def test_a_join_may_come_before_the_cluster_is_ready_and_is_not_waited_for() -> None:
    async def play(stage: Stage) -> None:
        early = await comes(stage, 0, 2)
        await ready(stage, 2)
        assert await early.hears(m.Start)

    playing(2)(play)


def test_the_first_signal_retires_and_a_second_one_to_the_same_rank_ends() -> None:
    async def play(stage: Stage) -> None:
        own = await ready(stage, 1)
        ranks = await joined(stage, 2)
        ranks[0].say(m.Signalled(USR1))
        for rank in ranks:  # srun signals them all
            rank.say(m.Signalled(TERM))
        assert await own[0].hears(m.RetireAll)
        assert names(stage) == ["0", "j1.0", "j1.1"]
        ranks[1].say(m.Signalled(TERM))
        for rank in ranks:
            await rank.hears(m.Close)
            rank.say(m.Bye())
        for rank in ranks:
            assert (await rank.hears(m.Finish)).status == 128 + TERM
            rank.channel.close()
        assert not stage.said.warnings
        assert joined_names(stage) == []

    playing(1)(play)


def test_workers_that_do_not_finish_in_time_are_told_of_and_ended() -> None:
    async def play(stage: Stage) -> None:
        await ready(stage, 1)
        (rank,) = await joined(stage, 1, grace=0.05)
        stage.state.joins.stop("j1", "me")
        await rank.leaves()
        (warning,) = stage.said.warnings
        assert warning.startswith("join j1: 1 worker has not finished within 0.05 s")

    playing(1)(play)


def test_a_join_leaves_before_its_job_ends() -> None:
    async def play(stage: Stage) -> None:
        own = await ready(stage, 1)
        await joined(stage, 1, leaves_in=0.05, last_grace=50.0, grace=0.01)
        assert (await own[0].hears(m.RetireAll)).seconds == 50
        assert "join j1 leaves: its job ends soon" in stage.said.notes

    playing(1)(play)


def test_workers_that_come_up_while_their_join_leaves_are_retired_too() -> None:
    async def play(stage: Stage) -> None:
        own = await ready(stage, 1)
        first, second = [await comes(stage, number, 2) for number in range(2)]
        for rank in (first, second):
            await rank.hears(m.Start)
        first.say(m.WorkersUp(["j1.0"], 2, 0))
        stage.state.joins.stop("j1", "me")
        second.say(m.WorkersUp(["j1.1"], 2, 0))
        assert (await own[0].hears(m.RetireAll)).names == ["j1.0"]
        assert (await own[0].hears(m.RetireAll)).names == ["j1.1"]

    playing(1)(play)


def test_a_lost_rank_of_a_join_costs_what_a_lost_rank_costs() -> None:
    async def play(stage: Stage) -> None:
        own = await ready(stage, 2)
        ranks = await joined(stage, 2)
        ranks[1].channel.close()
        assert (await own[0].hears(m.WorkersLost)).names == ["j1.1"]
        await stage.until(lambda: stage.said.warnings)
        assert stage.said.warnings == [
            "lost rank 1 of join j1 on d1: no connection any more"
        ]
        assert names(stage) == ["0", "1", "j1.0"]
        ranks[0].channel.close()
        assert joined_names(stage) == []

    playing(2)(play)


def test_a_loss_of_a_join_does_not_end_a_cluster_that_is_not_ready() -> None:
    async def play(stage: Stage) -> None:
        early = await comes(stage, 1, 2)
        early.say(m.Failed("no room", "room", "make room", 78))
        dismissed = await early.hears(m.Dismiss)
        early.channel.close()
        assert (dismissed.status, dismissed.prints) == (78, True)
        await ready(stage, 2)
        assert not stage.said.errors

    playing(2)(play)


def test_an_error_of_all_ranks_of_a_join_is_printed_by_one() -> None:
    async def play(stage: Stage) -> None:
        await ready(stage, 1)
        ranks = await joined(stage, 3)
        for rank in ranks:
            rank.say(m.Failed("no room", "room", "make room", 78))
        told = [(await rank.hears(m.Dismiss)).prints for rank in ranks]
        assert told == [True, False, False]
        for rank in ranks:
            rank.channel.close()
        await stage.until(lambda: len(stage.said.warnings) == 3)
        assert all("no room" in warning for warning in stage.said.warnings)

    playing(1)(play)


def test_the_end_of_the_cluster_ends_its_joins_with_0() -> None:
    async def play(stage: Stage) -> None:
        own = await ready(stage, 1)
        ranks = await joined(stage, 2)
        own[0].say(m.ClientEnded(3, ""))
        for rank in (*ranks, *own):
            await rank.hears(m.Close)
            rank.say(m.Bye())
        for rank in ranks:
            assert await rank.hears(m.Finish) == m.Finish(0, "the cluster has ended")
            rank.channel.close()
        assert await stage.status() == 3
        with pytest.raises(UnavailableError, match="is ending"):
            await comes(stage, 0, 1)

    playing(1)(play)


def test_only_a_join_that_is_there_can_be_stopped() -> None:
    async def play(stage: Stage) -> None:
        await ready(stage, 1)
        with pytest.raises(ConfigError, match="no join 'j1'"):
            stage.state.joins.stop("j1", "me")
        await joined(stage, 1)
        with pytest.raises(ConfigError, match="'j2'") as caught:
            stage.state.joins.stop("j2", "me")
        assert caught.value.needed == "one of j1"

    playing(1)(play)


def test_a_second_rank_of_the_same_number_is_refused_in_its_join_alone() -> None:
    async def play(stage: Stage) -> None:
        await ready(stage, 2)
        await joined(stage, 2)
        again = await comes(stage, 1, 2)
        assert await again.hears(m.Refused) == m.Refused(1)
        assert stage.said.warnings == ["a second rank 1 of join j1 on d1, refused"]

    playing(2)(play)
