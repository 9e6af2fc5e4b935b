"""A node's socket: who finds it, and whose is believed."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest

from dask_runner.node import follower, node_socket


def test_one_process_has_a_name_and_others_reach_it() -> None:
    name = f"dask-runner-test-{os.getpid()}"
    held = follower.claim(name)
    assert held is not None
    with socket.socket(fileno=held.detach()) as listening:
        assert follower.claim(name) is None
        with asyncio.run(node_socket.connect(name)) as one:  # type: ignore[union-attr]
            other, _ = listening.accept()
            with other:
                assert node_socket.of_this_user(other)
                one.sendall(b"hello")
                assert other.recv(5) == b"hello"
    assert asyncio.run(node_socket.connect(name)) is None


def test_a_leader_that_takes_nobody_in_is_none_and_nothing_else_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(node_socket, "CONNECT_SECONDS", 0.2)
    name = f"dask-runner-test-{os.getpid()}"

    async def beside() -> tuple[object, int]:
        connecting = asyncio.create_task(node_socket.connect(name))
        turns = 0
        while not connecting.done():
            turns += 1
            await asyncio.sleep(0.01)
        return await connecting, turns

    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as guest:
        busy.bind(f"\0{name}")
        busy.listen(0)
        guest.connect(f"\0{name}")
        connected, turns = asyncio.run(beside())
    assert connected is None
    assert turns > 1


def test_a_leader_that_is_late_is_waited_for() -> None:
    name = f"dask-runner-test-{os.getpid()}"

    async def play() -> object:
        connecting = asyncio.create_task(node_socket.connect(name))
        await asyncio.sleep(3 * node_socket.RETRY_SECONDS)
        busy.accept()[0].close()
        return await connecting

    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as guest:
        busy.bind(f"\0{name}")
        busy.listen(0)
        guest.connect(f"\0{name}")
        with asyncio.run(play()) as connected:  # type: ignore[attr-defined]
            assert node_socket.of_this_user(connected)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_another_users_socket_is_nobodys_leader() -> None:
    name = f"dask-runner-stranger-{os.getpid()}"
    ready, tell = os.pipe()
    stay, go = os.pipe()
    stranger = os.fork()
    if stranger == 0:
        os.close(go)
        os.setresuid(12345, 12345, 12345)
        held = follower.claim(name)  # noqa: F841  until its end
        os.write(tell, b"!")
        os.read(stay, 1)
        os._exit(0)
    os.read(ready, 1)
    try:
        assert asyncio.run(node_socket.connect(name)) is None
    finally:
        for end in (go, stay, ready, tell):
            os.close(end)
        os.waitpid(stranger, 0)
