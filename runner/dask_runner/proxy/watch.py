"""What becomes of the cluster whose dashboard is shown."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from dask_runner.errors import LostError
from dask_runner.hub.ask import SilentError, answer, ask, asking, last_word
from dask_runner.hub.dashboard import has_none
from dask_runner.hub.pings import OUTSIDE_SILENCE_SECONDS
from dask_runner.hub.requests import AskState, Attend, State
from dask_runner.proxy import html

if TYPE_CHECKING:
    from dask_runner.proxy.clusters import One
    from dask_runner.wire.channel import Channel

#: Seconds between two looks at a cluster that is not ready yet, and at one that is.
STARTING_SECONDS, RUNNING_SECONDS = 1.0, 10.0
#: Seconds until the next try to reach a hub.
PAUSE_SECONDS = 1.0
#: Seconds for the ranks to leave, when the cluster ends.
LEAVING_SECONDS = 60.0


def check(cluster: One, state: State) -> None:
    """Refuse a cluster that has no dashboard.

    Raises
    ------
    ConfigError
        If that is so, and will not change.
    """
    if state.ready and not state.dashboard:
        raise has_none(f"the cluster {cluster.entry.name!r}")


class Watch:
    """Waits for the end of a cluster.

    Parameters
    ----------
    cluster : One
        Gets the page that tells of the end.
    """

    def __init__(self, cluster: One) -> None:
        self._cluster = cluster
        self._name = cluster.entry.name
        self._record = cluster.named.record
        self._heard = time.monotonic()

    async def ended(self) -> int:
        """Return the status with which the cluster has ended.

        Raises
        ------
        ConfigError
            If it has no dashboard.
        LostError
            If it does not answer any more.
        """
        while True:
            try:
                async with asking(self._record, Attend()) as channel:
                    return await self._until_end(channel)
            except SilentError as why:
                if why.gone or time.monotonic() - self._heard > OUTSIDE_SILENCE_SECONDS:
                    raise self._lost(why) from why
                await asyncio.sleep(PAUSE_SECONDS)

    async def _until_end(self, channel: Channel) -> int:
        self._look(state := await answer(channel, State))
        ending = asyncio.create_task(last_word(channel))
        try:
            while not ending.done():
                pause = RUNNING_SECONDS if state.ready else STARTING_SECONDS
                await asyncio.wait({ending}, timeout=pause)
                if not ending.done():
                    state = await self._state() or state
            said = ending.result()
        finally:
            ending.cancel()
        if said is None:
            raise SilentError("the connection breaks off", gone=False)
        self._cluster.instead = html.ended(self._name)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEAVING_SECONDS):
                # The hub closes it when all ranks have left.
                await channel.receive()
        return said.status

    async def _state(self) -> State | None:
        """Return what the hub says, or None if it is silent, and may be for a while."""
        try:
            state = await ask(self._record, AskState(), State)
        except SilentError:
            if time.monotonic() - self._heard > OUTSIDE_SILENCE_SECONDS:
                raise
            return None
        self._look(state)
        return state

    def _look(self, state: State) -> None:
        self._heard = time.monotonic()
        check(self._cluster, state)

    def _lost(self, why: SilentError) -> LostError:
        return LostError(
            f"the cluster {self._name!r} is lost: {why}",
            f"its hub on {self._record.node} at {self._record.host}:"
            f"{self._record.port}",
            "see whether its job still runs, and what it has printed",
        )
