"""One cell, for real: reach the moment, strike, and look at what comes of it."""

import contextlib
import json
import os
import re
import signal
import time
from dataclasses import dataclass

from tests.failures.cell import NODES, OF_A_SCRIPT, UNSEEN, WAYS, Cell
from tests.failures.ends import ANY, FAILS, NAMELESS, RESULT, End, end
from tests.failures.parts import Process, plays, ranked
from tests.failures.stages import Ended, Stage, node_of

#: Seconds until a cluster has come to the moment of the blow.
REACHED = 90.0
#: Seconds for what stays only because a busy machine has not got to it yet; and for
#: a job that misses its time to end after all, so that the table has the figure.
SLACK = 2.0
OVERTIME = 60.0
#: Most times that a busy machine may take what an idle one takes: the load is also
#: that of the tests themselves, and an end that takes four times as long is a fault.
BUSIEST = 2.0

NUMBERS = {
    "sigint": signal.SIGINT,
    "sigterm": signal.SIGTERM,
    "sigkill": signal.SIGKILL,
    "sigstop": signal.SIGSTOP,
    "segv": signal.SIGSEGV,
    "rt": NAMELESS,
}

#: Nobody's words but a fault's, on a user's screen.
NOISE = re.compile(
    r"CommClosedError|Exception ignored|was never (awaited|retrieved)"
    r"|Task was destroyed|^(distributed|asyncio|tornado)[. ]|ResourceWarning"
    r"|leaked \w+ objects",
    re.MULTILINE,
)


class NotReachedError(Exception):
    """The cluster did not come to the moment of the blow."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a cell.

    Attributes
    ----------
    cell : Cell
    seconds : float
        From the blow (or the script's own end) to the last process that is gone.
    within : float
        What it may take on an idle machine (``ends.py``).
    busy : float
        How many times as long it was given here: see :func:`busy`.
    status : int or None
    faults : tuple of str
        What is not as it has to be.
    stderr : str
    """

    cell: Cell
    seconds: float
    within: float
    busy: float
    status: int | None
    faults: tuple[str, ...]
    stderr: str


def play(cell: Cell, stage: Stage) -> Outcome:
    """Play a cell to its end.

    Raises
    ------
    NotReachedError
    """
    wanted = end(cell)
    reach(cell, stage)
    strike(cell, stage)
    began = time.monotonic()
    faults = []
    if wanted.goes_on:
        if not _said(wanted, stage, began):
            faults.append(f"nothing like {wanted.says!r} in {wanted.notices:g} s")
        began = time.monotonic()
    if wanted.goes_on or cell.when in {"before", "closing"}:
        stage.tell("go")
    if cell.when == "closing":
        stage.tell("end")
    ended = stage.wait(wanted.within * busy() + SLACK)
    if ended.status is None:
        ended = stage.wait(OVERTIME)
    seconds, times = ended.at - began, busy()
    faults += _faults(wanted, ended, seconds, times)
    return Outcome(
        cell,
        seconds,
        wanted.within,
        times,
        ended.status,
        tuple(faults),
        ended.stderr,
    )


# --- the moment -------------------------------------------------------------


def reach(cell: Cell, stage: Stage) -> None:
    """Bring a job to the moment of the blow."""
    if cell.cause in OF_A_SCRIPT:
        if cell.when != "before":
            _event(stage, "begun")
        return
    if cell.who == "script" and cell.when == "closing":
        _event(stage, "begun")
        stage.tell("go")
        _event(stage, "script-closing")
        return
    if cell.when == "before" and (
        cell.who in {"hub", "top"} or (cell.who == "script" and cell.way != "cli")
    ):
        _event(stage, "gate")
        if cell.asks_before:
            _listens(cell, stage)
        return
    if cell.when == "closing":
        _event(stage, "begun")
        stage.tell("go")
        _event(stage, f"closing-{_last(cell)}")
        return
    events = {
        "before": "before-scheduler",
        "joining": f"joining-{_last(cell)}",
        "running": "begun",
        "moving": f"moving-{_last(cell)}",
    }
    _event(stage, events[cell.when])
    if cell.when == "moving":
        _event(stage, "moving-0")


def _listens(cell: Cell, stage: Stage) -> None:
    """Wait until the rank that is to be struck has begun to hear signals."""
    deadline = time.monotonic() + REACHED
    while True:
        with contextlib.suppress(NotReachedError):
            if _find(cell, stage).hears:
                return
        if stage.over or time.monotonic() > deadline:
            raise NotReachedError(f"{cell.who} hears nothing")
        time.sleep(0.05)


def _last(cell: Cell) -> int:
    return cell.ranks - 1


def _event(stage: Stage, name: str) -> object:
    deadline = time.monotonic() + REACHED
    while not (text := stage.hear(name)):
        if stage.over or time.monotonic() > deadline:
            raise NotReachedError(f"never came to {name!r}")
    return json.loads(text)


