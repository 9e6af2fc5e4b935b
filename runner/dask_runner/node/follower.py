"""A rank that another rank of its node plays for, and how the two find each other.

All ranks of a node are the same program with the same command. So one of them, the
leader, can play the part of each (:mod:`dask_runner.node.leader`), and the others stay
as small as an interpreter is: they hand over what is their own, pass on the signals
that they get, and end with the status that they are told. A rank that finds no leader
plays its part by itself.

This module is all that such a rank imports, and is one file of any length for that: its
start-up time is counted in milliseconds. The modules here are built into the
interpreter or loaded by it anyway. Of those with an underscore, ``socket`` and
``signal`` are the public faces; they import ``enum`` and ``selectors``, and that alone
is a third of what a follower costs (``python -X importtime``).

The connection also tells each side that the other has died, from the moment at which
there is one until the hub knows both. So a rank that plays its part itself keeps it,
unless the leader hangs up.

::

    follower → leader   length, introduction (fields that end with NUL)
    follower → leader   a byte for each signal: its number
    leader → follower   lines:
        held                I play your part; if I am lost, play it yourself
        played 69 WORDS     the hub knows you; if I am lost, say this and end so
        end 143             end with this status
        yourself            play your part yourself, and keep the connection
        apart               play your part yourself; I hang up
    follower → leader   a byte: I play my part myself, and stay (what follows are
                        messages, dask_runner.wire.channel), or hang up

A rank that plays its part itself, and wants to share the leader's agent, connects once
more, and begins with a message (:mod:`dask_runner.node.fork_context`).
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # typeshed lacks it
import _socket
import os
import sys
import time

from dask_runner import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import FrameType
    from typing import Any, Self

    from dask_runner.node.early_agent import EarlyAgent

#: Of a launcher, what can be read at a glance: its row's name, the variable of the
#: local rank, and those that name the launch. The innermost comes first. It is a
#: guess, which the leader checks against the whole table of launchers.
GLANCES = (
    ("local", "DASKRUNNER_RANK", ("DASKRUNNER_JOB_ID",)),
    ("openmpi", "OMPI_COMM_WORLD_LOCAL_RANK", ("PMIX_NAMESPACE",)),
    ("flux", "FLUX_TASK_LOCAL_ID", ("FLUX_JOB_ID",)),
    ("slurm", "SLURM_LOCALID", ("SLURM_JOB_ID", "SLURM_STEP_ID")),
)

#: First arguments with which it is no rank that runs a program.
NO_RUN = (
    "connect",
    "logs",
    "list",
    "stop",
    "dashboard",
    "info",
    "check",
    "recipe",
    "job",
    "hosted",
    "--help",
    "--version",
)

#: Signals that end a cluster, and all that a follower passes on (launch/signals.py).
ENDS = (_signal.SIGTERM, _signal.SIGINT)
SIGNALS = (*ENDS, _signal.SIGUSR1, _signal.SIGUSR2)

#: Seconds for the leader to come into being, and to answer. Later, the follower
#: plays its part itself, which is slower and nothing worse. A launcher starts the
#: tasks of a node together; where each has a network of its own, none ever appears.
#: It is the same where another account has taken the name, which all know that can
#: read the launcher's queue.
FIND_LEADER_SECONDS = 3.0
ANSWER_SECONDS = 30.0
#: Seconds between checks whether it is stopped; at the second one it is killed.
STOPPED_CHECK_SECONDS = 7
#: Seconds after a signal that ends a cluster in which the leader has to make an end,
#: as long as the part is not played yet; the whole job has ten.
END_SECONDS = 8
#: Seconds between attempts to connect to it, at first and at last.
FIRST_LOOK_SECONDS, LAST_LOOK_SECONDS = 0.005, 0.05

#: Bytes of an abstract socket's name, which the kernel limits to 107 (unix(7)).
LONGEST_NAME = 100

#: Bytes of an introduction's length.
LENGTH = 4

#: Where two containers of a node may differ though their variables are the same.
SHARED = ("/tmp",)  # noqa: S108  looked at, and not written to

#: How ``ps -o comm`` shows a follower.
NAME = "dask-follower"

#: Set by a follower that no leader plays for, where it is not Python: the images have
#: one that says the same in less (``images/follower``). Its value is the descriptor of
#: the connection with the leader, or -1. Not for others to set.
ALONE = "DASKRUNNER_ALONE"

#: Set by the same: its child that kills it if it is stopped, until a timer of the
#: kernel does that (``kill_timer``). And how ``ps -o comm`` shows that child.
WATCHED, WATCHES = "DASKRUNNER_WATCHED", "dask-watch"

#: The variable and the value with which a leader's Python is started, so that the agent
#: that it forks hashes as those of all nodes (``early_agent``); and what says that the
#: user has not set it.
HASH_SEED, SEED = "PYTHONHASHSEED", "6640"
SEEDED = "DASKRUNNER_SEEDED"

#: What a rank of a lost cluster ends with (``errors.LostError.status``).
LOST = 69

#: The lines that a leader says.
HELD, PLAYED, END, YOURSELF, APART = "held", "played", "end", "yourself", "apart"
#: The bytes of a follower that plays its part itself; no signals have these numbers.
STAYS, HANGS_UP = 0, 255

#: The user that the kernel shows for all whom a user namespace does not map, where
#: /proc does not tell (user_namespaces(7)).
OVERFLOW = 65534


def meeting_place(environ: Mapping[str, str], args: Sequence[str]) -> tuple[str, bool]:
    """Return the name of the leader's socket, and whether this rank leads.

    Returns
    -------
    (str, bool)
        An empty name where ranks of a node cannot find each other at a glance.
    """
    if not args or args[0] in NO_RUN:
        return "", False
    for launcher, local_rank, launch in GLANCES:
        if all(environ.get(name) for name in (local_rank, *launch)):
            if not has_own_user():
                break
            names = [environ[name] for name in launch]
            what = "-".join([str(os.geteuid()), launcher, *names])
            return f"dask-runner-{what[-LONGEST_NAME:]}", environ[local_rank] == "0"
    return "", False


def claim(name: str) -> _socket.socket | None:
    """Open the leader's socket; None if another process has it."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        sock.bind(f"\0{name[:LONGEST_NAME]}")
    except OSError:
        sock.close()
        return None
    sock.listen(_socket.SOMAXCONN)
    return sock


