"""What has to happen in each cell: how soon, which status, what rank 0 says.

What docs/reference/statuses.md says, as a table: the first row that matches a cell is
its end. It is longer than a module should be, and is kept in one piece because the
order of its rows is what it says.
"""

import signal
from collections.abc import Callable
from dataclasses import dataclass, replace

from tests.failures.cell import BELOW, BY_MPI, BY_US, OF_A_SCRIPT, TOPS, Cell

#: Seconds of silence after which the cells' clusters count somebody as lost
#: (``--silence``), and what it takes to notice.
SILENCE = 3.0
NOTICED = 2 * SILENCE

#: Seconds that the cells' clusters wait for ranks (``--timeout``) where one does not
#: come, and in all other cells, on a machine that is busy with other things.
TIMEOUT = 8.0
PATIENT = 120.0

#: Seconds for all processes to be gone.
SOON = 5.0
ENDS = 10.0
#: Seconds until Slurm itself gives up a node that does not answer, and its step.
SLURM_GIVES_UP = 60.0

#: In place of a status: whatever says that the job has failed.
FAILS = -1
#: In place of a status: the launcher says what it likes about a lost node.
ANY = -2

#: What a script prints that goes on to its end.
RESULT = "56"

KILLED = 128 + signal.SIGKILL
LOST = 69
LATE = 75

#: A real-time signal between the first and the last (signal(7)).
NAMELESS = 37

_NUMBERS = {
    "sigint": signal.SIGINT,
    "sigterm": signal.SIGTERM,
    "sigkill": signal.SIGKILL,
    "abort": signal.SIGABRT,
    "segv": signal.SIGSEGV,
    "rt": NAMELESS,
    "memory": signal.SIGKILL,
}


