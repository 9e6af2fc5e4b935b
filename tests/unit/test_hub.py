"""The hub's decisions, with ranks that speak the real protocol over loopback."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from dask_runner import door, ending, link, roles
from dask_runner import messages as m
from dask_runner.cluster import Cluster as State
from dask_runner.hub import Hub
from dask_runner.rendezvous import Record
from dask_runner.report import Reporter
from dask_runner.settings import settle
from dask_runner.world import World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from dask_runner.channel import Channel
    from dask_runner.errors import RunnerError

LOOPBACK = "127.0.0.1"
PATIENCE = 5.0


class Said(Reporter):
    """Keeps what would have been printed."""

    def __init__(self) -> None:
        super().__init__(quiet=False)
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self.errors: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def error(self, error: RunnerError | str) -> None:
        self.errors.append(str(error))


class FakeRank:
    """A rank as the hub sees it."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel

    def say(self, message: m.Message) -> None:
        self.channel.send(message)

    async def hears(self, kind: type[Any]) -> Any:
        """Return the next message of a kind; fail if the end comes first."""
        async with asyncio.timeout(PATIENCE):
            while (message := await self.channel.receive()) is not None:
                if isinstance(message, kind):
                    return message
        raise AssertionError(f"the hub hung up before {kind.__name__}")

    async def leaves(self) -> None:
        """Say bye when told to close, and hang up at the end."""
        await self.hears(m.Close)
        self.say(m.Bye())
        await self.hears(m.Finish)
        self.channel.close()


class Stage:
    """A hub and the ranks that have connected to it."""

    def __init__(self, size: int, layout: str, **given: Any) -> None:
        self.said = Said()
        world = World("slurm", 0, size, None, None, "1", "slurm.1", "file")
        settings = settle({"timeout": PATIENCE, **given}, {})
        self.state = State(world, roles.plan(size, layout), settings, self.said)
        self.hub = Hub(self.state, self.said, settings.silence)
        self._port = 0
        self._ranks: list[FakeRank] = []

    async def open(self) -> None:
        self._port = await self.hub.open(LOOPBACK)
        self.finished = asyncio.create_task(self.state.finished())

    async def shut(self) -> None:
        self.finished.cancel()
        await self.hub.shut()
        for rank in self._ranks:
            await rank.channel.closed()

    async def connect(self) -> FakeRank:
        record = Record(
            "k", "n", "c1", LOOPBACK, self._port, self.hub.secret.hex(), "", ""
        )
        rank = FakeRank(await link.connect(record, PATIENCE))
        self._ranks.append(rank)
        return rank

    async def rank(
        self, number: int, node: str = "c1", *, placed: bool = True
    ) -> FakeRank:
        rank = await self.connect()
        rank.say(m.Hello(number, node, placed))
        return rank

    async def ranks(self, *numbers: int) -> list[FakeRank]:
        return [await self.rank(number) for number in numbers]

    async def status(self) -> int:
        async with asyncio.timeout(PATIENCE + 3):
            return await asyncio.shield(self.finished)

    async def until(self, reached: Callable[[], object]) -> None:
        """Wait until something that the hub does without telling has happened."""
        async with asyncio.timeout(PATIENCE):
            while not reached():  # noqa: ASYNC110  it tells nobody
                await asyncio.sleep(0.01)


UP = m.SchedulerUp("tcp://127.0.0.1:1", 8787)


def workers(rank: int) -> m.WorkersUp:
    return m.WorkersUp([str(rank)], 2, 2**30)


