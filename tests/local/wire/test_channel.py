"""A channel over TCP, which can be reset."""

from __future__ import annotations

import asyncio
import gc
import socket
import struct

from dask_runner.wire.channel import Channel


def test_a_connection_that_is_reset_is_the_end_and_nothing_to_complain_of() -> None:
    complaints: list[object] = []

    async def talk() -> None:
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: complaints.append(context)
        )
        with socket.create_server(("127.0.0.1", 0)) as server:
            theirs = socket.create_connection(server.getsockname())
            ours, _ = server.accept()
        ours.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=ours)
        # Where it is collected after its stream, asyncio speaks up.
        ended = writer._protocol._closed  # type: ignore[attr-defined] # noqa: SLF001
        receiving = asyncio.create_task(Channel(reader, writer).receive())
        del reader
        await asyncio.sleep(0)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        theirs.close()
        assert await receiving is None
        writer.close()
        assert ended.done()
        del receiving, writer
        gc.collect()
        del ended
        gc.collect()

    asyncio.run(talk())
    assert not complaints
