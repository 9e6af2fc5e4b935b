"""A kill that is drawn from a seed: how the job runs, when, who, and by what."""

from __future__ import annotations

import random
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.failures.kills.victims import Victim

#: No signal has this number alone: the first two real-time signals are the C library's.
REAL_TIME = signal.SIGRTMIN + 3

SIGNALS = (
    signal.SIGKILL,
    signal.SIGTERM,
    signal.SIGSEGV,
    REAL_TIME,
    signal.SIGSTOP,  # and never continued
)

#: From what until what a moment is drawn (``timeline.py``), and how often of a hundred
#: times. Before rank 0 speaks most victims are Apptainer's, which cost ``--timeout``.
PHASES = {
    "before": 15,  # rank 0 has said nothing
    "starting": 25,  # the ranks meet, workers start
    "running": 40,  # the script runs its tasks
    "ending": 20,  # the script has printed its result
}

LAYOUTS = ("shared", "dedicated")
NODES = 2
#: Ranks on each node. With one, the dedicated layout has nobody to work.
PER_NODE = {"shared": (1, 2, 3), "dedicated": (2, 3)}

OPTIONS: tuple[tuple[str, ...], ...] = (
    (),
    ("--security", "none"),
    ("--nworkers", "2"),
    ("--min-workers", "1"),
)


@dataclass(frozen=True, slots=True)
class Draw:
    """One run.

    Attributes
    ----------
    seed : int
        All else follows from it, but for what the machine does meanwhile.
    layout : str
    per_node : int
        Ranks on each of two nodes.
    options : tuple of str
        More of ``dask-runner``'s.
    phase : str
        In which part of the job's life the blow falls.
    fraction : float
        How far into that part.
    number : int
        The signal.
    luck : tuple of float
        Which kind of process, and which one of that kind.
    """

    seed: int
    layout: str
    per_node: int
    options: tuple[str, ...]
    phase: str
    fraction: float
    number: int
    luck: tuple[float, float]

    @classmethod
    def of(cls, seed: int) -> Draw:
        """Draw the run of a seed."""
        chance = random.Random(seed)  # noqa: S311  to be drawn again
        layout = chance.choice(LAYOUTS)
        return cls(
            seed,
            layout,
            chance.choice(PER_NODE[layout]),
            chance.choice(OPTIONS),
            chance.choices([*PHASES], [*PHASES.values()])[0],
            chance.random(),
            int(chance.choice(SIGNALS)),
            (chance.random(), chance.random()),
        )

    def pick(self, victims: Sequence[Victim]) -> Victim:
        """Pick one; each kind is as likely as any other, however many there are."""
        kinds = sorted({one.kind for one in victims})
        kind = kinds[int(self.luck[0] * len(kinds))]
        found = sorted(
            (one for one in victims if one.kind == kind),
            key=lambda one: (one.process.node, one.rank, one.process.pid),
        )
        return found[int(self.luck[1] * len(found))]

    @property
    def size(self) -> int:
        """How many ranks there are."""
        return NODES * self.per_node

    @property
    def workers(self) -> tuple[int, ...]:
        """The ranks that have workers."""
        return tuple(range(0 if self.layout == "shared" else 2, self.size))

    @property
    def client_rank(self) -> int:
        """The rank that runs the script."""
        return 0 if self.layout == "shared" else 1

    @property
    def signal(self) -> str:
        """What the signal is called."""
        return signal_name(self.number)

    def node(self, rank: int) -> str:
        """Return where a rank is: srun fills one node after the other."""
        return f"c{1 + rank // self.per_node}"

    def __str__(self) -> str:
        options = "".join(f" {one}" for one in self.options)
        return (
            f"seed {self.seed}: {self.layout}, {self.per_node} ranks on each node"
            f"{options}; {self.signal} at {self.fraction:.2f} of {self.phase!r}"
        )


def signal_name(number: int) -> str:
    """Return what our messages call a signal."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
