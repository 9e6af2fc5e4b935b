"""Which ends of a job are honest after a kill, as a table.

It is what docs/reference/statuses.md says.

A blow falls in one phase, or while the job passes into another one; what is honest in
either is.

It is kept in one piece, as it is one table and what its rows are made of.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tests.failures.kills.draw import signal_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.failures.kills.draw import Draw

#: Seconds from a kill, or from the result of a script that goes on, to the end; and
#: after SIGTERM to a rank.
ENDS = 15.0
TERMINATES = 10.0

LOST = 69
LATE = 75
TERMINATED = 128 + signal.SIGTERM


@dataclass(frozen=True, slots=True)
class Blow:
    """What has happened to whom.

    Attributes
    ----------
    draw : Draw
    kind : str
        What the victim was (``victims.py``).
    rank : int
        Its rank.
    number : int
        The signal.
    phases : tuple of str
        In which the job was just before the blow, and until it could be noticed.
    """

    draw: Draw
    kind: str
    rank: int
    number: int
    phases: tuple[str, ...]

    @property
    def node(self) -> str:
        """Where it was."""
        return self.draw.node(self.rank)

    @property
    def stops(self) -> bool:
        """Whether the victim stands still, and is lost when that is noticed."""
        return self.number == signal.SIGSTOP

    @property
    def status(self) -> int:
        """What a shell says of the victim in the end: who stands still is killed."""
        return 128 + (signal.SIGKILL if self.stops else self.number)

    @property
    def how(self) -> str:
        """A pattern of what is said of the victim."""
        return "stopped" if self.stops else rf"killed by {signal_name(self.number)}\b"

    @property
    def leads(self) -> bool:
        """Whether its rank plays others of its node."""
        return self.rank % self.draw.per_node == 0

    @property
    def lost(self) -> frozenset[int]:
        """The ranks that are lost with its rank's top process, and may be."""
        ranks = range(self.draw.size)
        here = {one for one in ranks if self.draw.node(one) == self.node}
        return frozenset(here if self.leads else {self.rank})

    @property
    def leaves_workers(self) -> bool:
        """Whether there are any without the lost."""
        return bool(set(self.draw.workers) - self.lost)

    @property
    def fewer_will_do(self) -> bool:
        """Whether the script may begin without its rank."""
        return "--min-workers" in self.draw.options


@dataclass(frozen=True, slots=True)
class Honest:
    """An end that tells the truth.

    Attributes
    ----------
    statuses : frozenset of int
        Of ``srun``, which is the highest of all tasks'.
    says : str
        A pattern that a warning or an error matches; empty for any or none.
    goes_on : bool
        The script comes to its result.
    quiet : bool
        There is neither a warning nor an error.
    late : bool
        It may take ``--timeout``, since nobody knows why somebody has not come.
    within : float
        Seconds that it may take otherwise, on an idle machine.
    launcher : str
        A pattern of what the launcher says.
    """

    statuses: frozenset[int]
    says: str = ""
    goes_on: bool = False
    quiet: bool = False
    late: bool = False
    within: float = ENDS
    launcher: str = ""


def _ends(*statuses: int, says: str = "", late: bool = False) -> Honest:
    return Honest(frozenset(statuses), says, late=late)


def _goes_on(*statuses: int, says: str = "", late: bool = False) -> Honest:
    return Honest(frozenset(statuses), says, goes_on=True, late=late)


def _as_if_nothing_was(*statuses: int) -> Honest:
    return Honest(frozenset(statuses), goes_on=True, quiet=True)


#: What Go makes of a SIGSEGV before a program handles it.
GO_CRASHED = 2
#: The status of an Apptainer that could not make the container.
NO_CONTAINER = 255
#: What may be Apptainer's, before it is anybody of ours.
APPTAINERS = frozenset({"container", "newcomer"})


# --- what follows from the loss of each kind ---------------------------------