def has_own_user() -> bool:
    """Return whether the user that the kernel shows for this process is ours alone.

    Where it is the overflow user, so is every stranger that our user namespace does
    not map, and equal users prove nothing.
    """
    try:
        with open("/proc/sys/kernel/overflowuid") as file:  # noqa: PTH123  no pathlib
            overflow = int(file.read())
    except (OSError, ValueError):
        overflow = OVERFLOW
    return os.geteuid() != overflow


class Beside:
    """What a rank has before it knows its part: sockets of its node, and an agent.

    Attributes
    ----------
    name : str
        The name of the node's socket; empty where it is not known yet.
    listening : socket or None
        The node's socket, in the leader.
    leader : socket or None
        The connection with the leader, in a rank that plays its part itself.
    agent : EarlyAgent or None
        The process that is to be the leader's agent, once it is known that it is one.
    """

    __slots__ = ("agent", "leader", "listening", "name")

    def __init__(self) -> None:
        self.name = ""
        self.listening: _socket.socket | None = None
        self.leader: _socket.socket | None = None
        self.agent: EarlyAgent | None = None

    def take_agent(self) -> EarlyAgent | None:
        """Return the agent's process, which is the caller's from now on."""
        agent, self.agent = self.agent, None
        return agent

    def need_no_agent(self) -> None:
        """End the agent's process, if it is not taken."""
        if (agent := self.take_agent()) is not None:
            agent.give_up()


def kept(descriptor: str) -> _socket.socket | None:
    """Take a connection over from a follower that is not Python; "-1" is none."""
    try:
        sock = _socket.socket(fileno=int(descriptor))
    except (ValueError, OSError):
        return None
    os.set_inheritable(sock.fileno(), False)
    return sock if _is_ours(sock) else None


