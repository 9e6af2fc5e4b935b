"""PMI-1's key-value space: what is said to the launcher, and what it may answer.

The launcher here is the other end of a socket pair, in the test's hands: what a
launcher of flesh and blood does is in tests/local/test_mpiexec.py.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import tempfile
from typing import TYPE_CHECKING

import pytest

from dask_runner.errors import AssemblyError, LostError
from dask_runner.meeting import by_pmi, pmi_client
from dask_runner.meeting.base import UnusableError
from dask_runner.meeting.by_pmi import PmiExchange
from dask_runner.meeting.record import Record
from dask_runner.meeting.relay import RelayMeeting
from tests.unit.records import NOTICE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Pair = Callable[[], tuple[socket.socket, dict[str, str]]]

GREETINGS = {
    "init": "cmd=response_to_init rc=0 pmi_version=1 pmi_subversion=1",
    "get_maxes": "cmd=maxes rc=0 kvsname_max=256 keylen_max=64 vallen_max=1024",
    "get_my_kvsname": "cmd=my_kvsname rc=0 kvsname=kvs_1_0",
    "put": "cmd=put_result rc=0",
    "barrier_in": "cmd=barrier_out",
    "finalize": "cmd=finalize_ack rc=0",
}
TEXT = "\n".join(hashlib.sha256(bytes([n])).hexdigest() for n in range(100))
RECORD = Record("k", "ab" * 16, "c1", "127.0.0.1", 40000, "CERT", "KEY")


class Launcher:
    """The launcher's end: keeps what is put, and says otherwise what it is told."""

    def __init__(
        self, *ends: socket.socket, ranks: int = 0, **answers: str | None
    ) -> None:
        self._ends = ends
        self._ranks = ranks or len(ends)
        self._answers = {**GREETINGS, **answers}
        self._kept: dict[str, str] = {}
        self.heard: list[str] = []

    async def serve(self) -> None:
        """Talk to every rank until it has closed its end."""
        barrier = asyncio.Barrier(self._ranks)
        await asyncio.gather(*(self._talk(end, barrier) for end in self._ends))

    async def _talk(self, end: socket.socket, barrier: asyncio.Barrier) -> None:
        reader, writer = await asyncio.open_connection(sock=end)
        try:
            while line := (await reader.readline()).decode():
                self.heard.append(line)
                words = dict(word.split("=", 1) for word in line.split())
                if words["cmd"] == "put":
                    self._kept[words["key"]] = words["value"]
                if words["cmd"] == "barrier_in":
                    await barrier.wait()
                answer = self._answers.get(words["cmd"])
                if words["cmd"] == "get" and answer is None:
                    answer = f"cmd=get_result rc=0 value={self._kept[words['key']]}"
                if answer is None:
                    break
                writer.write(f"{answer}\n".encode())
        finally:
            writer.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Make launcher's ends, each with the environment of its rank."""
    numbers: list[int] = []

    def make() -> tuple[socket.socket, dict[str, str]]:
        ours, theirs = socket.socketpair()
        number = theirs.detach()
        os.set_inheritable(number, True)
        numbers.append(number)
        return ours, {"PMI_FD": str(number)}

    yield make
    for number in numbers:
        try:
            os.close(number)
        except OSError:
            continue  # the rank has closed it, as it should


def play(launcher: Launcher, *ranks: tuple[PmiExchange, str | None]) -> list[str]:
    async def all_of_it() -> list[str]:
        serving = asyncio.create_task(launcher.serve())
        try:
            async with asyncio.timeout(10):
                return await asyncio.gather(*(rank(text) for rank, text in ranks))
        finally:
            serving.cancel()
            for rank, _ in ranks:
                rank.drop()

    return asyncio.run(all_of_it())


def test_the_record_goes_in_pieces_through_the_launchers_space(pair: Pair) -> None:
    (end, environ), (other, others) = pair(), pair()
    launcher = Launcher(end, other)
    ranks = (PmiExchange(environ), TEXT), (PmiExchange(others), None)
    assert play(launcher, *ranks) == [TEXT, TEXT]
    puts = [line for line in launcher.heard if line.startswith("cmd=put ")]
    assert len(puts) > 3
    assert all(line.isascii() and len(line) < 1024 for line in puts)
    assert sum("barrier_in" in line for line in launcher.heard) == 2
    assert sum("finalize" in line for line in launcher.heard) == 2


