"""Logs that come over the hub, of ranks that read them as real ones do."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from dask_runner.errors import UnavailableError
from dask_runner.hub import ask as asking
from dask_runner.hub import messages as m
from dask_runner.hub import requests as r
from dask_runner.node import log_files
from tests.local.served import Served
from tests.unit.stage import PATIENCE, all_leave, playing, ready

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from dask_runner.wire.channel import Channel
    from dask_runner.wire.message import Message
    from tests.unit.stage import FakeRank


class Answers:
    """Answers for the logs of a rank, and counts how often."""

    def __init__(self, rank: FakeRank, logs: dict[str, Path]) -> None:
        self.count = 0
        self.ended = False
        self._rank = rank
        self._logs = {name: str(path) for name, path in logs.items()}
        self.task = asyncio.create_task(self._play())

    async def _play(self) -> None:
        while True:
            message = await self._next()
            if message is None:
                return
            self.count += 1
            self._rank.say(await log_files.answer(message, lambda: self._logs))

    async def _next(self) -> m.AskLines | None:
        while (message := await self._rank.channel.receive()) is not None:
            if isinstance(message, m.Close):
                self.ended = True
                return None
            if isinstance(message, m.OfRank):
                if isinstance(message.message, m.AskLines):
                    return message.message
                if isinstance(message.message, m.AskActivity):
                    self._rank.say(m.Activity(0, 0.0))
        return None


@asynccontextmanager
async def logs(
    stage: Served, of: str = "", *, follows: bool = False
) -> AsyncIterator[Channel]:
    async with asking.asking(stage.record(), r.AskLogs(of, follows=follows)) as channel:
        yield channel


async def next_of(channel: Channel) -> Message | None:
    async with asyncio.timeout(PATIENCE):
        while isinstance(message := await channel.receive(), m.Ping):
            """It is there."""
    return message


async def shown(channel: Channel) -> list[Message]:
    """Return all that comes, to the end of it."""
    found: list[Message] = []
    while (message := await next_of(channel)) is not None:
        found.append(message)
        if isinstance(message, (r.AllShown, r.Denied, r.WillEnd)):
            break
    return found


def write(tmp_path: Path, **texts: str) -> dict[str, Path]:
    found = {}
    for name, text in texts.items():
        found[name.replace("_", "-")] = path = tmp_path / f"{name}.log"
        path.write_text(text)
    return found


async def two_ranks(stage: Served, tmp_path: Path) -> list[FakeRank]:
    """Bring up two ranks with a log for each of their processes."""
    ranks = await ready(stage, 2)
    Answers(
        ranks[0], write(tmp_path, scheduler="s\n") | write(tmp_path, **{"0": "0\n"})
    )
    Answers(ranks[1], write(tmp_path, **{"1": "1\n"}))
    return ranks


@pytest.mark.parametrize(
    ("of", "names"),
    [("", ["scheduler", "0", "1"]), ("scheduler", ["scheduler"]), ("1", ["1"])],
)
def test_all_logs_are_shown_or_those_of_one_process(
    tmp_path: Path, of: str, names: list[str]
) -> None:
    async def play(stage: Served) -> None:
        await two_ranks(stage, tmp_path)
        async with logs(stage, of) as channel:
            *texts, end = await shown(channel)
        assert texts == [r.LogText(name, f"{name[0]}\n") for name in names]
        assert end == r.AllShown()

    playing(2, kind=Served)(play)


@pytest.mark.parametrize("of", ["2", "0-1", "agent@nowhere", "lab"])
def test_a_process_that_there_is_not_is_denied_with_those_that_there_are(
    tmp_path: Path, of: str
) -> None:
    async def play(stage: Served) -> None:
        await two_ranks(stage, tmp_path)
        async with logs(stage, of) as channel:
            with pytest.raises(UnavailableError) as error:
                await asking.answer(channel, r.LogText)
        assert error.value.saw == f"no process {of!r} in this cluster"
        assert re.fullmatch(
            r"one of scheduler, agent@\S+, (agent@\S+, )?0, 1", error.value.needed
        )

    playing(2, kind=Served)(play)


def test_who_follows_gets_what_is_written_then_and_the_end(tmp_path: Path) -> None:
    async def play(stage: Served) -> None:
        (rank,) = await ready(stage, 1)
        paths = write(tmp_path, **{"0": "one\n"})
        answers = Answers(rank, paths)
        async with logs(stage, "0", follows=True) as channel:
            assert await next_of(channel) == r.LogText("0", "one\n")
            with paths["0"].open("a") as file:
                file.write("two\n")
            assert await next_of(channel) == r.LogText("0", "two\n")
            stage.state.close(5)
            assert await next_of(channel) == r.WillEnd(5)
        answers.task.cancel()

    playing(1, kind=Served)(play)


def test_who_reads_slowly_does_not_fill_the_hub(tmp_path: Path) -> None:
    async def play(stage: Served) -> None:
        (rank,) = await ready(stage, 1)
        text = ("x" * 99 + "\n") * 640_000
        answers = Answers(rank, write(tmp_path, **{"0": text}))
        async with logs(stage, "0") as channel:
            before = -1
            while before != answers.count:  # until it stands still
                before = answers.count
                await asyncio.sleep(0.5)
            # What the sockets and TLS hold on the way, and no more.
            assert answers.count * log_files.PIECE_BYTES < len(text) / 2
            texts = await shown(channel)
        assert "".join(one.text for one in texts if isinstance(one, r.LogText)) == text

    playing(1, kind=Served)(play)


def test_a_rank_that_is_lost_is_told_and_the_others_are_shown(tmp_path: Path) -> None:
    async def play(stage: Served) -> None:
        ranks = await ready(stage, 2)
        Answers(ranks[0], write(tmp_path, **{"0": "0\n"}))
        async with logs(stage, follows=True) as channel:
            assert await next_of(channel) == r.LogText("0", "0\n")
            # It does not answer, and then it is gone.
            await ranks[1].hears(m.AskLines)
            ranks[1].channel.close()
            lost = await next_of(channel)
            assert isinstance(lost, r.LogLost)
            assert lost.whose.startswith("rank 1 on ")

    playing(2, kind=Served)(play)


def test_one_who_hangs_up_costs_nothing(tmp_path: Path) -> None:
    async def play(stage: Served) -> None:
        ranks = await ready(stage, 2)
        for follows in (True, False):
            async with logs(stage, "1", follows=follows):
                ask = await ranks[1].hears(m.AskLines)
            ranks[1].say(m.Lines(ask.number, [], more=False))  # to nobody
        ranks[0].say(m.ClientEnded(0, ""))
        await all_leave(ranks)
        assert await stage.status() == 0
        assert stage.said.warnings == stage.said.errors == []

    del tmp_path
    playing(2, kind=Served)(play)
