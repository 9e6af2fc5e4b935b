"""Workers are retired and started again, and that is never taken for a loss."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from dask_runner.errors import ConfigError, UnavailableError
from dask_runner.hub import messages as m
from dask_runner.hub.members import Group, Member, Node
from dask_runner.hub.scaling import spread
from tests.unit.stage import UP, Stage, all_leave, playing, ready, workers

if TYPE_CHECKING:
    from tests.unit.stage import FakeRank


async def scaled(
    stage: Stage, ranks: list[FakeRank], to: int, staying: list[int]
) -> m.Retire:
    """Ask for so many workers; the scheduler keeps *staying*."""
    stage.state.scaling.ask(to, nearest=False)
    asked: m.Retire = await ranks[0].hears(m.Retire)
    ranks[0].say(m.Staying([str(number) for number in staying]))
    return asked


async def retired(stage: Stage, ranks: list[FakeRank], *gone: int) -> None:
    """Retire the workers of some ranks."""
    staying = [rank.rank for rank in ranks if rank.rank not in gone]
    await scaled(stage, ranks, len(staying), staying)
    for number in gone:
        ranks[number].say(m.WorkerLeft(str(number)))


def registered(stage: Stage) -> int:
    return sum(len(member.workers) for member in stage.state.members)


def test_fewer_workers_are_left_to_the_scheduler_and_more_to_the_nodes() -> None:
    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 3)
        asked = await scaled(stage, ranks, 1, [1])
        assert asked == m.Retire(1, ["0", "1", "2"])
        for number in (0, 2):
            ranks[number].say(m.WorkerLeft(str(number)))
        assert registered(stage) == 1
        await scaled(stage, ranks, 3, [1])
        for number in (0, 2):
            started = await ranks[number].hears(m.StartWorkers)
            assert started == m.StartWorkers([str(number)])
            ranks[number].say(m.WorkerUp(str(number)))
        assert registered(stage) == 3
        assert stage.state.scaling.capacity == 3
        assert not stage.said.warnings + stage.said.errors

    playing(3)(play)


def test_a_worker_is_started_again_only_when_it_has_ended() -> None:
    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 2)
        await scaled(stage, ranks, 1, [0])
        await scaled(stage, ranks, 2, [0])
        assert not ranks[1].channel.waiting()
        ranks[1].say(m.WorkerLeft("1"))
        assert await ranks[1].hears(m.StartWorkers) == m.StartWorkers(["1"])

    playing(2)(play)


def test_what_a_client_has_retired_is_started_again_too() -> None:
    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 2)
        # The scheduler knows it first, and then the node.
        await scaled(stage, ranks, 2, [0])
        ranks[1].say(m.WorkerLeft("1"))
        assert await ranks[1].hears(m.StartWorkers) == m.StartWorkers(["1"])

    playing(2)(play)


def test_the_last_word_counts() -> None:
    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 3)
        await retired(stage, ranks, 1, 2)
        stage.state.scaling.ask(3, nearest=False)
        stage.state.scaling.ask(2, nearest=False)
        await ranks[0].hears(m.Retire)
        ranks[0].say(m.Staying(["0"]))
        await ranks[1].hears(m.StartWorkers)
        assert not ranks[2].channel.waiting()
        # Three again, before the second one is up; then one.
        stage.state.scaling.ask(1, nearest=False)
        await ranks[0].hears(m.Retire)
        ranks[0].say(m.Staying(["0"]))
        ranks[1].say(m.WorkerUp("1"))
        assert await ranks[0].hears(m.Retire) == m.Retire(1, ["0", "1"])

    playing(3)(play)


def test_a_worker_that_comes_while_the_scheduler_is_asked_is_there() -> None:
    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 2)
        await retired(stage, ranks, 1)
        await scaled(stage, ranks, 2, [0])
        await ranks[1].hears(m.StartWorkers)
        stage.state.scaling.ask(2, nearest=False)
        assert await ranks[0].hears(m.Retire) == m.Retire(2, ["0"])
        ranks[1].say(m.WorkerUp("1"))
        ranks[0].say(m.Staying(["0"]))
        assert await scaled(stage, ranks, 1, [0]) == m.Retire(1, ["0", "1"])

    playing(2)(play)


def test_workers_that_cannot_be_retired_stay() -> None:
    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 2)
        await scaled(stage, ranks, 1, [0, 1])
        assert not ranks[0].channel.waiting()
        assert registered(stage) == 2

    playing(2)(play)


@pytest.mark.parametrize(
    ("number", "within", "words"),
    [(0, 1, "dask-runner stop"), (-1, 1, "dask-runner stop"), (3, 2, "offer 2")],
)
def test_what_cannot_be_is_refused_with_what_can(
    number: int, within: int, words: str
) -> None:
    async def play(stage: Stage) -> None:
        await ready(stage, 2)
        with pytest.raises(ConfigError) as refused:
            stage.state.scaling.ask(number, nearest=False)
        assert words in str(refused.value)
        assert "1 to 2 workers" in refused.value.needed
        assert stage.state.scaling.ask(number, nearest=True) == within

    playing(2)(play)


def test_min_workers_is_the_least() -> None:
    async def play(stage: Stage) -> None:
        await ready(stage, 3)
        with pytest.raises(ConfigError, match="--min-workers"):
            stage.state.scaling.ask(1, nearest=False)

    playing(3, min_workers=2)(play)


def test_a_cluster_that_is_not_ready_is_not_scaled() -> None:
    async def play(stage: Stage) -> None:
        ranks = await stage.ranks(0, 1)
        ranks[0].say(UP)
        with pytest.raises(UnavailableError, match="starting"):
            stage.state.scaling.ask(1, nearest=False)
        stage.state.close(0)
        with pytest.raises(UnavailableError, match="ending"):
            stage.state.scaling.ask(1, nearest=False)
        await all_leave(ranks)

    playing(2)(play)


def test_workers_without_our_nanny_are_not_scaled() -> None:
    async def play(stage: Stage) -> None:
        (rank,) = await stage.ranks(0)
        rank.say(UP)
        await rank.hears(m.Start)
        rank.say(m.WorkersUp(["0", "0-1"], 2, 2**30, again=False))
        await rank.hears(m.Ready)
        with pytest.raises(ConfigError, match="no nanny of ours"):
            stage.state.scaling.ask(1, nearest=False)

    playing(1)(play)


def test_the_loss_of_the_last_rank_that_works_starts_a_retired_worker() -> None:
    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 3)
        await retired(stage, ranks, 0, 2)
        ranks[1].channel.close()
        assert await ranks[0].hears(m.StartWorkers) == m.StartWorkers(["0"])
        ranks[0].say(m.WorkerUp("0"))
        assert registered(stage) == 1
        assert not stage.said.errors

    playing(3)(play)


def test_where_none_can_be_started_any_more_the_cluster_ends_with_the_cause() -> None:
    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 2)
        await retired(stage, ranks, 0)
        ranks[1].channel.close()
        await ranks[0].hears(m.StartWorkers)
        ranks[0].say(m.WorkerNotUp("0", "worker 0 did not start: no space", "", ""))
        await all_leave(ranks[:1])
        assert await stage.status() == 69
        assert "worker 0 did not start: no space" in stage.said.errors[0]

    playing(2)(play)


def test_a_worker_that_cannot_start_is_told_and_tried_again_when_next_asked() -> None:
    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 2)
        await retired(stage, ranks, 1)
        await scaled(stage, ranks, 2, [0])
        await ranks[1].hears(m.StartWorkers)
        ranks[1].say(m.WorkerNotUp("1", "worker 1 did not start: no space", "", ""))
        await asyncio.sleep(0)
        assert stage.said.warnings == ["rank 1 on c1: worker 1 did not start: no space"]
        assert not ranks[1].channel.waiting()
        await scaled(stage, ranks, 2, [0])
        await ranks[1].hears(m.StartWorkers)

    playing(2)(play)


def test_a_rank_that_is_lost_while_its_worker_starts_is_not_waited_for() -> None:
    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 3)
        await retired(stage, ranks, 1, 2)
        await scaled(stage, ranks, 2, [0])
        await ranks[1].hears(m.StartWorkers)
        ranks[1].channel.close()
        assert await ranks[2].hears(m.StartWorkers) == m.StartWorkers(["2"])

    playing(3)(play)


def test_a_message_of_ranks_that_are_up_still_says_all_that_they_have() -> None:
    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 2)
        await retired(stage, ranks, 1)
        ranks[1].say(workers(1))
        assert registered(stage) == 2

    playing(2)(play)


# --- which are started ---------------------------------------------------------


def member(rank: int, host: str, *there: str) -> Member:
    node = Node(host, None, 0.0, Group(3))  # type: ignore[arg-type]  # says nothing
    return Member(node, m.Hello(rank), there)


def test_workers_are_spread_over_hosts_and_then_over_ranks() -> None:
    first, second = member(0, "c1", "0"), member(1, "c1")
    third = member(2, "c2")
    can = {first: ["0-1"], second: ["1", "1-1"], third: ["2", "2-1"]}
    assert spread(1, can, []) == {third: ["2"]}
    assert spread(2, can, []) == {third: ["2"], second: ["1"]}
    assert spread(2, can, [third]) == {second: ["1"], third: ["2"]}
    assert sum(map(len, spread(9, can, []).values())) == 5
