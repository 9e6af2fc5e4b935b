"""Which failures there are: causes, who it hits, when, and under what.

A cell is one of each. Most products make sense; :data:`RULES` leaves out the rest,
each with its reason. What has to happen in a cell is in ``ends.py``.
"""

from collections.abc import Callable
from dataclasses import astuple, dataclass
from functools import cache
from itertools import product

from tests.failures.cell import (
    AT_A_DESK,
    BELOW,
    BY_A_PROGRAM,
    BY_MPI,
    CAUSES,
    LAUNCHERS,
    LAYOUTS,
    NODES,
    OF_A_SCRIPT,
    TOPS,
    UNSEEN,
    WAYS,
    WHEN,
    WHO,
    Cell,
)


@dataclass(frozen=True, slots=True)
class Rule:
    """Why some products are no cells."""

    reason: str
    leaves_out: Callable[[Cell], bool]


RULES = (
    # --- what there is not
    Rule(
        "only a script does this to itself",
        lambda x: x.cause in OF_A_SCRIPT and x.who != "script",
    ),
    Rule(
        "no line of the script runs while workers are joining",
        lambda x: x.cause in OF_A_SCRIPT and x.when == "joining",
    ),
    Rule(
        "a network is cut and nothing else happens to it",
        lambda x: (x.who == "network") != (x.cause == "cut"),
    ),
    Rule(
        "all ranks of this launcher are on one node",
        lambda x: x.who in NODES and x.launcher != "srun",
    ),
    Rule(
        "a node loses power or stands still",
        lambda x: x.who in {"node", "node0"} and x.cause not in {"sigkill", "sigstop"},
    ),
    Rule(
        "the ranks of a node that is lost at once have not begun, or are as lost",
        lambda x: x.who in NODES and x.when in {"before", "closing"},
    ),
    Rule(
        "a node is lost with whatever part is there: one layout tells",
        lambda x: x.who in NODES and (x.layout, x.way) != ("shared", "cli"),
    ),
    Rule(
        "what stands still for good on rank 0's node is one with its hub",
        lambda x: x.who == "node0" and x.cause == "sigstop",
    ),
    Rule(
        "initialize() and MPIRunner know one layout",
        lambda x: x.way != "cli" and x.layout == "shared" and x.launcher != "local",
    ),
    Rule(
        "without a launcher a script is one rank: Runner() and nothing else",
        lambda x: (
            x.launcher == "local"
            and x.way != "cli"
            and (x.way, x.layout) != ("with", "shared")
        ),
    ),
    Rule(
        "the one rank of Runner() is rank 0",
        lambda x: x.launcher == "local" and x.way == "with" and x.who == "top",
    ),
    Rule(
        "Runner() waits for nobody before it joins",
        lambda x: (
            (x.launcher, x.way, x.when) == ("local", "with", "before")
            and x.who != "script"
        ),
    ),
    Rule(
        "there is no launcher",
        lambda x: x.launcher == "local" and x.way == "with" and x.who == "launcher",
    ),
    Rule(
        "memory has a limit for workers, and for all processes of a node together",
        lambda x: x.cause == "memory" and x.who not in {"script", "worker"},
    ),
    Rule(
        "who is out of memory is running",
        lambda x: x.cause == "memory" and x.when != "running",
    ),
    Rule(
        "a limit for a whole node is a container's here",
        lambda x: x.cause == "memory" and x.who == "script" and x.launcher != "srun",
    ),
    Rule(
        "a worker is there when it joins",
        lambda x: x.who == "worker" and x.when == "before",
    ),
    Rule(
        "nobody needs a fork server before there are workers",
        lambda x: x.who in UNSEEN and x.when == "before",
    ),
    Rule(
        "a launcher that stands still is what the user wanted (Ctrl-Z)",
        lambda x: x.who == "launcher" and x.cause == "sigstop",
    ),
    Rule(
        "a job outlives its srun until Slurm ends it: InactiveLimit",
        lambda x: x.who == "launcher" and x.cause == "sigkill" and x.launcher == "srun",
    ),
    Rule(
        "only the command line reaches hosts, or asks for a rank",
        lambda x: x.launcher in AT_A_DESK and x.way != "cli",
    ),
    Rule(
        "a loop of processes has no launcher",
        lambda x: (x.launcher, x.who) == ("handed", "launcher"),
    ),
    Rule(
        "of processes that have not all come, nobody knows which has which rank",
        lambda x: (x.launcher, x.when) == ("handed", "before") and x.who in TOPS,
    ),
    Rule(
        "a frame is between the workers of a node",
        lambda x: (
            x.when == "moving"
            and (
                x.who != "worker"
                or x.cause not in {"sigkill", "sigstop"}
                or (x.launcher, x.layout, x.way) != ("local", "shared", "cli")
            )
        ),
    ),
    # --- what is the same as another cell
    Rule(
        "how ranks got their numbers is over when they have: one layout tells",
        lambda x: x.launcher in AT_A_DESK and x.layout != "shared",
    ),
    Rule(
        "a script does not know how ranks got their numbers",
        lambda x: (
            x.launcher in AT_A_DESK
            and x.who == "script"
            and (x.when != "running" or x.cause in {"_exit4", "abort"})
        ),
    ),
    Rule(
        "scheduler, workers and agents are the same processes in every way in",
        lambda x: x.who in BELOW and x.way != "cli",
    ),
    Rule(
        "workers and agents are the same in both layouts",
        lambda x: x.who in {"worker", "agent", *UNSEEN} and x.layout != "shared",
    ),
    Rule(
        "scheduler, workers and agents are as deaf to these at any time",
        lambda x: (
            x.who in BELOW
            and x.cause in {"sigint", "sigterm"}
            and (x.when != "running" or x.layout != "shared" or x.launcher in BY_MPI)
        ),
    ),
    Rule(
        "who stands still does so in the same way in every layout and way in",
        lambda x: (
            x.cause == "sigstop"
            and ((x.layout, x.way) != ("shared", "cli") or x.launcher in BY_MPI)
        ),
    ),
    Rule(
        "who stands still before, is not there; while closing, its time runs anyway",
        lambda x: x.cause == "sigstop" and x.when == "before",
    ),
    Rule(
        "the top process is a script's child in the library's ways: lost is lost",
        lambda x: x.who in TOPS and x.way != "cli" and x.cause != "sigkill",
    ),
    Rule(
        "what kills without a chance to do anything about it is SIGKILL's like",
        lambda x: (
            x.cause in BY_A_PROGRAM
            and (
                x.who not in {"script", *BELOW}
                or (x.when, x.layout, x.way) != ("running", "shared", "cli")
                or x.launcher in BY_MPI
            )
        ),
    ),
    Rule(
        "a worker that outgrows its limit does so under any launcher",
        lambda x: x.cause == "memory" and x.launcher in BY_MPI,
    ),
    Rule(
        "a memory limit asks neither for a layout nor for a way in",
        lambda x: x.cause == "memory" and (x.layout, x.way) != ("shared", "cli"),
    ),
    Rule(
        "who is no child of the launcher does not know which one it is",
        lambda x: (
            x.who in BELOW
            and x.launcher in BY_MPI | AT_A_DESK
            and (x.cause, x.when) != ("sigkill", "running")
        ),
    ),
    Rule(
        "SIGINT goes the way of SIGTERM, which is tried at any time",
        lambda x: (
            x.cause == "sigint"
            and x.who in {"hub", "top", "launcher"}
            and (x.when != "running" or x.layout != "shared")
        ),
    ),
    Rule(
        "who has not begun has no part: one layout tells",
        lambda x: (
            x.who in {*TOPS, "scheduler"}
            and x.layout == "dedicated"
            and x.way == "cli"
            and x.when != "running"
        ),
    ),
    Rule(
        "a script that has not begun, or has not joined, is a rank that has not",
        lambda x: (
            x.who == "script"
            and x.when in {"before", "joining"}
            and x.cause in {"sigint", "sigterm", "sigstop"}
        ),
    ),
    Rule(
        "how a script ends is its own affair before it asks for a cluster",
        lambda x: (
            x.who == "script"
            and x.way != "cli"
            and x.when == "before"
            and x.cause not in {"raise", "sigkill"}
        ),
    ),
    Rule(
        "at its end a script has its status: one exception, one number, one signal",
        lambda x: (
            x.who == "script"
            and x.when in {"before", "closing"}
            and x.cause in {"_exit4", "abort", "sigint", "return"}
        ),
    ),
    Rule(
        "the ends of a script are the same in both layouts",
        lambda x: (
            x.who == "script"
            and x.way == "cli"
            and x.layout == "dedicated"
            and (x.when != "running" or x.cause in {"return", "_exit4", "abort"})
        ),
    ),
    Rule(
        "a launcher that is told to end before it has begun has nothing to end",
        lambda x: x.who == "launcher" and x.when == "before",
    ),
    Rule(
        "a launcher knows neither layouts nor ways in; nor what closes",
        lambda x: (
            x.who == "launcher"
            and (
                (x.layout == "dedicated" and x.way == "cli")
                or (x.way != "cli" and (x.when != "running" or x.cause != "sigterm"))
                or x.when == "closing"
            )
        ),
    ),
    Rule(
        "a top process of the library's ways is the command line's",
        lambda x: x.who in TOPS and x.way == "initialize" and x.when != "running",
    ),
)


