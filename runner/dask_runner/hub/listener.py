"""The hub's door: a port at which anyone can knock, and few are let in.

A node that proves to hold the cluster's key gets in. All others are strangers, and
there may be many: a port scan, a program that took the port for another's, somebody's
flood. So that they cost nothing but a knock, only so many are held at a time as there
may be ranks, and at least :data:`STRANGERS`; when one more comes, the one that has
waited longest goes, of those from the address that has sent most. What they send is
read no further than a handshake of TLS can be long, and no longer than one may take.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from dask_runner.launch import ports
from dask_runner.resources.open_files import allow_many_files
from dask_runner.wire import mutual_tls

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Coroutine

    from dask_runner.wire.channel import Channel

#: Connections without a proof that are held at a time, at least.
STRANGERS = 512
#: Seconds that a stranger may take in any case: a rank on a busy node is no
#: quicker, and thousands of ranks may come at once.
GRACE_SECONDS = 0.1
#: Connections that may wait in the kernel's queue (net.core.somaxconn's usual value).
BACKLOG = 4096
#: Seconds until the next try where the process or the system has no more files.
SHORT_OF_FILES_SECONDS = 0.1

_SHORT = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


@dataclass(frozen=True, slots=True, eq=False)
class _Stranger:
    address: str
    since: float
    task: asyncio.Task[None]


class Door:
    """Listens, and lets in who holds the cluster's key.

    Parameters
    ----------
    own : ssl.SSLContext
        What the hub proves itself with, and expects of the others.
    enter : coroutine function
        Holds the conversation with one who got in, to its end.
    refuse : callable
        Is told the address of each who did not, and why.
    ranks : int
        How many may have the key, and may come all at once.
    """

    def __init__(
        self,
        own: ssl.SSLContext,
        enter: Callable[[Channel, str], Awaitable[None]],
        refuse: Callable[[str, str], None],
        ranks: int = 1,
    ) -> None:
        self._own = own
        self._enter = enter
        self._refuse = refuse
        # A place is made free before the next one comes, and the ranks have all of
        # theirs until then.
        self._room = max(STRANGERS, ranks + 1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._strangers: dict[asyncio.Task[None], _Stranger] = {}
        self._unmet: dict[asyncio.Task[None], socket.socket] = {}
        self._from: Counter[str] = Counter()
        self._socket: socket.socket | None = None

    async def open(
        self, host: str, bound: socket.socket | None = None, among: str | None = None
    ) -> int:
        """Listen on *host*, or at a socket that is bound already; return the port.

        Raises
        ------
        AssemblyError
            If none of the ports *among* which it may choose (``--ports``) is free.
        """
        allow_many_files()
        self._socket = _bound(host, among) if bound is None else bound
        self._socket.setblocking(False)
        self._spawn(self._listen(self._socket))
        return int(self._socket.getsockname()[1])

    async def shut(self) -> None:
        """Listen no more, and end every conversation."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._socket is not None:  # else it could not be opened
            self._socket.close()

    async def _listen(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            while len(self._strangers) >= self._room:
                await self._turn_one_away()
            try:
                sock, peer = await loop.sock_accept(listening)
            except OSError as error:
                # Others are of the connection that is lost already (accept(2)).
                if error.errno in _SHORT:
                    if self._strangers:
                        await self._turn_one_away()
                    await asyncio.sleep(SHORT_OF_FILES_SECONDS)
                continue
            address = str(peer[0])
            task = self._spawn(self._meet(sock, address))
            task.add_done_callback(self._close_unmet)
            self._unmet[task] = sock
            self._strangers[task] = _Stranger(address, time.monotonic(), task)
            self._from[address] += 1

    async def _turn_one_away(self) -> None:
        ((busiest, _),) = self._from.most_common(1)
        one = next(x for x in self._strangers.values() if x.address == busiest)
        await asyncio.sleep(one.since + GRACE_SECONDS - time.monotonic())
        if one.task in self._strangers:  # neither let in nor gone meanwhile
            self._forget(one.task)
            one.task.cancel()
            self._refuse(one.address, "no proof came, and others wait")

    async def _meet(self, sock: socket.socket, address: str) -> None:
        del self._unmet[cast("asyncio.Task[None]", asyncio.current_task())]
        try:
            channel = await mutual_tls.accept(sock, self._own)
        except mutual_tls.StrangerError as error:
            self._refuse(address, str(error))
            return
        finally:
            self._forget(asyncio.current_task())
        try:
            await self._enter(channel, address)
        except asyncio.CancelledError:
            channel.abort()  # the door is shut, and nobody's part in it awaited
            raise
        finally:
            channel.close()

    def _close_unmet(self, task: asyncio.Task[None]) -> None:
        # A task that was cancelled before its first turn has run nothing of its own.
        if sock := self._unmet.pop(task, None):
            sock.close()

    def _forget(self, task: asyncio.Task[None] | None) -> None:
        stranger = self._strangers.pop(task, None) if task else None
        if stranger is None:
            return
        self._from[stranger.address] -= 1
        if not self._from[stranger.address]:
            del self._from[stranger.address]

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _bound(host: str, among: str | None) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in ports.numbers(among):
        try:
            return socket.create_server((host, port), family=family, backlog=BACKLOG)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or among is None:
                raise
    raise ports.none_free("rank 0", among or "")
