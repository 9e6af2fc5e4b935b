"""The packages of a cluster, as ranks and the user are told of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from dask_runner.hub import messages as m
from dask_runner.hub import packages
from tests.unit.hub.test_joins import comes
from tests.unit.stage import UP, Stage, playing, workers

if TYPE_CHECKING:
    import pytest

ARCHIVE = m.Packages("/home/me/a.tar", "a")

SOON = 0.3


def of(stage: Stage) -> packages.AddedPackages:
    return stage.state.shared.packages


def test_ranks_that_are_there_and_those_that_come_later_are_told() -> None:
    async def play(stage: Stage) -> None:
        zero = await stage.rank(0)
        of(stage).found(ARCHIVE, 3, 1.25)
        one = await stage.rank(1)
        for rank in (zero, one):
            assert await rank.hears(m.Packages) == ARCHIVE
        assert "3 packages beside the image's, resolved in 1.2 s" in stage.said.notes

    playing(2, **{"with": ["a"]})(play)


def test_a_rank_hears_of_them_before_it_starts() -> None:
    async def play(stage: Stage) -> None:
        ranks = await stage.ranks(0, 1)
        of(stage).found(ARCHIVE, 1, 0.0)
        ranks[0].say(UP)
        for rank in ranks:
            heard = [type(rank._for_rank(one)) for one in rank.channel.waiting()]  # noqa: SLF001
            assert heard.index(m.Packages) < heard.index(m.Start)
        assert stage.said.notes[-1] == "1 package beside the image's, from the cache"

    playing(2, **{"with": ["a"]})(play)


def test_without_any_nobody_is_told_but_a_join_which_does_not_know() -> None:
    async def play(stage: Stage) -> None:
        zero = await stage.rank(0)
        zero.say(UP)
        await zero.hears(m.Start)
        rank = await comes(stage, 0, 1)
        assert await rank.hears(m.Packages) == m.Packages("", "")
        told = [zero._for_rank(one) for one in zero.channel.waiting()]  # noqa: SLF001
        assert not any(isinstance(one, m.Packages) for one in told)

    playing(1)(play)


def test_ranks_have_their_time_once_the_packages_are_there() -> None:
    async def play(stage: Stage) -> None:
        ranks = await stage.ranks(0, 1)
        await asyncio.sleep(3 * SOON)
        assert not stage.said.errors
        of(stage).found(ARCHIVE, 1, 1.0)
        ranks[0].say(UP)
        for rank in ranks:
            await rank.hears(m.Start)
            rank.say(workers(rank.rank))
        await ranks[0].hears(m.Ready)

    playing(2, timeout=SOON, **{"with": ["a"]})(play)


def test_ranks_that_are_late_after_that_are_told_as_ever() -> None:
    async def play(stage: Stage) -> None:
        await stage.ranks(0, 1)
        of(stage).found(ARCHIVE, 1, 1.0)
        await stage.until(lambda: stage.said.errors)
        assert "the scheduler was not up within" in stage.said.errors[0]

    playing(2, timeout=SOON, **{"with": ["a"]})(play)


def test_a_rank_that_does_not_come_is_not_waited_for_because_of_packages() -> None:
    async def play(stage: Stage) -> None:
        await stage.rank(0)
        await stage.until(lambda: stage.said.errors)
        assert stage.said.errors[0].startswith("rank 1 of 2 did not arrive within")

    playing(2, timeout=SOON, **{"with": ["a"]})(play)


def test_a_long_resolution_is_told_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(packages, "TELLS_SECONDS", 0.05)

    async def play(stage: Stage) -> None:
        of(stage).resolving()
        line = "rank 0 resolves 2 requirements, 0 s so far"
        await stage.until(lambda: stage.said.notes.count(line) > 1)
        of(stage).found(ARCHIVE, 1, 1.0)
        told = len(stage.said.notes)
        await asyncio.sleep(0.2)
        assert len(stage.said.notes) == told

    playing(1, with_requirements=["f"], **{"with": ["a"]})(play)