def playing(
    size: int, layout: str = "shared", **given: Any
) -> Callable[[Callable[[Stage], Coroutine[Any, Any, None]]], None]:
    """Run a play with a cluster of so many ranks."""

    @asynccontextmanager
    async def staged() -> AsyncIterator[Stage]:
        stage = Stage(size, layout, **given)
        await stage.open()
        try:
            yield stage
        finally:
            await stage.shut()

    def run(play: Callable[[Stage], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            async with staged() as cluster:
                await play(cluster)

        asyncio.run(main())

    return run


async def ready(stage: Stage, size: int) -> list[FakeRank]:
    """Bring all ranks to the point where the client has begun."""
    ranks = await stage.ranks(*range(size))
    ranks[0].say(UP)
    for number, rank in enumerate(ranks):
        await rank.hears(m.Start)
        rank.say(workers(number))
    await ranks[0].hears(m.Ready)
    return ranks


async def all_leave(ranks: list[FakeRank]) -> None:
    await asyncio.gather(*(rank.leaves() for rank in ranks))


# --- the way to ready -------------------------------------------------------


def test_a_cluster_comes_up_and_ends_with_the_clients_status() -> None:
    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 3)
        ranks[0].say(m.ClientEnded(7, ""))
        await all_leave(ranks)
        assert await stage.status() == 7
        assert not stage.said.errors
        assert not stage.said.warnings
        assert len(stage.said.notes) <= 4

    playing(3)(play)


def test_in_the_dedicated_layout_rank_1_gets_the_client() -> None:
    async def play(stage: Stage) -> None:
        ranks = await stage.ranks(0, 1, 2)
        ranks[0].say(UP)
        await ranks[2].hears(m.Start)
        ranks[2].say(workers(2))
        assert (await ranks[1].hears(m.Ready)).nworkers == 1

    playing(3, "dedicated")(play)


def test_workers_start_before_all_ranks_are_there() -> None:
    async def play(stage: Stage) -> None:
        (one,) = await stage.ranks(0)
        one.say(UP)
        assert (await one.hears(m.Start)).address == UP.address

    playing(2)(play)


def test_ranks_that_are_not_placed_are_counted_by_node_when_all_are_there() -> None:
    async def play(stage: Stage) -> None:
        nodes = ["c1", "c2", "c1", "c2"]
        ranks = [
            await stage.rank(number, node, placed=False)
            for number, node in enumerate(nodes)
        ]
        ranks[0].say(UP)
        starts = [await rank.hears(m.Start) for rank in ranks]
        places = [(start.local_rank, start.local_size) for start in starts]
        assert places == [(0, 2), (0, 2), (1, 2), (1, 2)]

    playing(4)(play)


def test_only_the_planned_scheduler_can_say_that_it_is_up() -> None:
    async def play(stage: Stage) -> None:
        zero, one = await stage.ranks(0, 1)
        one.say(m.SchedulerUp("tcp://127.0.0.1:666", 0))
        zero.say(UP)
        assert (await one.hears(m.Start)).address == UP.address

    playing(2)(play)


def test_min_workers_begins_with_fewer_and_takes_late_ones() -> None:
    async def play(stage: Stage) -> None:
        zero, one = await stage.ranks(0, 1)
        zero.say(UP)
        one.say(workers(1))
        assert (await zero.hears(m.Ready)).nworkers == 1
        (late,) = await stage.ranks(2)
        assert (await late.hears(m.Start)).address == UP.address

    playing(3, min_workers=1)(play)


# --- ranks that do not come, or come twice ----------------------------------


def test_missing_ranks_are_named_at_the_timeout() -> None:
    async def play(stage: Stage) -> None:
        ranks = await stage.ranks(0, 2)
        await all_leave(ranks)
        assert await stage.status() == 75
        (error,) = stage.said.errors
        assert "ranks 1, 3 of 4 did not arrive within 0.3 s" in error
        assert "needed: " in error
        assert "you can: " in error

    playing(4, timeout=0.3)(play)


def test_a_scheduler_that_does_not_come_up_is_named_at_the_timeout() -> None:
    async def play(stage: Stage) -> None:
        await all_leave(await stage.ranks(0, 1))
        assert await stage.status() == 75
        assert "scheduler" in stage.said.errors[0]

    playing(2, timeout=0.3)(play)


def test_ranks_without_workers_are_named_at_the_timeout() -> None:
    async def play(stage: Stage) -> None:
        ranks = await stage.ranks(0, 1, 2)
        ranks[0].say(UP)
        ranks[0].say(workers(0))
        await all_leave(ranks)
        assert await stage.status() == 75
        assert "rank 1 on c1, rank 2 on c1" in stage.said.errors[0]

    playing(3, timeout=0.3)(play)


def test_a_second_rank_with_the_same_number_is_refused_and_the_first_stays() -> None:
    async def play(stage: Stage) -> None:
        first, second = await stage.rank(0), await stage.rank(0, "c9")
        async with asyncio.timeout(PATIENCE):
            assert await second.channel.receive() is None
        assert "second rank 0 on c9" in stage.said.warnings[0]
        first.say(UP)
        await first.hears(m.Start)

    playing(2)(play)


@pytest.mark.parametrize("number", [-1, 2, 10**9])
def test_a_rank_that_is_none_of_the_world_is_refused(number: int) -> None:
    async def play(stage: Stage) -> None:
        stranger = await stage.rank(number)
        async with asyncio.timeout(PATIENCE):
            assert await stranger.channel.receive() is None
        assert stage.said.warnings
        assert not stage.finished.done()

    playing(2)(play)


def test_who_does_not_begin_with_hello_is_refused() -> None:
    async def play(stage: Stage) -> None:
        rank = await stage.connect()
        rank.say(m.Ping())
        async with asyncio.timeout(PATIENCE):
            assert await rank.channel.receive() is None
        assert "Hello" in stage.said.warnings[0]

    playing(2)(play)


def test_strangers_are_warned_of_once_and_do_no_harm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(link, "HANDSHAKE", 0.2)

    async def play(stage: Stage) -> None:
        for _ in range(20):
            reader, writer = await asyncio.open_connection(
                LOOPBACK,
                stage._port,  # noqa: SLF001
            )
            writer.write(b"GET / HTTP/1.1\r\n" * 10)
            await reader.read()
            writer.close()
        await ready(stage, 2)
        assert len(stage.said.warnings) == 1

    playing(2)(play)


def test_silent_strangers_do_not_keep_the_ranks_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(link, "HANDSHAKE", 0.5)

    async def play(stage: Stage) -> None:
        crowd = [
            await asyncio.open_connection(LOOPBACK, stage._port)  # noqa: SLF001
            for _ in range(door.STRANGERS + 8)
        ]
        record = Record(
            "k",
            "n",
            "c1",
            LOOPBACK,
            stage._port,  # noqa: SLF001
            stage.hub.secret.hex(),
            "",
            "",
        )
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    channel = await link.connect(record, 2)
                    break
                except link.StrangerError:
                    continue
        await channel.closed()
        for _, writer in crowd:
            writer.close()

    playing(2)(play)


# --- losses -----------------------------------------------------------------


def test_a_rank_that_fails_before_ready_ends_the_cluster_with_its_name() -> None:
    async def play(stage: Stage) -> None:
        ranks = await stage.ranks(0, 1)
        ranks[1].say(m.Failed("no such module: foo", "", "", 78))
        await all_leave(ranks)
        assert await stage.status() != 0
        text = "\n".join(stage.said.warnings + stage.said.errors)
        assert "rank 1 on c1" in text
        assert "no such module: foo" in text

    playing(2)(play)


def test_a_rank_lost_before_ready_ends_the_cluster() -> None:
    async def play(stage: Stage) -> None:
        zero, one = await stage.ranks(0, 1)
        zero.say(UP)
        await one.hears(m.Start)
        one.channel.close()
        await zero.leaves()
        assert await stage.status() == 75
        assert "rank 1 on c1" in "\n".join(stage.said.warnings)

    playing(2)(play)


def test_a_rank_lost_before_ready_is_not_missed_with_min_workers() -> None:
    async def play(stage: Stage) -> None:
        zero, one, two = await stage.ranks(0, 1, 2)
        zero.say(UP)
        two.channel.close()
        await stage.until(lambda: stage.said.warnings)
        zero.say(workers(0))
        one.say(workers(1))
        await zero.hears(m.Ready)

    playing(3, min_workers=2)(play)


def test_a_rank_lost_while_running_is_told_and_not_missed() -> None:
    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 3)
        ranks[2].channel.close()
        await stage.until(lambda: stage.said.warnings)
        assert stage.said.warnings == ["rank 2 on c1 was lost: its connection closed"]
        ranks[0].say(m.ClientEnded(0, ""))
        await all_leave(ranks[:2])
        assert await stage.status() == 0

    playing(3)(play)