def _rank_before(blow: Blow) -> list[Honest]:
    """Lose a rank's process before the script has begun."""
    named = rf"ranks? [\d, ]*\b({'|'.join(map(str, sorted(blow.lost)))})\b"
    if blow.rank == 0:
        named += "|lost the hub"
    # The leader sees at once what becomes of a follower.
    late = blow.kind != "follower"
    found = [_ends(blow.status, says=named, late=late)]
    statuses = {blow.status}
    if blow.kind in APPTAINERS:
        # A program in Go that has just begun ignores real-time signals, and ends with
        # a status of its own where others are killed.
        statuses.add(GO_CRASHED)
        found += [
            _ends(LATE, says=named, late=True),
            # Another process of Apptainer's was killed, and it says so itself.
            _ends(NO_CONTAINER, says=named, late=True),
            _as_if_nothing_was(0),
        ]
    if blow.fewer_will_do and blow.rank not in {0, blow.draw.client_rank}:
        found.append(_goes_on(*statuses, late=late))
    return found


def _rank_running(blow: Blow) -> list[Honest]:
    """Lose a rank's process while the script runs."""
    if blow.rank == 0:
        return [_ends(blow.status, says="lost the hub")]
    if blow.rank == blow.draw.client_rank or not blow.leaves_workers:
        return [_ends(blow.status, says=rf"rank {blow.rank} on {blow.node}")]
    named = rf"lost ranks? [\d, ]*\b{blow.rank}\b[\d, ]* on {blow.node}: "
    return [_goes_on(blow.status, says=named)]


def _terminated(blow: Blow) -> list[Honest]:
    """End the job by SIGTERM, as scancel does."""
    found = [Honest(frozenset({TERMINATED}), within=TERMINATES)]
    if not YOUNG & {*blow.phases}:
        return found
    if blow.kind in APPTAINERS:
        # It may have ended without a word to anybody.
        found += _rank_before(blow)
    elif blow.kind != "follower":
        # So may an interpreter that has not come to its first line: the signal has
        # killed it, where srun tells a status of one that has.
        killed = rf"srun: error: {blow.node}: tasks? \S+: Terminated"
        found += [replace(one, launcher=killed) for one in _rank_before(blow)]
    return found


def _agent(blow: Blow) -> list[Honest]:
    named = rf"agent.*{blow.how}"
    found = [_ends(LOST, LATE, says=named), _goes_on(0, LOST, says=named)]
    if not blow.lost & {*blow.draw.workers}:
        found.append(_as_if_nothing_was(0))  # it has no workers to look after
    return found


def _fork_server(blow: Blow) -> list[Honest]:
    """Go on without it, or with another, or end; say so if that costs a worker."""
    named = rf"fork server.*{blow.how}"
    return [
        _as_if_nothing_was(0),
        _goes_on(0, says=named),
        _ends(LOST, LATE, says=named),
    ]


def _nobody_waits_for_it(blow: Blow) -> list[Honest]:
    del blow
    return [_as_if_nothing_was(0)]


def _worker(blow: Blow) -> list[Honest]:
    return [_goes_on(0, says=rf"worker \S+ .*on {blow.node} .*{blow.how}")]


def _carrier(blow: Blow) -> list[Honest]:
    """Lose the labels alone."""
    return [_goes_on(0, says=rf"on {blow.node}: .* its carrier .*{blow.how}")]


def _scheduler(blow: Blow) -> list[Honest]:
    return [_ends(LOST, says=rf"scheduler on {blow.node} .*{blow.how}")]


def _client(blow: Blow) -> list[Honest]:
    return [_ends(blow.status, says=rf"client on {blow.node} .*{blow.how}")]


def _newborn(blow: Blow) -> list[Honest]:
    """Lose what the agent has just forked, and might have become anything."""
    might = (_agent, _fork_server, _worker, _carrier, _scheduler, _client)
    return [one for each in might for one in each(blow)]


