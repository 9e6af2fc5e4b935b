"""The image's own follower says what Python's does, and leaves the rest to it.

It is long because most of its lines are programs that run in the image.
"""

from __future__ import annotations

from typing import Any

import pytest

#: MiB: the program is static, and nothing of it is read that is not used.
SMALL = 1

# Plays the leader, in the container.
LEADER = r"""
import os, select, signal, subprocess, sys, time
from pathlib import Path
from dask_runner.node import follower

SECONDS = 20.0
NATIVE, PYTHON = (f"/opt/dask-runner/{at}/dask-runner" for at in ("bin", "libexec"))
ARGS = ["-c", "a \"b\" 'c'\n", "", b"\xff\xfe"]
# Python sets LC_CTYPE where there is no locale (PEP 538).
OWN = {"LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"], "A": "1=2", "B": "", "C": "\n"}
LOCAL = {"DASKRUNNER_RANK": "1", "DASKRUNNER_JOB_ID": "7-ab"}

def claim(environ):
    name, leads = follower.meeting_place(environ, ["script.py"])
    assert name and not leads, environ
    door = follower.claim(name)
    door.settimeout(SECONDS)
    return door

def start(program, environ, args=ARGS):
    return subprocess.Popen([program, *args], env=OWN | environ, stderr=subprocess.PIPE)

def accept(door):
    connected, _ = door._accept()
    from socket import socket
    leader = socket(fileno=connected)
    leader.settimeout(SECONDS)
    return leader

def hear(leader):
    size = int.from_bytes(take(leader, follower.LENGTH))
    return take(leader, size)

def take(leader, size):
    data = b""
    while len(data) < size:
        more = leader.recv(size - len(data))
        assert more, data
        data += more
    return data

def is_python(process):
    while "python" not in os.readlink(f"/proc/{process.pid}/exe"):
        assert process.poll() is None
        time.sleep(0.005)

def begin(environ=LOCAL, words=b"the hub is lost\n"):
    door = claim(environ)
    process = start(NATIVE, environ)
    leader = accept(door)
    hear(leader)
    leader.sendall(b"held\nplayed 69 " + words)
    while (comm := Path(f"/proc/{process.pid}/comm").read_text()) != "dask-follower\n":
        assert process.poll() is None, comm
        time.sleep(0.01)
    return process, leader
"""


def _do(contained: Any, code: str, **options: Any) -> None:
    ended = contained.python(LEADER + code, **options)
    assert (ended.status, ended.stderr) == (0, ""), ended


def test_it_introduces_itself_as_python_would_under_each_launcher(
    contained: Any,
) -> None:
    _do(
        contained,
        r"""
os.makedirs("/tmp/a 'b'")
os.chdir("/tmp/a 'b'")
for _, local_rank, launch in follower.GLANCES:
    for length in 5, 200:
        environ = {local_rank: "1", **{name: "x" * length for name in launch}}
        with_door = claim(environ)
        said = []
        for program in NATIVE, PYTHON:
            process = start(program, environ)
            leader = accept(with_door)
            said.append(hear(leader))
            leader.sendall(b"held\nend 7\n")
            assert process.wait(SECONDS) == 7, process.stderr.read()
            assert process.stderr.read() == b""
        assert said[0] == said[1], said
        assert b"\0\xff\xfe\0" in said[0]
        with_door.close()
""",
    )


def test_it_is_small_and_passes_signals_on(contained: Any) -> None:
    _do(
        contained,
        rf"""
process, leader = begin()
status = Path(f"/proc/{{process.pid}}/status").read_text()
kib = int(status.partition("VmRSS:")[2].split()[0])
assert kib < {SMALL} * 1024, kib
for number in follower.SIGNALS:
    process.send_signal(number)
    assert leader.recv(1)[0] == number
leader.sendall(b"end 143\n")
assert process.wait(SECONDS) == 143
""",
    )


def test_a_lost_leader_is_an_error_with_the_words_that_it_left(contained: Any) -> None:
    _do(
        contained,
        r"""
for words in b"the hub is lost\n", b"\n":
    process, leader = begin(words=words)
    leader.close()
    assert process.wait(SECONDS) == follower.LOST
    assert process.stderr.read() == words.strip(b"\n") + words[-1:] * (len(words) > 1)
""",
    )


def test_a_status_that_is_cut_short_is_none(contained: Any) -> None:
    _do(
        contained,
        r"""
process, leader = begin(words=b"\n")
leader.sendall(b"end 14")
leader.close()
assert process.wait(SECONDS) == follower.LOST
""",
    )