def test_the_cluster_ends_when_its_last_worker_is_lost() -> None:
    async def play(stage: Stage) -> None:
        ranks = await stage.ranks(0, 1, 2)
        ranks[0].say(UP)
        await ranks[2].hears(m.Start)
        ranks[2].say(workers(2))
        await ranks[1].hears(m.Ready)
        ranks[2].channel.close()
        await all_leave(ranks[:2])
        assert await stage.status() == 75
        assert stage.said.errors

    playing(3, "dedicated")(play)


def test_the_cluster_ends_when_the_clients_rank_is_lost() -> None:
    async def play(stage: Stage) -> None:
        ranks = await stage.ranks(0, 1, 2)
        ranks[1].channel.close()
        await all_leave([ranks[0], ranks[2]])
        assert await stage.status() == 69
        assert "rank 1 on c1 with the client" in stage.said.errors[0]

    playing(3, "dedicated")(play)


def test_a_failed_scheduler_ends_the_cluster_with_its_reason() -> None:
    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 2)
        ranks[0].say(m.Failed("the scheduler was killed by SIGKILL", "a", "b", 69))
        await all_leave(ranks)
        assert await stage.status() == 69
        assert "SIGKILL" in stage.said.errors[0]

    playing(2)(play)


def test_a_rank_that_sends_garbage_is_lost() -> None:
    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 3)
        ranks[2].channel._writer.write(b"\0\0\0\2" + b"x" * 34)  # noqa: SLF001
        await stage.until(lambda: stage.said.warnings)
        assert "rank 2 on c1 was lost" in stage.said.warnings[0]

    playing(3)(play)


