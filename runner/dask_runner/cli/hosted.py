"""``dask-runner hosted``: the part of ``dask-runner --hosts`` on one host.

The launcher starts it over ssh (:mod:`dask_runner.cli.hosts`). It starts the ranks of
the host, and carries what they and the launcher say to each other. When its standard
input ends, because ssh or the launcher has died, it ends the ranks.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import os
import platform
import shutil
import signal
import socket
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from dask_runner import __version__
from dask_runner.hub.report import say
from dask_runner.launch.own_variables import (
    HOST_LOCAL_RANK_VARIABLE,
    HOST_LOCAL_SIZE_VARIABLE,
    HOST_MEETING_VARIABLE,
    HOST_PARENT_VARIABLE,
    HOST_RANK_VARIABLE,
    JOB_ID_VARIABLE,
    SIZE_VARIABLE,
)
from dask_runner.linux import adopt_orphans
from dask_runner.meeting import cluster_directory
from dask_runner.meeting.cluster_directory import NoDirectoryError
from dask_runner.meeting.named_record import NamedRecord
from dask_runner.meeting.record import BadRecordError
from dask_runner.node import hosted_messages as h
from dask_runner.node.exits import Ended
from dask_runner.node.follower import hear_signals
from dask_runner.node.local_ends import ended_early, tell
from dask_runner.node.orphans import end_orphans, ended_orphans
from dask_runner.node.system_errors import problem
from dask_runner.wire.channel import HEAD, LIMIT, Channel, open_channel
from dask_runner.wire.message import ProtocolError, decode, encode

if TYPE_CHECKING:
    from dask_runner.wire.message import Message

#: Seconds for the ranks to end by themselves when one has ended that others need, and
#: once more after a SIGTERM.
LEAVE_SECONDS = 10.0
#: Seconds for the agent of a rank that was killed to remove what that one has left.
ORPHAN_SECONDS = 5.0
#: Where the script lies on hosts that lack it: at the same path on all, below a name
#: that nobody can guess.
PLACE = "/tmp"  # noqa: S108  a private directory is made in it


def play() -> int:
    """Play the part of the launcher on this host; return its exit status."""
    return asyncio.run(_Hosted().run())


def script_here(directory: str, script: str, digest: str) -> bool:
    """Return whether a script is here, at its path and with the same text."""
    try:
        text = (Path(directory) / script).read_bytes()
    except (OSError, ValueError):
        return False
    return bool(digest) and hashlib.sha256(text).hexdigest() == digest


class _Hosted:
    def __init__(self) -> None:
        self._ranks: list[asyncio.subprocess.Process] = []
        self._channels: list[Channel] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._client: asyncio.subprocess.Process | None = None
        self._copy: Path | None = None
        self._laid: tuple[Path, str] | None = None
        #: Whether the ranks can end with rank 0. Those of a join look elsewhere.
        self._know_rank_0 = False

    async def run(self) -> int:
        adopt_orphans()
        reader = asyncio.StreamReader(limit=LIMIT)
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
        )
        hear_signals()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, reader.feed_eof)
        try:
            return await self._play(reader)
        except ProtocolError as error:
            say(f"error: this is no dask-runner --hosts: {error}")
            return 70
        finally:
            await self._end()

    async def _play(self, reader: asyncio.StreamReader) -> int:
        begin: Message | None = None
        while not isinstance(begin, h.Begin):
            begin = await _message(reader)
            if isinstance(begin, h.AskHost):
                has = script_here(begin.directory, begin.script, begin.digest)
                versions = __version__, platform.python_version()
                _tell(
                    h.HostReady(
                        *versions, version("distributed"), socket.gethostname(), has
                    )
                )
            elif begin is None:
                return 0  # the launcher has changed its mind
        try:
            await self._start(begin)
        except (OSError, RuntimeError) as error:
            say(f"error: {problem(error)}")
            return problem(error).status
        listening = asyncio.create_task(self._listen(reader, begin.silence))
        ended = asyncio.create_task(self._ended(begin))
        await asyncio.wait({listening, ended}, return_when=asyncio.FIRST_COMPLETED)
        listening.cancel()
        if not ended.done():
            await self._ask_to_end()
        await asyncio.wait({ended}, timeout=LEAVE_SECONDS)
        status = _status(self._ranks[0].returncode)
        _tell(h.HostEnded(status))
        return status

    # --- the ranks ------------------------------------------------------------

    async def _start(self, begin: h.Begin) -> None:
        self._first = begin.first
        args = list(begin.args)
        directory = begin.directory if os.access(begin.directory, os.X_OK) else None
        extra = dict(begin.environ)
        if begin.script:
            self._copy = Path(PLACE) / f"dask-runner-hosts-{begin.job}"
            self._copy.mkdir(0o700)
            copy = self._copy / Path(args[begin.at]).name
            copy.write_bytes(base64.b64decode(begin.script))
            args[begin.at] = str(copy)
        self._know_rank_0 = begin.joins
        if begin.named:
            self._lay(NamedRecord.load(begin.named))
        for local in range(begin.number):
            ours, theirs = socket.socketpair()
            rank = begin.first + local
            environ = {
                **os.environ,
                **extra,
                HOST_RANK_VARIABLE: str(rank),
                SIZE_VARIABLE: str(begin.size),
                HOST_LOCAL_RANK_VARIABLE: str(local),
                HOST_LOCAL_SIZE_VARIABLE: str(begin.number),
                JOB_ID_VARIABLE: begin.job,
                HOST_MEETING_VARIABLE: str(theirs.fileno()),
                HOST_PARENT_VARIABLE: str(os.getpid()),
            }
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-P", "-m", "dask_runner", *args),
                    cwd=directory,
                    env=environ,
                    stdin=asyncio.subprocess.PIPE
                    if rank == begin.client
                    else asyncio.subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    process_group=0,
                )
            self._ranks.append(process)
            if rank == begin.client:
                self._client = process
            channel = await open_channel(ours)
            self._channels.append(channel)
            self._tasks.append(asyncio.create_task(self._carry(channel)))

    def _lay(self, named: NamedRecord) -> None:
        """Lay the record of the cluster to join where the ranks look for it."""
        with contextlib.suppress(NoDirectoryError, OSError, BadRecordError):
            path = cluster_directory.path_of(named.name, os.environ)
            if cluster_directory.claim(path, named):
                self._laid = path, named.record.nonce

    async def _carry(self, channel: Channel) -> None:
        """Send on the record of rank 0, to the launcher and to the others here."""
        with contextlib.suppress(ProtocolError):
            while (message := await channel.receive()) is not None:
                self._know_rank_0 |= isinstance(message, h.HubRecord)
                _tell(message)
                for other in self._channels:
                    if other is not channel:
                        other.send(message)

    async def _ended(self, begin: h.Begin) -> None:
        """Wait until all ranks have ended; not long for the others after rank 0."""
        ends = [asyncio.create_task(self._end_of(one)) for one in self._ranks]
        everyone = asyncio.gather(*ends)
        if begin.first == 0:
            await ends[0]
            if not self._know_rank_0:
                # A rank that was killed cannot say so, and the others would wait.
                zero = Ended(self._ranks[0].returncode or 0)
                if zero.status < 0:
                    tell(ended_early(0, begin.size, zero))
                await self._ask_to_end()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(everyone, LEAVE_SECONDS)
        else:
            await everyone

    async def _end_of(self, process: asyncio.subprocess.Process) -> None:
        """Wait until a rank has ended; tell rank 0 of one that fails."""
        status = await process.wait()
        rank = self._first + self._ranks.index(process)
        if status and rank:
            saw = f"is gone: it ended with status {_status(status)}"
            gone = h.HostGone([rank], socket.gethostname(), saw)
            _tell(gone)
            for channel in self._channels:
                channel.send(gone)

    async def _ask_to_end(self) -> None:
        for rank in self._ranks:
            if rank.returncode is None:
                rank.send_signal(signal.SIGTERM)

    async def _end(self) -> None:
        """End everything of this host."""
        for task in self._tasks:
            task.cancel()
        for rank in self._ranks:
            if rank.returncode is None:
                rank.kill()
                await rank.wait()
        await ended_orphans(ORPHAN_SECONDS)
        end_orphans()
        if self._laid is not None:
            cluster_directory.remove(*self._laid)
        if self._copy is not None:
            shutil.rmtree(self._copy, ignore_errors=True)

    # --- what the launcher says -------------------------------------------------

    async def _listen(self, reader: asyncio.StreamReader, silence: float) -> None:
        """Do what the launcher says, until it says no more, or nothing for too long."""
        while True:
            try:
                async with asyncio.timeout(silence):
                    message = await _message(reader)
            except TimeoutError:
                say(f"no sign of life from dask-runner --hosts for {silence:g} s")
                return
            if message is None:
                return
            if isinstance(message, h.Beat):
                continue
            if isinstance(message, h.SignalAll):
                for rank in self._ranks:
                    if rank.returncode is None:
                        rank.send_signal(message.number)
            elif isinstance(message, h.Input):
                await self._feed(message)
            else:
                for channel in self._channels:
                    channel.send(message)

    async def _feed(self, message: h.Input) -> None:
        pipe = self._client.stdin if self._client is not None else None
        if pipe is None or pipe.is_closing():
            return
        try:
            if message.data:
                pipe.write(base64.b64decode(message.data))
                await pipe.drain()
            else:
                pipe.close()
        except OSError:
            return  # the client reads no more


async def _message(reader: asyncio.StreamReader) -> Message | None:
    """Return the launcher's next message; None at the end.

    Raises
    ------
    ProtocolError
    """
    try:
        (length,) = HEAD.unpack(await reader.readexactly(HEAD.size))
        if length > LIMIT:
            raise ProtocolError(f"a frame of {length} bytes (limit {LIMIT})")
        return decode(await reader.readexactly(length))
    except (asyncio.IncompleteReadError, OSError):
        return None


def _tell(message: Message) -> None:
    """Send the launcher a message: a line among the output of the ranks."""
    line = h.MARK + encode(message).decode() + "\n"
    with contextlib.suppress(OSError):  # it is gone, which standard input tells
        os.write(1, line.encode())


def _status(code: int | None) -> int:
    return 137 if code is None else code if code >= 0 else 128 - code
