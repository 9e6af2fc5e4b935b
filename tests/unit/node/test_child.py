"""Peers of a rank's top process."""

from __future__ import annotations

import asyncio
import gc
import socket
from typing import Any

from dask_runner.node.child import Peer
from dask_runner.node.events import Source


def test_a_peer_that_was_disowned_is_heard_to_its_end() -> None:
    async def play() -> list[dict[str, Any]]:
        troubles: list[dict[str, Any]] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: troubles.append(context))
        before = asyncio.all_tasks()
        ours, theirs = socket.socketpair()
        peer = Peer(Source.agent, asyncio.Queue())
        await peer.attach(ours)
        (listening,) = asyncio.all_tasks() - before
        ended = asyncio.Event()
        listening.add_done_callback(lambda _: ended.set())
        # Until it waits for the first message, the loop keeps it itself.
        for _ in range(10):
            await asyncio.sleep(0)
        peer.disown()
        del peer, listening
        gc.collect()
        theirs.close()
        async with asyncio.timeout(5):
            await ended.wait()
        return troubles

    assert asyncio.run(play()) == []
