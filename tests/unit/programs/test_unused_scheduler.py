"""How a scheduler that has no clients ends by itself."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from dask_runner.programs.unused_scheduler import NO_CLIENT, NoClient, is_users


@pytest.mark.parametrize(
    ("client", "users"),
    [
        ("Client-4f3c", True),
        ("dask-runner-4f3c", True),
        ("fire-and-forget", False),
        ("Client-worker-4f3c", False),
    ],
)
def test_a_client_is_a_program_of_the_users_or_dasks_own(
    client: str, users: bool
) -> None:
    assert is_users(client) is users


class FakeScheduler:
    """What the plugin sees of a scheduler: its clients, and its end."""

    def __init__(self, *clients: str) -> None:
        self.clients: dict[str, Any] = dict.fromkeys(("fire-and-forget", *clients))
        self.closed = asyncio.Event()
        self.reason = ""

    async def close(self, reason: str) -> None:
        self.reason = reason
        self.closed.set()

    def leaves(self, plugin: NoClient, client: str) -> None:
        plugin.remove_client(self, client)
        del self.clients[client]

    def comes(self, plugin: NoClient, client: str) -> None:
        self.clients[client] = None
        plugin.add_client(self, client)


def test_it_ends_when_nobody_has_come() -> None:
    async def play() -> None:
        scheduler = FakeScheduler()
        NoClient(scheduler, 0.01)
        await asyncio.wait_for(scheduler.closed.wait(), 10)
        assert scheduler.reason == NO_CLIENT

    asyncio.run(play())


def test_it_ends_when_the_last_client_has_left() -> None:
    async def play() -> None:
        scheduler = FakeScheduler("Client-1", "Client-2", "Client-worker-1")
        plugin = NoClient(scheduler, 0.01)
        scheduler.leaves(plugin, "Client-1")
        assert plugin._timer is None  # noqa: SLF001
        scheduler.leaves(plugin, "Client-2")
        await asyncio.wait_for(scheduler.closed.wait(), 10)

    asyncio.run(play())


def test_it_does_not_end_while_somebody_is_there() -> None:
    async def play() -> None:
        scheduler = FakeScheduler()
        plugin = NoClient(scheduler, 3600)
        assert plugin._timer is not None  # noqa: SLF001
        scheduler.comes(plugin, "Client-worker-1")
        assert plugin._timer is not None  # noqa: SLF001
        scheduler.comes(plugin, "Client-1")
        assert plugin._timer is None  # noqa: SLF001

    asyncio.run(play())
