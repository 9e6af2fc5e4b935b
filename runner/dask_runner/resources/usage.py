"""What a tree of processes uses of its node: CPU time and memory, from ``/proc``.

The look is cheap: of a process that does not belong to the tree nothing is read twice,
and of one that does the two small files ``stat`` and ``status``.

**CPU time** is that of all living processes of the tree and of the children for which
they have waited. A process that has gone, and whose parent was no part of the tree any
more, counts with what it had at the last look.

**Memory** is what the processes have for themselves: anonymous and shared pages, less
what forks share with each other. How much that is, is asked once of each process
(``smaps_rollup``, which walks all of its pages), when it is new and small.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

PROC = Path("/proc")
KIB = 1024


@dataclass(slots=True)
class _Process:
    """One process of the tree, as it was at the last look."""

    born: int
    parent: int
    cpu: float
    memory: int = 0
    peak: int = 0
    shared: int = -1


@dataclass(frozen=True, slots=True)
class Look:
    """What the processes use.

    Attributes
    ----------
    cpu : float
        Seconds, from their beginnings.
    memory : int
        Bytes, now.
    processes : int
    """

    cpu: float
    memory: int
    processes: int


class ProcessTree:
    """The descendants of some processes, and these.

    Parameters
    ----------
    proc : Path
        Where ``/proc`` is.
    ticks : int, optional
        Clock ticks a second.
    """

    def __init__(self, proc: Path = PROC, ticks: int | None = None) -> None:
        self._proc = proc
        self._ticks = ticks or os.sysconf("SC_CLK_TCK")
        self._own: dict[int, _Process] = {}
        self._foreign: set[int] = set()
        self._gone = 0.0
        self._cpu = 0.0

    def look(self, roots: Iterable[int]) -> Look:
        """Look at the processes below *roots*, and at these."""
        found = self._find(set(roots))
        for pid, process in self._own.items():
            same = pid in found and found[pid].born == process.born
            if not same and process.parent not in (found.keys() | self._own.keys()):
                self._gone += process.cpu
        for pid, process in found.items():
            before = self._own.get(pid)
            if before is not None and before.born == process.born:
                process.shared, process.peak = before.shared, before.peak
            self._read_memory(pid, process)
        self._own = found
        now = self._gone + sum(one.cpu for one in found.values())
        # Time that a parent has not waited for is counted nowhere any more.
        self._gone += max(self._cpu - now, 0.0)
        self._cpu = max(self._cpu, now)
        return Look(self._cpu, sum(one.memory for one in found.values()), len(found))

    def peak(self, pid: int) -> int:
        """Return the most memory that a process has had (its resident set), or 0."""
        process = self._own.get(pid) or _Process(0, 0, 0.0)
        if not process.peak:
            self._read_memory(pid, process)
        return process.peak

    def _find(self, roots: set[int]) -> dict[int, _Process]:
        numbers = {int(name) for name in os.listdir(self._proc) if name.isdigit()}  # noqa: PTH208  many, and their names alone
        self._foreign &= numbers
        read = {
            pid: process
            for pid in sorted(numbers - self._foreign)
            if (process := self._read(pid)) is not None
        }
        found: dict[int, _Process] = {}
        rest = dict(read)
        new = {pid for pid in read if pid in roots or self._is_known(pid, read[pid])}
        while new:
            found |= {pid: rest.pop(pid) for pid in new}
            new = {pid for pid, process in rest.items() if process.parent in found}
        self._foreign |= rest.keys()
        return found

    def _is_known(self, pid: int, process: _Process) -> bool:
        return pid in self._own and self._own[pid].born == process.born

    def _read(self, pid: int) -> _Process | None:
        fields = _text(self._proc / str(pid) / "stat").rpartition(") ")[2].split()
        try:
            cpu = sum(map(int, fields[11:15])) / self._ticks
            return _Process(int(fields[19]), int(fields[1]), cpu)
        except (IndexError, ValueError):
            return None  # it has ended

    def _read_memory(self, pid: int, process: _Process) -> None:
        status = _sizes(_text(self._proc / str(pid) / "status"))
        process.peak = max(process.peak, status.get("VmHWM", 0))
        if "RssAnon" in status:
            memory = status["RssAnon"] + status.get("RssShmem", 0)
        else:  # before Linux 4.5, or it has no memory any more
            memory = status.get("VmRSS", 0)
        if process.shared < 0 and memory:
            process.shared = self._shared(pid)
        process.memory = max(memory - max(process.shared, 0), 0)

    def _shared(self, pid: int) -> int:
        """Return the part of a process's memory that counts for others."""
        told = _sizes(_text(self._proc / str(pid) / "smaps_rollup"))
        if "Pss_Anon" in told:
            return max(told.get("Anonymous", 0) - told["Pss_Anon"], 0)
        return max(told.get("Rss", 0) - told.get("Pss", told.get("Rss", 0)), 0)


def own_memory() -> int:
    """Return the bytes of this process in memory, counted as Dask does a worker's."""
    return _sizes(_text(PROC / "self/status"))["VmRSS"]


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read().decode(errors="replace")
    except OSError:
        return ""  # it has ended, or is another user's


def _sizes(text: str) -> dict[str, int]:
    """Return the sizes that a file of ``/proc`` has in kB, in bytes."""
    lines = (line.split() for line in text.splitlines())
    return {
        words[0].rstrip(":"): int(words[1]) * KIB
        for words in lines
        if len(words) == 3 and words[2] == "kB"  # noqa: PLR2004  name, number, unit
    }