def _agent_before(blow: Blow) -> list[Honest]:
    """Lose an agent by SIGTERM, to which it may be deaf by now."""
    return [_as_if_nothing_was(0), *_agent(blow)]


def _newborn_terminated(blow: Blow) -> list[Honest]:
    return [_as_if_nothing_was(0), *_newborn(blow)]


def _result_is_there(blow: Blow) -> list[Honest]:
    """Come to the end that has begun, or to that of the loss: both are true."""
    statuses = {0, LOST}
    if blow.kind in RANKS | {"client", "newborn"}:
        statuses.add(blow.status)
    return [_goes_on(*statuses)]


# --- the table ---------------------------------------------------------------

RANKS = frozenset({"container", "newcomer", "hub", "leader", "own", "follower"})
#: The top process alone decides what SIGTERM means.
DEAF = frozenset({"agent", "forkserver", "tracker", "scheduler", "worker", "carrier"})

TERM = frozenset({"term"})
#: They kill at once; or nobody continues who is stopped, so that he is killed.
DEADLY = frozenset({"deadly", "stop"})
ANY = TERM | DEADLY

YOUNG = frozenset({"before", "starting"})
RUNNING = frozenset({"running"})
ENDING = frozenset({"ending", "over"})
ALL = YOUNG | RUNNING | ENDING


@dataclass(frozen=True, slots=True)
class Row:
    """Kinds of victims, classes of signals, phases; and what is honest."""

    kinds: frozenset[str]
    classes: frozenset[str]
    phases: frozenset[str]
    ends: Callable[[Blow], list[Honest]]


#: The first row that fits is a blow's.
ROWS = (
    Row(DEAF, TERM, ENDING, _nobody_waits_for_it),
    Row(RANKS | DEAF | {"client", "newborn"}, ANY, ENDING, _result_is_there),
    Row(RANKS, TERM, YOUNG | RUNNING, _terminated),
    Row(RANKS, DEADLY, YOUNG, _rank_before),
    Row(RANKS, DEADLY, RUNNING, _rank_running),
    Row(frozenset({"client"}), ANY, YOUNG | RUNNING, _client),
    Row(frozenset({"newborn"}), TERM, YOUNG | RUNNING, _newborn_terminated),
    Row(frozenset({"newborn"}), DEADLY, YOUNG | RUNNING, _newborn),
    Row(frozenset({"agent"}), TERM, YOUNG, _agent_before),
    Row(DEAF, TERM, YOUNG | RUNNING, _nobody_waits_for_it),
    Row(frozenset({"agent"}), DEADLY, YOUNG | RUNNING, _agent),
    Row(frozenset({"forkserver"}), DEADLY, YOUNG | RUNNING, _fork_server),
    Row(frozenset({"tracker"}), DEADLY, YOUNG | RUNNING, _nobody_waits_for_it),
    Row(frozenset({"worker"}), DEADLY, YOUNG | RUNNING, _worker),
    Row(frozenset({"carrier"}), DEADLY, YOUNG | RUNNING, _carrier),
    Row(frozenset({"scheduler"}), DEADLY, YOUNG | RUNNING, _scheduler),
)


def signal_class(number: int) -> str:
    """Return the class of a signal in the table."""
    return {signal.SIGTERM: "term", signal.SIGSTOP: "stop"}.get(
        signal.Signals(number) if number in {*signal.Signals} else number, "deadly"
    )


def row(kind: str, number: int, phase: str) -> Row:
    """Return the row of a blow in one phase."""
    of = signal_class(number)
    return next(
        one
        for one in ROWS
        if kind in one.kinds and of in one.classes and phase in one.phases
    )


def honest(blow: Blow) -> list[Honest]:
    """Return the ends of which one has to come."""
    found: list[Honest] = []
    for phase in blow.phases:
        found += row(blow.kind, blow.number, phase).ends(blow)
    return found
