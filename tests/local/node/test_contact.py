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
from dask_runner.node.contact import Met
from dask_runner.node.own_contact import OwnContact
from tests.local.served import LOOPBACK, Served
from tests.unit.records import KEY, published, world
from tests.unit.stage import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path


def contact(path: Path, timeout: float = PATIENCE) -> OwnContact:
    """Return rank 1's with a record in this file."""
    settings = settle({"timeout": timeout}, {})
    launch = Launch(world(rank=1, size=2), plan.make_plan(2, "shared"), settings, {})
    return OwnContact(launch, FileMeeting([path], KEY), "c1")


def ignore(seconds: float) -> None:
    del seconds


async def met(path: Path) -> OwnContact:
    """Return rank 1's, once it has met a hub and that has left."""
    stage = Served(2)
    await stage.open()
    record = stage.record(KEY)
    await asyncio.to_thread(published, path, record)
    one = contact(path)
    waiting = asyncio.create_task(one.made())
    met = await one.meet(None)
    assert isinstance(met, Met)
    one.found(met)
    assert await waiting == one.met == met
    assert met.record == record
    one.join(m.Hello(1, local_size=1), asyncio.Queue(), ignore)
    await stage.until(lambda: [rank.rank for rank in stage.state.members] == [1])
    await stage.shut()
    return one


def test_a_rank_that_finds_the_hub_can_speak_to_it_and_hand_the_record_on(
    tmp_path: Path,
) -> None:
    async def play() -> None:
        one = await met(tmp_path / "record.json")
        assert one.met.connection.host == LOOPBACK
        await one.closed()

    asyncio.run(play())


def test_a_rank_that_finds_nothing_tells_all_who_wait_for_the_record(
    tmp_path: Path,
) -> None:
    async def play() -> None:
        one = contact(tmp_path / "record.json", timeout=0.1)
        waiting = asyncio.create_task(one.made())
        found = await one.meet(None)
        assert isinstance(found, find_hub.Broken)
        one.found(found.error)
        with pytest.raises(AssemblyError, match="does not exist"):
            await waiting

    asyncio.run(play())


def test_what_is_said_before_there_is_a_connection_is_said_to_nobody(
    tmp_path: Path,
) -> None:
    one = contact(tmp_path / "record.json")
    one.say(m.Note("to nobody"))
    one.fail(AssemblyError("saw", "needed", "do"))
    one.bye()
    one.lose("it ends")

    assert not one.has_met
    with pytest.raises(LookupError):
        one.met  # noqa: B018  it is a property


@pytest.mark.parametrize("silent", [False, True])
def test_the_record_of_a_rank_0_that_is_gone_is_removed_but_not_of_a_silent_one(
    tmp_path: Path, silent: bool
) -> None:
    path = tmp_path / "record.json"

    async def play() -> None:
        one = await met(path)
        one.met.connection.silent = silent
        assert one.inherit() == (not silent)
        one.withdraw()
        await one.closed()

    asyncio.run(play())
    assert path.exists() == silent


def test_an_address_that_cannot_be_added_is_no_failure(tmp_path: Path) -> None:
    path = tmp_path / "record.json"

    async def play() -> None:
        one = await met(path)
        path.unlink()
        path.mkdir()
        await one.add_address("tcp://127.0.0.1:1")
        await one.closed()

    asyncio.run(play())
    assert path.is_dir()
