"""How a rank comes into contact with the hub, and what becomes of the record."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from dask_runner.errors import AssemblyError
from dask_runner.hub import messages as m
from dask_runner.launch import plan
from dask_runner.launch.launch import Launch
from dask_runner.launch.settings import settle
from dask_runner.meeting.by_file import FileMeeting
from dask_runner.node import find_hub
from dask_runner.node.contact import Contact
from dask_runner.node.events import Event, Source
from tests.local.served import LOOPBACK, Served
from tests.unit.records import KEY, RECORD, published, world
from tests.unit.stage import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path


def contact(
    path: Path, timeout: float = PATIENCE
) -> tuple[Contact, asyncio.Queue[Event]]:
    """Return rank 1's with a record in this file."""
    settings = settle({"timeout": timeout}, {})
    launch = Launch(world(rank=1, size=2), plan.make_plan(2, "shared"), settings, {})
    events: asyncio.Queue[Event] = asyncio.Queue()
    return Contact(launch, FileMeeting([path], KEY), "c1", events), events


async def met(path: Path) -> Contact:
    """Return rank 1's, once it has met a hub and that has left."""
    stage = Served(2)
    await stage.open()
    record = stage.record(KEY)
    await asyncio.to_thread(published, path, record)
    one, events = contact(path)
    await one.meet()
    source, found = await events.get()
    assert (source, type(found)) == (Source.meeting, find_hub.Linked)
    waiting = asyncio.create_task(one.made())
    one.linked(found)
    assert await waiting == one.known == record
    one.say(m.Hello(1, "c1", local_size=1))
    await stage.until(lambda: [rank.rank for rank in stage.state.members] == [1])
    await stage.shut()
    return one


def test_a_rank_that_finds_the_hub_can_speak_to_it_and_hand_the_record_on(
    tmp_path: Path,
) -> None:
    async def play() -> None:
        one = await met(tmp_path / "record.json")
        assert one.host == LOOPBACK
        await one.closed()

    asyncio.run(play())


def test_a_rank_that_finds_nothing_tells_all_who_wait_for_the_record(
    tmp_path: Path,
) -> None:
    async def play() -> None:
        one, events = contact(tmp_path / "record.json", timeout=0.1)
        waiting = asyncio.create_task(one.made())
        await one.meet()
        source, found = await events.get()
        assert (source, type(found)) == (Source.meeting, find_hub.Broken)
        one.broken(found.error)
        with pytest.raises(AssemblyError, match="does not exist"):
            await waiting

    asyncio.run(play())


def test_what_is_said_before_there_is_a_connection_is_said_to_nobody(
    tmp_path: Path,
) -> None:
    one, _ = contact(tmp_path / "record.json")
    one.say(m.Ping())
    one.fail(AssemblyError("saw", "needed", "do"))
    one.close()

    assert one.link is None


@pytest.mark.parametrize("silent", [False, True])
def test_the_record_of_a_rank_0_that_is_gone_is_removed_but_not_of_a_silent_one(
    tmp_path: Path, silent: bool
) -> None:
    path = tmp_path / "record.json"

    async def play() -> None:
        one = await met(path)
        assert one.link is not None
        one.link.silent = silent
        one.inherit()
        one.withdraw()
        await one.closed()

    asyncio.run(play())
    assert path.exists() == silent


def test_an_address_that_cannot_be_added_is_no_failure(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.mkdir()
    one, _ = contact(path)
    one.record = RECORD

    asyncio.run(one.add_address("tcp://127.0.0.1:1"))

    assert path.is_dir()
