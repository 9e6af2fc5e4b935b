"""What a rank tells the script, and says of its end."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import pytest

from dask_runner.hub import messages as m
from dask_runner.node.exits import Ended
from dask_runner.node.script import Script

if TYPE_CHECKING:
    from dask_runner.wire.message import Message

READY = m.Ready("tcp://127.0.0.1:1", "", 1)
KILLED = Ended(-signal.SIGKILL)
GRACE = 7.0


class Told:
    """A client that keeps what it is told."""

    pid, why, running = 0, "", True

    def __init__(self) -> None:
        self.told: list[object] = []

    def send(self, message: Message) -> None:
        self.told.append(message)

    def signal(self, number: int) -> None:
        self.told.append(number)

    async def stop(self, patience: float, *, ask: Message | None) -> None:
        self.told.append((patience, ask))


def script(*, above: bool = False) -> tuple[Script, list[object]]:
    client = Told()
    return Script(client, "c1", above=above), client.told


def test_a_signal_that_came_before_the_script_reaches_it_once_it_has_begun() -> None:
    one, told = script()
    one.signalled(signal.SIGTERM)
    one.begin(READY)

    assert told == [READY, signal.SIGTERM]


def test_a_signal_for_the_script_alone_is_not_kept_for_it() -> None:
    one, told = script()
    one.signalled(signal.SIGUSR1)
    one.begin(READY)
    one.signalled(signal.SIGUSR2)

    assert told == [READY, signal.SIGUSR2]


def test_a_script_that_is_killed_is_told_of_with_its_node() -> None:
    one, _ = script()
    one.begin(READY)

    said = one.ended(KILLED, awaited=False)

    assert said == m.ClientEnded(137, "the client on c1 was killed by SIGKILL")


@pytest.mark.parametrize("signalled", [True, False])
def test_an_end_that_was_asked_for_needs_no_words(signalled: bool) -> None:
    one, _ = script()
    one.begin(READY)
    if signalled:
        one.signalled(signal.SIGTERM)

    assert one.ended(KILLED, awaited=not signalled) == m.ClientEnded(137, "")


@pytest.mark.parametrize(
    ("begun", "number", "patience"),
    [(False, 0, 0.0), (True, 0, GRACE), (True, signal.SIGTERM, 0.0)],
    ids=["not begun", "begun", "it has had its grace"],
)
def test_a_script_that_runs_has_its_grace_once(
    begun: bool, number: int, patience: float
) -> None:
    one, told = script()
    if begun:
        one.begin(READY)
    if number:
        one.signalled(number)
    asyncio.run(one.stop(3, GRACE))

    assert told[-1] == (patience, None)


def test_a_script_in_the_process_above_is_asked_to_end_with_the_status() -> None:
    one, told = script(above=True)
    asyncio.run(one.stop(3, GRACE))

    assert told == [(GRACE, m.Close(3))]


def test_a_process_above_that_is_gone_without_a_word_counts_as_killed() -> None:
    one, _ = script(above=True)
    said = one.vanished()

    assert said.status == 137
    assert said.said.startswith("the client on c1 is gone")