def test_no_piece_is_as_long_as_a_launcher_allows(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Hydra 3.4 cuts a value of vallen_max without a word.
    monkeypatch.setattr(by_pmi, "PIECE", 5000)
    end, environ = pair()
    launcher = Launcher(end, get_maxes="cmd=maxes vallen_max=100")
    play(launcher, (PmiExchange(environ), TEXT))
    values = [line.split("value=")[1] for line in launcher.heard if "value=" in line]
    assert max(len(value.rstrip("\n")) for value in values) == 99


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({"init": None}, "was closed instead of the answer to 'init'"),
        ({"init": "\x00\x7fgarbage"}, "'\\x00\\x7fgarbage\\n' instead of the answer"),
        ({"init": "cmd=response_to_init rc=-1"}, "rc=-1"),
        ({"init": "cmd=response_to_init rc=0 pmi_version=2"}, "does not speak PMI-1"),
    ],
    ids=["nobody", "garbage", "refused", "PMI-2"],
)
def test_where_nobody_speaks_pmi_the_ranks_may_go_another_way(
    pair: Pair, answers: dict[str, str | None], words: str
) -> None:
    end, environ = pair()
    with pytest.raises(UnusableError) as failure:
        play(Launcher(end, **answers), (PmiExchange(environ), TEXT))
    assert words in str(failure.value)
    assert f"PMI_FD={environ['PMI_FD']}" in str(failure.value)


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({"get_maxes": "cmd=maxes"}, "vallen_max"),
        ({"get_maxes": "cmd=maxes vallen_max=-5"}, "no key-value space"),
        ({"get_my_kvsname": "cmd=my_kvsname"}, "no key-value space"),
        ({"put": None}, "was closed instead of the answer to 'put'"),
        ({"put": "cmd=put_result rc=-1 msg=no_room"}, "msg=no_room"),
        ({"barrier_in": None}, "was closed instead of the end of a barrier"),
        ({"barrier_in": "x" * 100_000}, "broke at the end of a barrier"),
        ({"finalize": "cmd=abort exitcode=1"}, "cmd=abort"),
    ],
)
def test_a_launcher_that_fails_in_the_middle_is_lost(
    pair: Pair, answers: dict[str, str | None], words: str
) -> None:
    end, environ = pair()
    with pytest.raises(LostError) as failure:
        play(Launcher(end, **answers), (PmiExchange(environ), TEXT))
    assert words in failure.value.saw
    assert failure.value.needed
    assert "--scheduler-file" in failure.value.do


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("cmd=get_result rc=1", "rc=1"),
        ("cmd=get_result rc=-1 msg=key_not_found value=unknown", "key_not_found"),
        ("cmd=get_result rc=0 found=FALSE", "no value for 'dask-runner-pieces'"),
        ("cmd=get_result rc=0 value=many", "'many'"),
        ("cmd=get_result rc=0 value=0", "'0'"),
        ("cmd=get_result rc=0 value=100", "'100'"),
        ("cmd=get_result rc=0 value=1", "came damaged"),
    ],
)
def test_a_record_that_is_not_there_or_damaged_is_refused(
    pair: Pair, answer: str, words: str
) -> None:
    end, environ = pair()
    with pytest.raises(LostError) as failure:
        play(Launcher(end, get=answer), (PmiExchange(environ), None))
    assert words in failure.value.saw


def test_a_launcher_that_says_nothing_is_given_up(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pmi_client, "ANSWER_SECONDS", 0.2)
    end, environ = pair()
    with end, pytest.raises(UnusableError, match=r"silent for 0\.2 s"):
        play(Launcher(), (PmiExchange(environ), TEXT))


def test_rank_0_says_in_time_that_not_all_have_come(pair: Pair) -> None:
    end, environ = pair()
    exchange = PmiExchange(environ)
    meeting = RelayMeeting(exchange, waits=lambda: exchange.doing, seconds=1.0)

    async def publish() -> None:
        serving = asyncio.create_task(Launcher(end, ranks=2).serve())
        try:
            await meeting.publish(RECORD)
        finally:
            serving.cancel()
            exchange.drop()

    with pytest.raises(AssemblyError, match="rank 0 waited 1 s") as failure:
        asyncio.run(publish())
    assert "not all ranks have come to its barrier" in failure.value.saw


# --- a rank that cannot come -----------------------------------------------------


def abort(launcher: Launcher, exchange: PmiExchange, *, met: bool = False) -> None:
    async def all_of_it() -> None:
        serving = asyncio.create_task(launcher.serve())
        async with asyncio.timeout(10):
            if met:
                await exchange(TEXT)
            notices = by_pmi.PmiNotices(exchange)
            # It is not said twice, where a signal went to all ranks.
            assert notices.leave(NOTICE) is None
            await notices.taken()
        serving.cancel()

    asyncio.run(all_of_it())


def test_a_rank_that_has_not_greeted_the_launcher_lets_it_end_all(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pmi_client, "ABORT_SECONDS", 0.2)
    end, environ = pair()
    launcher = Launcher(end)

    abort(launcher, PmiExchange(environ))

    assert launcher.heard[-1] == "cmd=abort exitcode=78\n"


def test_a_rank_that_has_met_the_others_ends_nobody(pair: Pair) -> None:
    end, environ = pair()
    launcher = Launcher(end)

    abort(launcher, PmiExchange(environ), met=True)

    assert not any("abort" in line for line in launcher.heard)


def test_a_launcher_that_is_gone_is_not_asked_for_ever(pair: Pair) -> None:
    end, environ = pair()
    end.close()

    abort(Launcher(), PmiExchange(environ))


# --- the way to the launcher ---------------------------------------------------


def test_a_socket_of_our_own_is_not_taken_for_the_launchers() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        environ = {"PMI_FD": str(ours.fileno())}
        assert pmi_client.descriptor(environ) is None
        os.set_inheritable(ours.fileno(), True)
        assert pmi_client.descriptor(environ) == ours.fileno()


def test_a_file_is_not_taken_for_the_launchers_socket() -> None:
    with tempfile.TemporaryFile() as file:
        os.set_inheritable(file.fileno(), True)
        assert pmi_client.descriptor({"PMI_FD": str(file.fileno())}) is None


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"PMI_FD": ""},
        {"PMI_FD": "x"},
        {"PMI_FD": "-1"},
        {"PMI_FD": "1000000"},
        {"PMI_FD": "9" * 30},
        {"PMI_FD": "x", "PMI_PORT": "node1:4000", "PMI_ID": "1"},
        {"PMI_PORT": "node1:4000"},
        {"PMI_PORT": "node1", "PMI_ID": "1"},
        {"PMI_PORT": ":4000", "PMI_ID": "1"},
        {"PMI_PORT": "node1:70000", "PMI_ID": "1"},
    ],
    ids=str,
)
def test_what_names_no_launcher_is_said(environ: dict[str, str]) -> None:
    with pytest.raises(pmi_client.SilentError, match=r"PMI_FD|PMI_PORT"):
        pmi_client.wire(environ)