@dataclass(frozen=True, slots=True)
class End:
    """How a cell ends.

    Attributes
    ----------
    status : int
        Of the job: the launcher's.
    says : str
        A pattern that rank 0's own lines match; empty: there is nothing to say.
    goes_on : bool
        The script computes all that it wanted, though a part is lost.
    within : float
        Seconds from the blow to the last process of the job that is gone; for a
        script that goes on, from its own end.
    notices : float
        Seconds from the blow to what is said, in a job that goes on.
    tracebacks : int
        On stderr: the user's, and no other.
    leaves : str
        A pattern of files that may stay.
    """

    status: int
    says: str = ""
    goes_on: bool = False
    within: float = ENDS
    notices: float = ENDS
    tracebacks: int = 0
    leaves: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A kind of cells, and their end."""

    of: Callable[[Cell], bool]
    end: Callable[[Cell], End]


def _number(cell: Cell) -> int:
    return 128 + _NUMBERS[cell.cause]


#: Signals that ask, and do not force.
_ASKS = frozenset({"sigint", "sigterm"})

_OF_A_SCRIPT = {
    "return": End(0, within=SOON),
    "raise": End(1, tracebacks=1, within=SOON),
    "exit3": End(3, within=SOON),
    "_exit4": End(4, within=SOON),
    "abort": End(128 + signal.SIGABRT, r"error: .*client on \S+ .*killed"),
    "sigint": End(128 + signal.SIGINT, tracebacks=1),
    "sigterm": End(128 + signal.SIGTERM),
    "sigkill": End(KILLED, r"error: .*client on \S+ .*killed"),
    "segv": End(128 + signal.SIGSEGV, r"error: .*client on \S+ .*killed by SIGSEGV"),
    "rt": End(128 + NAMELESS, rf"error: .*client on \S+ .*killed by signal {NAMELESS}"),
    "memory": End(KILLED, r"error: .*client on \S+ .*memory"),
    "sigstop": End(KILLED, r"error: .*client on \S+ .*stopped"),
}


def _script(cell: Cell) -> End:
    return _OF_A_SCRIPT[cell.cause]


def _lost_before_all_were_there(cell: Cell) -> End:
    """End with a rank that is not there, or not any more."""
    if cell.when == "before":
        late = TIMEOUT + ENDS
        rank = cell.ranks - 1 if cell.who == "top" else cell.client_rank
        if cell.launcher in BY_US:  # the launcher is ours, and sees it
            how = r"was killed by \w+ before|is gone: it ended with status 137"
            return End(LATE, rf"error: rank {rank} on \S+ ({how})")
        return End(LATE, rf"error: rank {rank} .*(did not arrive|waited)", within=late)
    return End(LATE, r"error: rank \d+ on \S+ ")


ROWS = (
    # --- the script's own ends
    Row(
        lambda x: x.cause in OF_A_SCRIPT and x.when == "before" and x.way != "cli",
        # One rank's program fails, before it is a rank.
        lambda _: End(FAILS, within=TIMEOUT + ENDS, tracebacks=1),
    ),
    Row(
        lambda x: x.who == "script" and x.when == "before" and x.way != "cli",
        lambda x: replace(
            _lost_before_all_were_there(x),
            status=FAILS,
            # The launcher ends the others, or there are none.
            says="" if x.launcher in BY_MPI or x.ranks == 1 else r"error: ",
        ),
    ),
    # In the library's ways the script is the launcher's child, and srun's status is
    # that of the first task that fails.
    Row(
        lambda x: x.who == "script" and x.way != "cli" and x.launcher in BY_MPI,
        lambda x: (
            _script(x)
            if x.cause in OF_A_SCRIPT - {"abort", "_exit4"}  # MPI_Finalize
            else End(FAILS, tracebacks=_script(x).tracebacks)
        ),
    ),
    # Nobody but its launcher learns the status of a script that leaves like this. The
    # other ranks end as if it had been killed, and srun's status is the highest.
    Row(
        lambda x: x.cause == "_exit4" and x.way != "cli" and x.ranks > 1,
        lambda _: End(FAILS, r"error: .*client on \S+ .*os\._exit", within=SOON),
    ),
    Row(
        lambda x: x.who == "script" and x.when == "closing" and x.way != "cli",
        lambda x: replace(_script(x), says=""),
    ),
    Row(lambda x: x.who == "script", _script),
    # --- a launcher that is told to end
    Row(
        # Hydra passes Ctrl-C on, PRRTE sends SIGTERM in its place.
        lambda x: x.who == "launcher" and x.launcher in BY_MPI,
        lambda x: End(
            FAILS, tracebacks=int((x.cause, x.launcher) == ("sigint", "hydra"))
        ),
    ),
    Row(
        lambda x: x.who == "launcher" and x.cause == "sigkill",
        lambda _: End(KILLED),
    ),
    Row(
        # The end has begun, and its status is known.
        lambda x: x.who in TOPS and x.cause in _ASKS and x.when == "closing",
        lambda _: End(0),
    ),
    Row(
        # Before they have met there is no script to be asked: see below.
        lambda x: (
            x.who == "launcher"
            or (x.who in TOPS and x.cause in _ASKS and x.when != "before")
        ),
        lambda x: End(
            _number(x),
            tracebacks=int(x.cause == "sigint" and x.when == "running"),
        ),
    ),
    # --- who is deaf: the top process alone decides
    Row(
        lambda x: x.who in BELOW and x.cause in _ASKS,
        lambda _: End(0, goes_on=True),
    ),
    # --- the end has begun, and its status is known
    Row(
        # The script is the launcher's child, and has printed all that it was to.
        lambda x: x.when == "closing" and x.who == "hub" and x.ranks == 1,
        lambda _: End(0),
    ),
    Row(
        lambda x: x.when == "closing" and x.who in TOPS and x.launcher in BY_US,
        # Our own launcher has rank 0's status.
        lambda x: End(KILLED if x.who == "hub" else 0),
    ),
    Row(
        lambda x: x.when == "closing" and x.who in TOPS,
        # A lost task's status is the highest for srun, and a failure for MPI's; of one
        # that stands still Slurm says what it likes.
        lambda x: End(FAILS if x.cause == "sigkill" else ANY),
    ),
    Row(lambda x: x.when == "closing", lambda _: End(0)),
    # --- who waits for others, and can tell them
    Row(
        # Rank 0's status is the launcher's, which whoever has asked for it knows.
        lambda x: x.asks_before and x.launcher == "hosts" and x.who == "hub",
        lambda x: End(_number(x)),
    ),
    Row(
        # The part of the launcher on its host has seen it, and that the host goes on.
        lambda x: x.asks_before and x.launcher == "hosts" and x.who == "top",
        lambda _: End(LATE, r"error: rank 1 on \S+ is gone: it ended with status 143"),
    ),
    Row(
        lambda x: x.asks_before,
        lambda x: (
            End(FAILS)  # an mpiexec ends all ranks when one fails, as it likes
            if x.launcher in BY_MPI
            else End(_number(x), r": rank \d+ on \S+ got SIG(TERM|INT) before the ")
        ),
    ),
    # --- the scheduler, and rank 0
    Row(
        lambda x: x.who == "scheduler",
        lambda x: End(LOST, r"error: .*scheduler on \S+ ", within=_noticed(x)),
    ),
    Row(
        lambda x: x.who == "hub" and x.when == "before",
        lambda x: End(
            FAILS if x.launcher in BY_MPI else _number(x),
            "" if x.launcher in BY_MPI else r"error: ",
            within=ENDS + TIMEOUT * (x.launcher == "srun"),
        ),
    ),
    Row(
        lambda x: x.who == "hub",
        lambda x: End(
            FAILS if x.way != "cli" or x.launcher in BY_MPI else KILLED,
            "lost the hub" if x.launcher == "srun" else "",
            within=_noticed(x),
        ),
    ),
    Row(
        lambda x: x.who == "node0",
        lambda _: End(ANY, "lost the hub", within=SLURM_GIVES_UP),
    ),
    # --- what a job goes on without
    Row(
        # No child of the launcher, whose own process waits in MPI_Finalize for the
        # others, and then ends with what has happened.
        lambda x: (
            x.who == "top"
            and x.launcher in BY_MPI
            and (x.way != "cli" and x.when == "running")
        ),
        lambda _: End(FAILS, r"warning: lost rank \d+ on \S+: ", goes_on=True),
    ),
    Row(
        lambda x: x.who == "top" and x.launcher in BY_MPI,
        lambda _: End(FAILS),
    ),
    Row(
        lambda x: x.who == "top" and x.when in {"before", "joining"},
        lambda x: replace(
            _lost_before_all_were_there(x),
            # The lost task's, which is the highest.
            status=KILLED if x.launcher == "srun" and x.cause == "sigkill" else FAILS,
        ),
    ),
    Row(
        lambda x: x.who == "worker",
        lambda x: End(
            0,
            r"warning: worker \S+ .*on \S+ ",
            goes_on=True,
            notices=_noticed(x),
        ),
    ),
    Row(
        lambda x: x.who == "forkserver",
        lambda x: End(
            0, "its fork server was killed by ", goes_on=True, notices=_noticed(x)
        ),
    ),
    Row(lambda x: x.who == "tracker", lambda _: End(0, goes_on=True)),
    Row(
        lambda x: x.who == "agent" and x.when != "running",
        lambda x: End(FAILS, r"error: rank \d+ on \S+.* agent", within=_noticed(x)),
    ),
    Row(
        lambda x: x.who == "agent" and x.launcher in {"local", "prrte", "handed"},
        # All workers are of the one node, and lost with its agent. (Hydra tells its
        # ranks no name of the launch, so that each has an agent of its own.)
        lambda x: End(
            FAILS if x.launcher == "prrte" else LOST,
            r"error: of all workers none is left, as rank \d+ on \S+ .* node agent was",
            within=_noticed(x),
        ),
    ),
    Row(
        lambda x: x.who == "agent",
        lambda x: End(
            0,
            r"warning: lost rank \d+ on \S+: .*agent",
            goes_on=True,
            notices=_noticed(x),
        ),
    ),
    Row(
        lambda x: x.who == "top",
        lambda x: End(
            0 if x.launcher in BY_US else KILLED,
            r"warning: lost ranks? [\d, ]+ on \S+: ",
            goes_on=True,
            notices=_noticed(x),
        ),
    ),
    Row(
        lambda x: x.who in {"node", "network"} and x.when == "joining",
        lambda _: End(
            ANY, r"error: rank \d+ on \S+ ", within=NOTICED + ENDS + SLURM_GIVES_UP
        ),
    ),
    Row(
        lambda x: x.who in {"node", "network"},
        lambda _: End(
            ANY,
            r"warning: lost ranks? [\d, ]+ on \S+: ",
            goes_on=True,
            notices=NOTICED + ENDS,
            within=SLURM_GIVES_UP,
        ),
    ),
)


def _noticed(cell: Cell) -> float:
    return ENDS + NOTICED * (cell.cause == "sigstop")


def end(cell: Cell) -> End:
    """Return how a cell has to end."""
    found = next(row.end(cell) for row in ROWS if row.of(cell))
    if cell.cause == "sigstop":
        found = replace(found, within=max(found.within, ENDS + NOTICED))
    return found