def hold_signals() -> None:
    """Hold signals back until :func:`hear_signals`.

    Between a process's start and the moment at which its rank acts on signals, one that
    ends it would end it silently, and the other ranks would wait for it.
    """
    _signal.pthread_sigmask(_signal.SIG_BLOCK, SIGNALS)


def hear_signals() -> None:
    """Hear signals, the ones that have waited first."""
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, SIGNALS)


def follow(name: str, args: Sequence[str]) -> int | _socket.socket | None:
    """Ask the leader of that name to play this rank's part.

    Returns
    -------
    int, socket or None
        The exit status; or the connection with the leader if this process is to play
        its part itself; None if there is no connection. Signals are held then, among
        them those that came in the meantime.
    """
    with _Signals() as signals:
        leader = _find(name)
        if leader is None:
            return None
        leader.settimeout(ANSWER_SECONDS)
        introduction = introduce(args)
        try:
            leader.sendall(len(introduction).to_bytes(LENGTH) + introduction)
        except TimeoutError:
            _hang_up(leader)
            return None
        except OSError:
            pass  # it has hung up, and its last line says why
        else:
            signals.pass_on(leader)
        try:
            return _obey(leader, signals)
        except SystemExit:  # of a signal
            leader.close()
            raise


def _obey(leader: _socket.socket, signals: _Signals) -> int | _socket.socket | None:
    """Do as the leader says; return as :func:`follow` does."""
    status, words = -1, ""
    try:
        _await_answer(leader)
        while line := _line(leader):
            word, _, rest = line.partition(" ")
            if word == HELD:
                # It ends by itself, and its agent ends it if it stands still.
                leader.settimeout(None)
                _name_process(NAME)
            elif word == PLAYED:
                told, _, words = rest.partition(" ")
                status = int(told)
                signals.played()
            elif word == END:
                status = int(rest)
                leader.close()
                return status
            elif word == YOURSELF:
                signals.stop()
                leader.sendall(bytes([STAYS]))
                return leader
            else:
                break
        else:
            return _lost(leader, status, words)
    except (TimeoutError, ValueError):
        pass  # it stands still, or talks nonsense
    except OSError:
        return _lost(leader, status, words)
    _hang_up(leader)
    return None


def _lost(leader: _socket.socket, status: int, words: str) -> int | _socket.socket:
    """Return what comes of the leader's death."""
    if status < 0:
        # The hub may not know of it. The rank finds its leader dead, and tells.
        return leader
    leader.close()
    if words:
        print(words, file=sys.stderr, flush=True)  # noqa: T201  report.say: click
    return status


def _await_answer(leader: _socket.socket) -> None:
    """Wait for the leader's first word; kill a leader that is stopped meanwhile.

    It may have been stopped before anybody watched it. It cannot end by itself then,
    and its launcher would wait for it.

    Raises
    ------
    OSError
        If the connection is cut; TimeoutError if the time is over.
    """
    latest, stands = time.monotonic() + ANSWER_SECONDS, 0
    leader.settimeout(min(STOPPED_CHECK_SECONDS, ANSWER_SECONDS))
    while True:
        try:
            leader.recv(1, _socket.MSG_PEEK)
        except TimeoutError:
            pid = _peer(leader, 0)
            # Twice: both may have been stopped together, and continued.
            stands = stands + 1 if _is_stopped(pid) else 0
            if stands > 1:
                os.kill(pid, _signal.SIGKILL)
            elif time.monotonic() > latest:
                raise
        else:
            break
    leader.settimeout(ANSWER_SECONDS)