def why_not(cell: Cell) -> str:
    """Return why a product is no cell; empty if it is one."""
    return next((rule.reason for rule in RULES if rule.leaves_out(cell)), "")


@cache
def cells() -> tuple[Cell, ...]:
    """Return all cells, in the order of the axes."""
    every = product(CAUSES, WHO, WHEN, LAUNCHERS, LAYOUTS, WAYS)
    return tuple(cell for words in every if not why_not(cell := Cell(*words)))


#: About how long a cell takes, in seconds: what :func:`representatives` spares.
_COSTS = {
    "local": 4,
    "handed": 5,
    "hosts": 5,
    "hydra": 5,
    "prrte": 5,
    "srun": 6,
    "sigstop": 9,
    "cut": 9,
}
_COSTS |= {"dedicated": 3, "before": 1, "node": 12, "node0": 12, "memory": 3}
_COSTS |= {"joining": 12}


def _cost(cell: Cell) -> int:
    return sum(_COSTS.get(word, 0) for word in astuple(cell))


#: What happens most, where it happens most: cause and whom it hits.
USUAL = (
    ("sigkill", "script"),
    ("sigkill", "scheduler"),
    ("sigkill", "worker"),
    ("sigkill", "forkserver"),
    ("sigkill", "hub"),
    ("sigterm", "launcher"),
    ("sigint", "launcher"),
)


def representatives() -> tuple[Cell, ...]:
    """Return the usual cells, and few more, with each value of each axis in one."""
    chosen = [Cell(*usual, "running", "srun", "shared", "cli") for usual in USUAL]
    left = {(axis, word) for cell in cells() for axis, word in enumerate(astuple(cell))}
    for cell in chosen:
        left -= set(enumerate(astuple(cell)))
    while left:
        best = max(
            cells(),
            key=lambda cell: len(left & set(enumerate(astuple(cell)))) / _cost(cell),
        )
        chosen.append(best)
        left -= set(enumerate(astuple(best)))
    return tuple(chosen)
