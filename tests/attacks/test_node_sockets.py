"""Another account at the sockets by which the ranks of a node find each other.

Their names can be known before a job begins: the launcher's queue tells them.
"""

from __future__ import annotations

import os
import select
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dask_runner.launch.detect import detect
from dask_runner.launch.launch import Launch
from dask_runner.launch.plan import make_plan
from dask_runner.launch.settings import settle
from dask_runner.node import follower
from dask_runner.node.fork_context import Borrow, ForkContext
from dask_runner.resources.machine import take
from dask_runner.wire.message import encode
from tests.attacks.stranger import attacking
from tests.programs import BEGIN
from tests.ranks import Job, RunnerJob, ended, native
from tests.running import DASK_RUNNER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.running import Ended

#: What the job of the victim does.
CODE = "-c", BEGIN + "print(client.submit(sum, [1, 2]).result())"

#: Takes each name before the job does. Then: lets nobody in, with a full queue; lets
#: all in and is silent; talks nonsense; says what a leader says who ends a rank.
SQUATTER = r"""
import select, socket, sys
how, *names = sys.argv[1:]
doors, guests = [], []
for name in names:
    door = socket.socket(socket.AF_UNIX)
    door.bind("\0" + name)
    door.listen(0 if how == "full" else 4096)
    doors.append(door)
    while how == "full":
        guest = socket.socket(socket.AF_UNIX)
        guest.setblocking(False)
        guests.append(guest)
        try:
            guest.connect("\0" + name)
        except BlockingIOError:
            break
print("ready", flush=True)
said = {"silent": b"", "garbage": b"\xff\0" * 9999, "leader": b"held\nend 0\n"}
while True:
    for door in select.select([] if how == "full" else doors, [], [])[0]:
        guests.append(door.accept()[0])
        try:
            guests[-1].send(said[how])
        except OSError:
            pass
"""

#: Knocks at each name, again and again, as a rank would; never hangs up.
VISITOR = r"""
import socket, sys, time
said = bytes.fromhex(sys.argv[1])
guests = []
print("ready", flush=True)
while True:
    for name in sys.argv[2:]:
        guest = socket.socket(socket.AF_UNIX)
        guest.setblocking(False)
        try:
            guest.connect("\0" + name)
            guest.send(said)
        except OSError:
            time.sleep(0.001)
        else:
            guests.append(guest)
    del guests[:-500]
"""

#: Listens at a name, and prints what a rank tells it.
LISTENER = r"""
import socket, sys
door = socket.socket(socket.AF_UNIX)
door.bind("\0" + sys.argv[1])
door.listen()
print("ready", flush=True)
guest, _ = door.accept()
print("a rank came", flush=True)
print(guest.recv(1 << 16), flush=True)
"""


@pytest.fixture(params=["Python", "C"])
def program(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "C":
        return native(tmp_path)
    return DASK_RUNNER


@pytest.fixture
def job(tmp_path: Path, program: Path) -> Iterator[Job]:
    directory = tmp_path / "job"
    directory.mkdir()
    with Job(directory, 3, program) as job:
        yield job


def name(job: Job) -> str:
    """Return the name of the node's socket."""
    environ = {**job.environ, "DASKRUNNER_RANK": "0"}
    found, leads = follower.meeting_place(environ, CODE)
    assert leads
    return found


def play(job: Job) -> Ended:
    """Run all ranks to their end, whose statuses are the script's."""
    first, *others = (job.rank(number, *CODE) for number in range(3))
    end = ended(first, 0)
    assert end.stdout == "3\n", end
    for other in others:
        ended(other, 0)
    return end


@pytest.mark.attack(
    "takes the name of a node's socket before the job does, and admits "
    "nobody, stays silent, or answers",
    "no message from any rank: each runs its own processes, which costs memory",
)
@pytest.mark.parametrize("how", ["full", "silent", "garbage", "leader"])
def test_squatters(job: Job, how: str) -> None:
    with attacking(SQUATTER, how, name(job)):
        play(job)


@pytest.mark.attack(
    "connects to a node's socket in place of its ranks, thousands of times",
    "no answer; the job goes on",
)
@pytest.mark.parametrize("asks", ["to be played", "for the agent"])
def test_visitors(job: Job, asks: str) -> None:
    words = follower.introduce(CODE) if asks == "to be played" else borrow(job)
    said = len(words).to_bytes(follower.LENGTH) + words
    with attacking(VISITOR, said.hex(), name(job)):
        end = play(job)
    assert "lost" not in end.stderr


def borrow(job: Job) -> bytes:
    """Return what rank 1 of a job says to share the leader's agent."""
    environ = {**job.environ, "DASKRUNNER_RANK": "1"}
    world = detect(environ)
    assert world is not None
    launch = Launch(world, make_plan(3, "shared"), settle({}, {}), environ)
    return encode(Borrow(ForkContext.of(launch, take(environ), Path("/"))))


@pytest.mark.attack(
    "takes the name of the socket by which a runner's ranks would share an agent",
    "no message from any rank: each runs its own processes",
)
@pytest.mark.parametrize("how", ["full", "silent", "garbage"])
def test_squatters_of_a_runner(tmp_path: Path, how: str) -> None:
    with RunnerJob(tmp_path) as job, attacking(SQUATTER, how, job.socket):
        first, second = job.rank(0), job.rank(1)
        assert ended(first, 0).stdout == "3\n"
        ended(second, 0)


@pytest.mark.attack(
    "appears as the same user, in a user namespace that maps neither account",
    "no message from any rank: users prove nothing there, so each runs its own "
    "processes",
)
def test_the_overflow_user(job: Job) -> None:
    mapless = ("unshare", "--user")
    shown = subprocess.run([*mapless, "id", "-u"], capture_output=True, check=False)
    if shown.returncode:
        pytest.skip("needs user namespaces")
    uid = shown.stdout.decode().strip()
    leader = name(job).replace(f"dask-runner-{os.geteuid()}-", f"dask-runner-{uid}-")
    with attacking(LISTENER, leader) as listener:
        run = job.rank(1, "--timeout", "1", *CODE, before=mapless)
        assert run.wait().status == 75
        assert listener.stdout is not None
        told, _, _ = select.select([listener.stdout], [], [], 0)
        assert not told, "a rank came"