def _is_stopped(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123  no pathlib
            return file.read().rpartition(")")[2].startswith(" T ")
    except OSError:
        return False  # it is gone, or in a container that hides it


def _hang_up(leader: _socket.socket) -> None:
    """Tell the leader that this rank lives, and plays its part without it."""
    leader.settimeout(0)
    try:
        leader.send(bytes([HANGS_UP]))
    except OSError:
        return  # it takes nothing, or is gone
    finally:
        leader.close()


def introduce(args: Sequence[str]) -> bytes:
    """Return what the leader has to know of this process, each field NUL-ended."""
    fields = [
        __version__,
        sys.executable,
        *map(identity, (".", *SHARED)),
        os.getcwd(),  # noqa: PTH109  pathlib is no part of a follower
        str(len(args)),
        *args,
        *(f"{name}={value}" for name, value in os.environ.items()),
    ]
    return b"".join(os.fsencode(field) + b"\0" for field in fields)


def identity(path: str) -> str:
    """Name a directory as the kernel knows it: device and inode."""
    try:
        found = os.stat(path)  # noqa: PTH116  pathlib is no part of a follower
    except OSError:
        return ""
    return f"{found.st_dev}:{found.st_ino}"


def _find(name: str) -> _socket.socket | None:
    latest, pause = time.monotonic() + FIND_LEADER_SECONDS, FIRST_LOOK_SECONDS
    while True:
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        # Else connect(2) sleeps for as long as the listener's queue is full.
        sock.settimeout(0)
        try:
            sock.connect(f"\0{name[:LONGEST_NAME]}")
        except OSError:
            sock.close()
            if time.monotonic() > latest:
                return None
            # There is no event to wait for: an abstract name has no directory.
            time.sleep(pause)
            pause = min(pause * 1.5, LAST_LOOK_SECONDS)
            continue
        if _is_ours(sock):
            return sock
        sock.close()
        return None


def _is_ours(sock: _socket.socket) -> bool:
    return _peer(sock, 4) == os.geteuid()


def _peer(sock: _socket.socket, at: int) -> int:
    """Return a field of ``struct ucred``: 0 is the process ID, 4 the user."""
    told = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
    return int.from_bytes(told[at : at + 4], sys.byteorder)


def _line(leader: _socket.socket) -> str:
    """Read a line; empty if the connection ends before.

    Raises
    ------
    OSError
        If the connection is cut; TimeoutError if the time is over.
    """
    line = b""
    while not line.endswith(b"\n"):
        # One byte at a time: what comes behind the line is somebody else's.
        byte = leader.recv(1)
        if not byte:
            return ""
        line += byte
    return line[:-1].decode(errors="replace")


def _name_process(name: str) -> None:
    try:
        with open("/proc/self/comm", "w") as file:  # noqa: PTH123  as above
            file.write(name)
    except OSError:
        return  # a name is a convenience


class _Signals:
    """Signals while another process may play this rank's part.

    The leader gets them once it knows this rank. Before, they are kept: somebody has
    to tell the other ranks. If no part was played at the end, they are raised again,
    for the one who plays it then.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._leader: _socket.socket | None = None
        self._got: list[int] = []
        self._ending = 0
        self._played = False

    def __enter__(self) -> Self:
        for number in (*SIGNALS, _signal.SIGALRM):
            self._before[number] = _signal.signal(number, self._handle)
        hear_signals()
        return self

    def __exit__(self, *error: object) -> None:
        hold_signals()
        _signal.alarm(0)
        for number, handler in self._before.items():
            _signal.signal(number, handler)
        for number in self._got:
            _signal.raise_signal(number)

    def pass_on(self, leader: _socket.socket) -> None:
        """From now on the leader gets them, those first that came before."""
        hold_signals()
        self._leader = leader
        for number in self._got:
            self._send(number)
        hear_signals()

    def stop(self) -> None:
        """From now on the leader gets none any more."""
        self._leader = None

    def played(self) -> None:
        """From now on the script may use its grace."""
        self._played = True
        self._got.clear()
        _signal.alarm(0)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        if number == _signal.SIGALRM:
            sys.exit(128 + self._ending)
        if not self._played:
            self._got.append(number)
            if number in ENDS and not self._ending:
                self._ending = number
                _signal.alarm(END_SECONDS)
        self._send(number)

    def _send(self, number: int) -> None:
        if self._leader is None:
            return
        try:
            self._leader.send(bytes([number]))
        except OSError:
            # The leader is gone, which is read in a moment and says more.
            return