def test_a_message_that_no_rank_may_send_is_a_loss_and_no_crash() -> None:
    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 3)
        ranks[2].say(m.Finish())
        await stage.until(lambda: stage.said.warnings)
        ranks[0].say(m.ClientEnded(0, ""))
        await all_leave(ranks[:2])
        assert await stage.status() == 0

    playing(3)(play)


def test_a_silent_rank_is_lost() -> None:
    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 2)

        async def beat() -> None:
            while True:
                ranks[0].say(m.Ping())
                await asyncio.sleep(0.05)

        beating = asyncio.create_task(beat())
        await stage.until(lambda: len(stage.said.warnings) > 1)
        beating.cancel()
        assert "rank 1 on c1 was silent" in stage.said.warnings[0]
        assert not stage.finished.done()

    playing(2, silence=0.3)(play)


# --- signals ----------------------------------------------------------------


def test_a_signal_to_every_rank_reaches_the_client_once() -> None:
    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 3)
        for rank in ranks:
            rank.say(m.Signalled(15))
        assert (await ranks[0].hears(m.Signalled)).number == 15
        ranks[0].say(m.ClientEnded(143, ""))
        ended = await ranks[0].hears(m.Close)
        assert ended.status == 143
        ranks[0].say(m.Bye())

    playing(3)(play)


def test_a_client_that_ignores_a_signal_is_closed_after_its_grace() -> None:
    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 2)
        ranks[1].say(m.Signalled(15))
        await ranks[0].hears(m.Signalled)
        await all_leave(ranks)
        assert await stage.status() == 143

    playing(2, grace=0.2)(play)


def test_a_second_ctrl_c_ends_at_once() -> None:
    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 2)
        ranks[0].say(m.Signalled(2))
        await ranks[0].hears(m.Signalled)
        ranks[0].say(m.Signalled(2))
        await all_leave(ranks)
        assert await stage.status() == 130

    playing(2, grace=60)(play)


def test_a_signal_before_ready_ends_at_once() -> None:
    async def play(stage: Stage) -> None:
        ranks = await stage.ranks(0, 1)
        ranks[1].say(m.Signalled(15))
        await all_leave(ranks)
        assert await stage.status() == 143

    playing(3, timeout=60)(play)


def test_a_script_that_handles_a_signal_decides_on_the_status() -> None:
    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 1)
        ranks[0].say(m.Signalled(15))
        await ranks[0].hears(m.Signalled)
        ranks[0].say(m.ClientEnded(3, ""))
        await all_leave(ranks)
        assert await stage.status() == 3

    playing(1)(play)


# --- the end ----------------------------------------------------------------


def test_a_rank_that_comes_after_the_end_learns_it() -> None:
    async def play(stage: Stage) -> None:
        (zero,) = await stage.ranks(0)
        zero.say(m.Failed("a wrong option", "", "", 78))
        await zero.hears(m.Close)
        zero.say(m.Bye())
        (late,) = await stage.ranks(1)
        assert (await late.hears(m.Close)).status == 78
        late.say(m.Bye())
        await zero.hears(m.Finish)
        await late.hears(m.Finish)
        zero.channel.close()
        late.channel.close()
        assert await stage.status() == 78

    playing(2)(play)


def test_the_first_reason_to_end_decides() -> None:
    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 2)
        ranks[0].say(m.ClientEnded(0, ""))
        await ranks[0].hears(m.Close)
        ranks[0].say(m.Failed("the scheduler was killed", "", "", 69))
        ranks[0].say(m.Bye())
        ranks[1].channel.close()
        await ranks[0].hears(m.Finish)
        ranks[0].channel.close()
        assert await stage.status() == 0
        assert not stage.said.errors

    playing(2)(play)


def test_ranks_that_do_not_say_bye_are_not_awaited_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ending, "STOP", 0.1)
    monkeypatch.setattr(ending, "LEAVE", 0.1)

    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 2)
        ranks[0].say(m.ClientEnded(0, ""))
        assert await stage.status() == 0

    playing(2, grace=0.1)(play)


def test_a_client_that_shuts_the_cluster_down_goes_on_alone() -> None:
    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 2)
        ranks[0].say(m.SchedulerClosed())
        ranks[0].say(m.ClientEnded(0, ""))
        await all_leave(ranks)
        assert await stage.status() == 0
        assert not stage.said.errors

    playing(2)(play)
