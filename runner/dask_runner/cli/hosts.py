"""``dask-runner --hosts a,b script.py``: this process launches ranks elsewhere.

It starts ``dask-runner hosted`` on each host, over the user's own ssh, and carries what
the hosts say to each other: the hub's record travels over ssh alone. Output, standard
input, signals and the status are those of the ranks, as with ``mpiexec``.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import os
import secrets
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

from dask_runner import __version__
from dask_runner.cli.name_here import NameHere, named_here
from dask_runner.cli.ssh import (
    BEATS,
    HERE,
    OF_SSH,
    Link,
    command_of,
    how,
    other_version,
    refused,
    ssh,
)
from dask_runner.errors import (
    AssemblyError,
    ConfigError,
    LostError,
    RunnerError,
)
from dask_runner.launch.hosts import Host, read_hostfile
from dask_runner.launch.options import PREFIX
from dask_runner.launch.own_variables import VARIABLE_OF_SECRET
from dask_runner.launch.signals import FOR_LOCAL_RANKS
from dask_runner.meeting.record import BadRecordError
from dask_runner.node import hosted_messages as h
from dask_runner.node.follower import hear_signals, hold_signals
from dask_runner.wire.channel import LIMIT
from dask_runner.wire.message import ProtocolError, decode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dask_runner.launch.launch import Program
    from dask_runner.launch.settings import Settings
    from dask_runner.wire.message import Message

#: Seconds for the other hosts to end by themselves after that of rank 0, and once more
#: when their standard input has ended.
LEAVE_SECONDS = 15.0
#: Bytes of standard input that are sent at a time.
PIECE = 1 << 16


def hosts_of(settings: Settings) -> list[Host]:
    """Return the hosts that the user has named; none without ``--hosts``.

    Raises
    ------
    ConfigError
        If the file of hosts cannot be read.
    """
    if settings.hosts:
        return list(settings.hosts)
    if settings.hostfile:
        return read_hostfile(Path(settings.hostfile).expanduser(), Path.read_text)
    if dict(settings)["image"].source.startswith("--"):
        raise ConfigError(
            f"--image {settings.image} without --hosts",
            "hosts on which ranks are started in it",
            f"add --hosts a,b; or start the image itself: apptainer run "
            f"{settings.image} script.py",
        )
    return []


async def run_hosts(
    hosts: Sequence[Host],
    settings: Settings,
    args: Sequence[str],
    environ: Mapping[str, str],
    program: Program | None,
    client: int | None,
    joins: str = "",
) -> int:
    """Start ranks on the hosts; return the status of rank 0's.

    Parameters
    ----------
    hosts : sequence of Host
    settings : Settings
    args : sequence of str
        The arguments of ``dask-runner``, as the user gave them.
    environ : mapping
    program : Program or None
    client : int or None
        The rank of the client, which gets standard input.
    joins : str
        The name of the running cluster to join; empty for one of their own.

    Raises
    ------
    RunnerError
        If a host cannot start ranks.
    """
    launcher = _Launcher(hosts, settings, args, environ, program, client, joins)
    try:
        return await launcher.run()
    finally:
        await launcher.end()
        hold_signals()  # as in run_rank


class _Launcher:
    def __init__(
        self,
        hosts: Sequence[Host],
        settings: Settings,
        args: Sequence[str],
        environ: Mapping[str, str],
        program: Program | None,
        client: int | None,
        joins: str,
    ) -> None:
        self._joins = joins
        self._job = secrets.token_hex(8)
        name = settings.name or ("" if program is not None or joins else self._job)
        self._name = NameHere(name, self._job, environ)
        self._hosts = hosts
        self._settings = settings
        self._args = list(args)
        self._environ = environ
        self._client = -1 if client is None else client
        self._links: list[Link] = []
        self._script, self._at = _script(program, args)
        self._over: RunnerError | None = None
        #: Whether the ranks can end with rank 0. Those of a join look elsewhere.
        self._know_rank_0 = bool(joins)
        self._printing = {one: asyncio.Lock() for one in (sys.stdout, sys.stderr)}

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in FOR_LOCAL_RANKS:
            loop.add_signal_handler(number, self._signal, number)
        hear_signals()
        first = 0
        for host in self._hosts:
            self._links.append(await self._connect(host, first))
            first += host.slots
        await self._all_ready()
        self._begin(first)
        beating = asyncio.create_task(self._beat())
        try:
            return await self._ended()
        finally:
            beating.cancel()

    # --- the beginning ----------------------------------------------------------

    async def _connect(self, host: Host, first: int) -> Link:
        here = host.name in (*HERE, socket.gethostname())
        command = command_of(self._settings.image)
        timeout, silence = self._settings.timeout, self._settings.silence
        over = ssh(host.name, command, timeout=timeout, silence=silence)
        try:
            process = await asyncio.create_subprocess_exec(
                *(("sh", "-c", command) if here else over),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                limit=LIMIT,
                # Ctrl-C reaches this process alone, which passes it on once.
                process_group=0,
            )
        except FileNotFoundError as error:
            raise ConfigError(
                "there is no ssh here, which is to start the ranks",
                "OpenSSH's client where --hosts is typed",
                "install it; in an image, run dask-runner --hosts outside, and name "
                "the image with --image",
            ) from error
        ready: asyncio.Future[h.HostReady]
        ready = asyncio.get_running_loop().create_future()
        link = Link(host, first, process, ready)
        link.readers += [
            asyncio.create_task(self._read_output(link)),
            asyncio.create_task(self._read_errors(link)),
        ]
        digest = hashlib.sha256(self._script).hexdigest() if self._script else ""
        path = self._args[self._at] if self._script else ""
        link.send(h.AskHost(__version__, str(Path.cwd()), path, digest))
        return link

    async def _all_ready(self) -> None:
        """Wait until each host has answered.

        Raises
        ------
        RunnerError
            If one cannot, or does not in time.
        """
        waits = {asyncio.create_task(self._answer(link)): link for link in self._links}
        try:
            async with asyncio.timeout(self._settings.timeout):
                for answer in asyncio.as_completed(waits):
                    await answer
        except TimeoutError as error:
            late = [x.host.name for x in self._links if not x.ready.done()]
            raise AssemblyError(
                f"{', '.join(late)} did not answer within {self._settings.timeout:g} s",
                "hosts that your ssh reaches",
                "leave out what is down; give more time with --timeout",
            ) from error
        finally:
            for wait in waits:
                wait.cancel()

    async def _answer(self, link: Link) -> None:
        """Wait until a host has answered; raise an error if it will not."""
        end = asyncio.create_task(link.process.wait())
        either: set[asyncio.Future[Any]] = {link.ready, end}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not link.ready.done():
            await asyncio.gather(*link.readers)
        if self._over is not None:
            raise self._over
        if not link.ready.done():
            raise refused(link.host.name, link.process.returncode or 0, link.said)
        end.cancel()
        found = link.ready.result()
        if found.version != __version__:
            raise other_version(link.host.name, found.version)

    def _begin(self, size: int) -> None:
        # A script that all hosts have runs where it is, with the modules beside it.
        have = all(link.ready.result().has_script for link in self._links)
        sent = base64.b64encode(self._script).decode() if not have else ""
        named = named_here(self._joins, self._environ) if self._joins else ""
        passed = {
            name: value
            for name, value in self._environ.items()
            if name.startswith(PREFIX) and name != VARIABLE_OF_SECRET
        }
        for link in self._links:
            link.begun = True
            link.send(
                h.Begin(
                    self._args,
                    passed,
                    str(Path.cwd()),
                    link.first,
                    link.host.slots,
                    size,
                    self._job,
                    self._settings.silence,
                    self._client,
                    bool(self._joins),
                    sent,
                    self._at,
                    named,
                )
            )
        if self._client >= 0:
            feeder = next(one for one in self._links if self._client in one.ranks)
            loop = asyncio.get_running_loop()
            # A daemon thread, because a read from stdin cannot be interrupted.
            threading.Thread(target=_feed, args=(loop, feeder), daemon=True).start()

    async def _beat(self) -> None:
        """Send each host a sign of life now and then, until this is cancelled."""
        while True:
            await asyncio.sleep(self._settings.silence / BEATS)
            for link in self._links:
                link.send(h.Beat())

    # --- what the hosts say -------------------------------------------------------

    async def _read_output(self, link: Link) -> None:
        stream = link.process.stdout
        assert stream is not None  # noqa: S101  it is a pipe
        mark = h.MARK.encode()
        while piece := await _line(stream):
            # Output may end without a new line before a message.
            output, marked, message = piece.partition(mark)
            if marked:
                try:
                    self._hear(link, decode(message))
                except (ProtocolError, BadRecordError):
                    if not link.ready.done():
                        link.ready.set_exception(other_version(link.host.name, "other"))
            # What a shell's start-up files print before is nobody's.
            if output and link.begun:
                await self._print(sys.stdout, output)

    def _hear(self, link: Link, message: Message) -> None:
        if isinstance(message, h.HostReady) and not link.ready.done():
            link.ready.set_result(message)
        elif isinstance(message, h.HostGone) and link is not self._links[0]:
            self._links[0].send(message)
        elif isinstance(message, h.HostEnded):
            link.ended = message.status
        elif isinstance(message, h.HubRecord):
            self._know_rank_0 = True
            self._name.note(message.text, link.ready.result())
            for other in self._links:
                if other is not link:
                    other.send(message)

    async def _read_errors(self, link: Link) -> None:
        stream = link.process.stderr
        assert stream is not None  # noqa: S101  it is a pipe
        while piece := await _line(stream):
            text = piece.decode(errors="replace")
            if text.strip():
                link.said = [*link.said[-9:], text.strip()]
            if link.begun:
                await self._print(sys.stderr, text.encode())

    async def _print(self, stream: TextIO, piece: bytes) -> None:
        """Write a line in a thread: who reads may pause, and the hosts hear from us."""
        async with self._printing[stream]:
            await asyncio.to_thread(_write, stream.buffer, piece)

    # --- the end ------------------------------------------------------------------

    async def _ended(self) -> int:
        """Wait until the host of rank 0 has ended, and then the others."""
        ends = {
            asyncio.create_task(self._end_of(link)): link for link in self._links[1:]
        }
        zero = self._links[0]
        status = await zero.process.wait()
        await asyncio.gather(*zero.readers)
        if ends:
            # Who has not met rank 0 would wait for it until the end of its time.
            await asyncio.wait(ends, timeout=LEAVE_SECONDS if self._know_rank_0 else 0)
        for task in ends:
            task.cancel()
        if zero.ended is not None:
            # ssh's own failures have a status that a script may have as well.
            return zero.ended
        if status == OF_SSH or status < 0:
            raise LostError(
                f"the connection to {zero.host.name} ended: {how(status, zero)}",
                "the host of rank 0, for as long as the script runs",
                "look whether the host is up; start again",
            )
        return status

    async def _end_of(self, link: Link) -> None:
        """Tell rank 0 that the ranks of a host are gone."""
        status = await link.process.wait()
        await asyncio.gather(*link.readers)
        why = "its dask-runner ended"
        if link.ended is not None:
            status = link.ended
        elif status == OF_SSH or status < 0:
            why = how(status, link)
        if status:
            saw = f"is gone: {why} (status {status})"
            self._links[0].send(h.HostGone(link.ranks, link.host.name, saw))

    def _signal(self, number: int) -> None:
        if not all(link.begun for link in self._links) or not self._links:
            self._over = RunnerError("")
            self._over.status, self._over.printed = 128 + number, True
            for link in self._links:
                link.process.kill()
            if not self._links:
                raise SystemExit(128 + number)
            return
        for link in self._links:
            link.send(h.SignalAll(number))

    async def end(self) -> None:
        """End what is left: the end of standard input ends the ranks of a host."""
        self._name.withdraw()
        running = [one for one in self._links if one.process.returncode is None]
        for link in running:
            if link.process.stdin is not None:
                link.process.stdin.close()
        waits = [asyncio.create_task(one.process.wait()) for one in running]
        if waits:
            begun = any(one.begun for one in running)
            await asyncio.wait(waits, timeout=LEAVE_SECONDS if begun else 1.0)
        for link in running:
            if link.process.returncode is None:
                link.process.send_signal(signal.SIGKILL)
                await link.process.wait()
        for link in self._links:
            for reader in link.readers:
                reader.cancel()


def _write(stream: BinaryIO, piece: bytes) -> None:
    stream.write(piece)
    stream.flush()


async def _line(stream: asyncio.StreamReader) -> bytes:
    """Return a line, or what there is of a very long one; empty at the end."""
    try:
        return await stream.readuntil(b"\n")
    except asyncio.IncompleteReadError as error:
        return error.partial
    except asyncio.LimitOverrunError as error:
        return await stream.readexactly(error.consumed)


def _feed(loop: asyncio.AbstractEventLoop, link: Link) -> None:
    """Send on standard input, to its end."""
    with contextlib.suppress(OSError, ValueError, RuntimeError):  # closed, or all over
        while data := os.read(0, PIECE):
            message = h.Input(base64.b64encode(data).decode())
            asyncio.run_coroutine_threadsafe(_send(link, message), loop).result()
        loop.call_soon_threadsafe(link.send, h.Input(""))


async def _send(link: Link, message: h.Input) -> None:
    link.send(message)
    if link.process.stdin is not None:
        await link.process.stdin.drain()


def _script(program: Program | None, args: Sequence[str]) -> tuple[bytes, int]:
    """Return the text of a script that is a file, and its place in the arguments."""
    if program is None or program.kind != "script":
        return b"", -1
    at = len(args) - len(program.args) - 1
    path = Path(program.target)
    try:
        return (path.read_bytes() if path.is_file() else b""), at
    except OSError:
        return b"", at