def test_a_leader_that_comes_later_is_waited_for(contained: Any) -> None:
    _do(
        contained,
        r"""
process = start(NATIVE, LOCAL)
# Until it has looked, and found nobody.
while "nanosleep" not in Path(f"/proc/{process.pid}/wchan").read_text():
    assert process.poll() is None
    time.sleep(0.005)
leader = accept(claim(LOCAL))
hear(leader)
leader.sendall(b"end 3\n")
assert process.wait(SECONDS) == 3
""",
    )


def test_information_is_asked_of_no_leader(contained: Any) -> None:
    _do(
        contained,
        r"""
door = claim(LOCAL)
for word in follower.NO_RUN:
    start(NATIVE, LOCAL, [word, "--help"]).communicate(timeout=SECONDS)
again, _, _ = select.select([door], [], [], 0)
assert not again, "it came"
""",
    )


def test_a_leader_hears_signals_before_it_answers(contained: Any) -> None:
    _do(
        contained,
        r"""
door = claim(LOCAL)
for number in follower.ENDS:
    process = start(NATIVE, LOCAL)
    leader = accept(door)
    hear(leader)
    process.send_signal(number)
    assert leader.recv(1)[0] == number
    leader.sendall(b"end %d\n" % (128 + number))
    assert process.wait(SECONDS) == 128 + number
""",
    )


def test_a_signal_before_there_is_a_leader_waits_for_one(contained: Any) -> None:
    _do(
        contained,
        r"""
process = start(NATIVE, LOCAL)
while "nanosleep" not in Path(f"/proc/{process.pid}/wchan").read_text():
    assert process.poll() is None
    time.sleep(0.005)
process.send_signal(signal.SIGTERM)
leader = accept(claim(LOCAL))
hear(leader)
assert leader.recv(1)[0] == signal.SIGTERM
# It makes no end.
assert process.wait(SECONDS) == 143
""",
    )


# What the Python program ends with as a local rank of an unknown number of ranks; rank
# 0 would say why.
REFUSED = 78


@pytest.mark.parametrize(
    "how",
    [
        "declined",
        "kept",
        "dead",
        "cut short",
        "silent",
        "no leader",
        "a full queue",
        "another user's leader",
    ],
)
def test_without_a_leader_it_is_the_python_program_which_looks_for_none(
    contained: Any, how: str
) -> None:
    code = {
        "declined": """
door = claim(LOCAL)
process = start(NATIVE, LOCAL, ["script.py"])
leader = accept(door)
hear(leader)
leader.sendall(b"apart\\n")
assert take(leader, 1)[0] == follower.HANGS_UP
assert not leader.recv(1)
""",
        # The Python program tells it why it ends.
        "kept": """
door = claim(LOCAL)
process = start(NATIVE, LOCAL, ["script.py"])
leader = accept(door)
hear(leader)
leader.sendall(b"yourself\\n")
assert take(leader, 1)[0] == follower.STAYS
size = int.from_bytes(take(leader, 4))
assert b"Failed" in take(leader, size)
""",
        "dead": """
door = claim(LOCAL)
process = start(NATIVE, LOCAL, ["script.py"])
leader = accept(door)
hear(leader)
leader.close()
""",
        "cut short": """
door = claim(LOCAL)
process = start(NATIVE, LOCAL, ["script.py"])
leader = accept(door)
hear(leader)
leader.sendall(b"held\\nplayed 69 half of the last wor")
leader.close()
""",
        # Whose connection stays open: the time alone ends the wait.
        "silent": """
SECONDS += follower.ANSWER_SECONDS
door = claim(LOCAL)
process = start(NATIVE, LOCAL, ["script.py"])
leader = accept(door)
hear(leader)
""",
        # Once it is Python, there is a leader to be found.
        "no leader": """
process = start(NATIVE, LOCAL, ["script.py"])
is_python(process)
door = claim(LOCAL)
""",
        "a full queue": """
from socket import AF_UNIX, socket
full = claim(LOCAL)
full.listen(0)
guest = socket(AF_UNIX)
guest.connect(full.getsockname())
process = start(NATIVE, LOCAL, ["script.py"])
is_python(process)
guest.close()
full.close()
door = claim(LOCAL)
""",
        "another user's leader": """
door = claim(LOCAL)
process = start(NATIVE, LOCAL, ["script.py"])
leader = accept(door)
assert leader.recv(1) == b"", "it told another user"
""",
    }[how]
    if how == "another user's leader":
        # SO_PEERCRED says who has begun to listen: another than the follower.
        code = code.replace(
            "door = claim(LOCAL)\n",
            """
os.seteuid(12345)
name = follower.meeting_place(LOCAL, ["script.py"])[0].replace("-12345-", "-0-")
door = follower.claim(name)
door.settimeout(SECONDS)
os.seteuid(0)
""",
        )
    _do(
        contained,
        rf"""
{code}
said = process.communicate(timeout=SECONDS)[1].decode()
assert process.returncode == {REFUSED}, said
again, _, _ = select.select([door], [], [], 0)
assert not again, "it came again"
""",
        user="0",
    )


