"""A running cluster, for a program outside the launch that has found it by name."""

from __future__ import annotations

import asyncio
import getpass
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from dask_runner.errors import AssemblyError, UnavailableError
from dask_runner.hub.ask import (
    SilentError,
    answer,
    ask,
    asking,
    last_word,
    silent,
)
from dask_runner.hub.requests import (
    AskState,
    AskStop,
    Attend,
    Request,
    State,
    Stopping,
)
from dask_runner.launch.own_variables import CLUSTER_VARIABLE
from dask_runner.meeting import cluster_directory, which_cluster
from dask_runner.wire.message import Message

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dask_runner.meeting.cluster_directory import Entry
    from dask_runner.meeting.named_record import NamedRecord

#: Seconds between looks at a cluster that has no scheduler yet.
LOOK_SECONDS = 0.2

T = TypeVar("T", bound=Message)


@dataclass(frozen=True, slots=True)
class Attachment:
    """A cluster that was found by name.

    Attributes
    ----------
    entry : Entry
    named : NamedRecord
    """

    entry: Entry
    named: NamedRecord

    @classmethod
    def to(cls, name: str | None, environ: Mapping[str, str]) -> Attachment:
        """Find a cluster, by the rules of :func:`.which_cluster.choose`.

        Raises
        ------
        ConfigError, UnavailableError
            If there is no such cluster, or several.
        """
        return cls(*which_cluster.choose(name, environ))

    def own(self, environ: Mapping[str, str]) -> bool:
        """Return whether a process with these variables is the cluster's program."""
        return environ.get(CLUSTER_VARIABLE) == self.named.record.nonce

    async def ask(self, request: Request, kind: type[T]) -> T:
        """Return the hub's answer to a request that has one.

        Raises
        ------
        UnavailableError
            If the cluster does not answer.
        RunnerError
            If it denies the request.
        """
        try:
            return await ask(self.named.record, request, kind)
        except SilentError as why:
            raise self._silent(why) from None

    async def started(self, seconds: float) -> State:
        """Return the state of the cluster, once it has a scheduler.

        Raises
        ------
        UnavailableError
            If it does not answer, ends, or has no scheduler after so many seconds.
        """
        latest = asyncio.get_running_loop().time() + seconds
        while True:
            state = await self.ask(AskState(), State)
            if state.ending:
                raise UnavailableError(
                    f"the cluster {self.entry.name!r} is ending",
                    "a cluster that goes on",
                    "start another: dask-runner serve",
                )
            if state.address:
                return state
            if asyncio.get_running_loop().time() > latest:
                raise UnavailableError(
                    f"the cluster {self.entry.name!r} is starting, and has had no "
                    f"scheduler for {seconds:g} s",
                    "its scheduler, for which all its ranks are needed",
                    "see what keeps it in its output, and attach again",
                )
            await asyncio.sleep(LOOK_SECONDS)

    async def ended(self, there: asyncio.Event) -> tuple[int | None, str]:
        """Wait until the cluster ends.

        Parameters
        ----------
        there : asyncio.Event
            Is set when the hub has answered.

        Returns
        -------
        (int or None, str)
            Its status; and why that is not known, if it is lost.
        """
        while True:
            try:
                async with asking(self.named.record, Attend()) as channel:
                    await answer(channel, State)
                    there.set()
                    said = await last_word(channel)
            except SilentError as why:
                return None, str(why)
            if said is not None:
                return said.status, ""
            # Where only the connection was lost, the hub answers again.
            await asyncio.sleep(LOOK_SECONDS)

    async def dismiss(self, join: str) -> None:
        """Have a join leave; it does so in order, and is not waited for.

        Raises
        ------
        UnavailableError
            If the cluster does not answer.
        ConfigError
            If it has no such join.
        """
        try:
            async with asking(self.named.record, AskStop(_asker(), join)) as channel:
                await answer(channel, Stopping)
        except SilentError as why:
            raise self._silent(why) from None

    async def stop(self, patience: float, join: str = "") -> None:
        """End the cluster, or one join of it, and wait until its ranks have left.

        Raises
        ------
        UnavailableError
            If it does not answer.
        AssemblyError
            If it has not ended after so many seconds.
        """
        try:
            async with asking(self.named.record, AskStop(_asker(), join)) as channel:
                await answer(channel, Stopping)
                async with asyncio.timeout(patience):
                    # The hub closes it when all ranks have left.
                    await channel.receive()
        except SilentError as why:
            raise self._silent(why) from None
        except TimeoutError:
            raise AssemblyError(
                f"{f'join {join} of ' if join else ''}the cluster "
                f"{self.entry.name!r} has been told to end, and has not "
                f"within {patience:g} s",
                "the end of all its ranks",
                "see whether it is still there with dask-runner list",
            ) from None

    def _silent(self, why: SilentError) -> UnavailableError:
        age = cluster_directory.age(self.entry.path)
        return silent(self.entry.name, self.named.record, age, why)


def _asker() -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # no entry in the user database, and no variable
        user = "its owner"
    return f"{user} on {socket.gethostname()}"