# --- the blow ---------------------------------------------------------------


def strike(cell: Cell, stage: Stage) -> None:
    """Strike, unless the script does it itself."""
    if cell.cause in OF_A_SCRIPT:
        return
    if cell.cause == "memory":
        if cell.who == "script":
            stage.strike_node(node_of(cell), "memory")
            stage.tell("limited")
        return
    if cell.who in NODES:
        stage.strike_node(node_of(cell), cell.cause)
    elif cell.who == "launcher":
        stage.signal_launcher(NUMBERS[cell.cause])
    else:
        stage.signal(_find(cell, stage), NUMBERS[cell.cause])


def _find(cell: Cell, stage: Stage) -> Process:
    processes = ranked(stage.processes())
    if cell.who == "worker" and cell.way in WAYS:
        return _worker(cell, stage, processes)
    part, rank = {
        "script": ("client" if cell.way == "cli" else "script", cell.client_rank),
        "scheduler": ("scheduler", 0),
        "worker": ("worker", _last(cell)),
        "agent": ("agent", _last(cell)),
        "forkserver": ("forkserver", _last(cell)),
        "tracker": ("tracker", _last(cell)),
        "hub": ("top", 0),
        "top": ("top", _last(cell)),
    }[cell.who]
    if cell.way not in WAYS or (cell.when == "before" and cell.way != "cli"):
        part = "script"  # of a peer, or one that has not begun its top process
    ranks = {rank, -1} if cell.launcher == "local" and cell.way == "with" else {rank}
    found = [one for one in processes if plays(one, part) and one.rank in ranks]
    if part in {"agent", *UNSEEN} and not found:
        # One for all ranks of a node, started by the first of them.
        found = [one for one in processes if plays(one, part)]
    if not found:
        listed = "\n".join(f"{one.rank} {one.name} {one.words}" for one in processes)
        raise NotReachedError(f"no {part} of rank {rank} among\n{listed}")
    return max(found, key=lambda one: one.rank)


def _worker(cell: Cell, stage: Stage, processes: list[Process]) -> Process:
    name = str(_last(cell))
    if cell.when == "running":
        places = _event(stage, "begun")
        assert isinstance(places, dict)
        _, pid = places[name]
    else:
        place = _event(stage, f"{cell.when}-{name}")
        assert isinstance(place, list)
        _, pid = place
    last = [one for one in processes if one.pid == pid]
    if not last:
        raise NotReachedError(f"worker {name} is gone already")
    return last[-1]


# --- what came of it --------------------------------------------------------


def _said(wanted: End, stage: Stage, began: float) -> bool:
    while wanted.says and not _ours(wanted.says, stage.output):
        if stage.over or time.monotonic() > began + wanted.notices * busy():
            return False
        time.sleep(0.05)
    return True


def _ours(pattern: str, text: str) -> bool:
    said = [line for line in text.splitlines() if line.startswith("dask-runner: ")]
    return bool(re.search(pattern, "\n".join(said)))


def busy() -> float:
    """Return how many times the seconds of an idle machine are due.

    Processes that wait for a CPU stretch all times alike. What a cell took, what it
    had to and this factor are in the table, which counts those that took longer
    than they may on an idle machine.
    """
    return min(max(os.getloadavg()[0] / (os.cpu_count() or 1), 1.0), BUSIEST)


def _faults(wanted: End, ended: Ended, seconds: float, times: float) -> list[str]:
    faults = []
    if ended.status is None:
        return [f"has not ended after {seconds:.0f} s", *ended.stays]
    if seconds > wanted.within * times:
        faults.append(f"ended after {seconds:.1f} s, not {wanted.within:g}")
    fits = {FAILS: ended.status > 0, ANY: True}.get(
        wanted.status, ended.status == wanted.status
    )
    if not fits:
        due = "a failure" if wanted.status == FAILS else wanted.status
        faults.append(f"status {ended.status}, not {due}")
    if wanted.says and not wanted.goes_on and not _ours(wanted.says, ended.stderr):
        faults.append(f"nothing like {wanted.says!r} said")
    if wanted.goes_on and ended.stdout != f"{RESULT}\n":
        faults.append(f"the script printed {ended.stdout!r}, not {RESULT}")
    tracebacks = ended.stderr.count("Traceback (most recent call last)")
    if tracebacks != wanted.tracebacks:
        faults.append(f"{tracebacks} tracebacks, not {wanted.tracebacks}")
    if noise := NOISE.search(ended.stderr):
        faults.append(f"noise on stderr: {noise[0]!r}")
    stays = [
        one
        for one in ended.stays
        if not (wanted.leaves and re.search(wanted.leaves, one) and "file" in one)
    ]
    return faults + [f"stays: {one}" for one in stays]