@pytest.mark.parametrize("rank", ["0", "1"])
def test_one_that_is_stopped_before_python_is_up_is_killed(
    contained: Any, rank: str
) -> None:
    # Python's own timer would take --timeout and ten seconds more. It stops itself
    # where Python has begun, and none of our code: from outside one may come too late.
    _do(
        contained,
        rf"""
own = next(at for at in sys.path if at.endswith("site-packages"))
Path(own, "stop.pth").write_text(
    "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)\n"
)
began = time.monotonic()
process = start(NATIVE, LOCAL | {{"DASKRUNNER_RANK": "{rank}"}}, ["script.py"])
assert process.wait(300) == -signal.SIGKILL
assert time.monotonic() - began < 4 * follower.STOPPED_CHECK_SECONDS
""",
        user="0",
    )


def test_no_watch_is_left_once_it_is_python_or_follows(contained: Any) -> None:
    _do(
        contained,
        r"""
def names():
    found = []
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            found.append(path.read_text().strip())
        except OSError:
            pass
    return found

process, leader = begin()
assert follower.WATCHES not in names()
leader.sendall(b"end 0\n")
assert process.wait(SECONDS) == 0
code = "import time; time.sleep(600)"
rank_0 = {"DASKRUNNER_RANK": "0", "DASKRUNNER_SIZE": "1"}
process = start(NATIVE, LOCAL | rank_0, ["-c", code])
while "dask-client" not in names():
    assert process.poll() is None, process.stderr.read()
    time.sleep(0.05)
assert follower.WATCHES not in names()
process.terminate()
assert process.wait(SECONDS) == 143
""",
    )


def test_with_nothing_to_follow_it_is_the_python_program(contained: Any) -> None:
    for args in ["--version"], ["-n", "2", "-c", "pass"]:
        ended = contained.run(*args)
        assert (ended.status, ended.foreign) == (0, []), ended


def test_where_the_python_program_is_gone_it_says_so(contained: Any) -> None:
    _do(
        contained,
        r"""
os.rename(PYTHON, PYTHON + ".away")
done = subprocess.run([NATIVE, "x.py"], env=OWN, capture_output=True, text=True)
assert done.returncode == 127, done
assert done.stderr.startswith(f"dask-runner: error: {PYTHON} cannot be started: "), done
""",
        user="0",
    )


def test_a_leader_has_the_seed_of_all_agents_and_forks_its_own(
    contained: Any,
) -> None:
    _do(
        contained,
        """
def words(pid, what):
    return Path(f"/proc/{pid}/{what}").read_bytes().split(b"\\0")

def agent_of(process):
    while True:
        for of in Path("/proc").glob("[0-9]*"):
            name, _, rest = (of / "stat").read_text().rpartition(")")
            if name.endswith("(dask-agent") and int(rest.split()[1]) == process.pid:
                return int(of.name)
        assert process.poll() is None
        time.sleep(0.01)

os.mkdir("/tmp/met", 0o700)
first = {
    **{"DASKRUNNER_RANK": "0", "DASKRUNNER_SIZE": "2", "DASKRUNNER_JOB_ID": "7-ab"},
    **{"DASKRUNNER_DIRECTORY": "/tmp/met", "HOME": "/tmp"},
}
for users, seed in ({}, "6640"), ({"PYTHONHASHSEED": "7"}, "7"):
    process = start(NATIVE, first | users, ["-c", "pass"])
    agent = agent_of(process)
    environ = words(agent, "environ")
    assert f"PYTHONHASHSEED={seed}".encode() in environ, environ
    assert (b"DASKRUNNER_SEEDED=1" in environ) == (not users), environ
    assert words(agent, "cmdline") == words(process.pid, "cmdline")
    process.kill()
    process.wait()
""",
    )
