"""One kill, for real: come to the moment, strike, and look at what comes of it."""

from __future__ import annotations

import re
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.cluster.jobs import APPTAINER, SRUN, said
from tests.failures.kills.draw import PHASES, signal_name
from tests.failures.kills.honest import APPTAINERS, ENDS, Blow, Honest, honest
from tests.failures.kills.stage import COMPLETING, IMAGES_SERVER, SILENCE, TIMEOUT
from tests.failures.kills.timeline import OVER
from tests.failures.play import NOISE, busy
from tests.running import OURS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.failures.kills.draw import Draw
    from tests.failures.kills.stage import Stage
    from tests.failures.kills.victims import Victim

#: Seconds for somebody who is lost, or stands still, to be told of. A script that ends
#: sooner has nothing to say.
NOTICED = 1.0
STANDS = 2 * SILENCE
#: Seconds until what the job prints is seen here.
SEEN = 0.25
#: Most times as long that the rest of the script takes when workers are lost.
SLOWED = 4.0
#: Seconds for a job to come to the moment; and to its end at last, which is a fault
#: by then, so that the table has the figure.
REACHED = 60.0
OVERTIME = 30.0

#: Between looks for somebody to kill.
STEP = 0.01

#: Nobody is to blame for these: Slurm of a step that is over or whose task was killed,
#: Apptainer of its server of an image, Dask to a script whose results were lost.
THEIRS = re.compile(
    r"slurmstepd-\w+: error: .*|srun: .*|INFO: +(Terminating squashfuse|Timeouts can)"
    r".*|.* distributed\.client - WARNING - Couldn't gather \d+ keys, rescheduling .*"
)
#: What the script's own Dask says where it ends within a wait of tornado's, which has a
#: deadline that nobody looks at any more: once in 700 jobs, whatever was killed.
DASKS = re.compile(
    r"^Future exception was never retrieved\nfuture: <Future finished "
    r"exception=TimeoutError\('Timeout'\)>\nTimeoutError: Timeout\n",
    re.MULTILINE,
)
OF_APPTAINER = re.compile(r"(INFO|WARNING): +.*")
KNOWN = (OURS, SRUN, APPTAINER, THEIRS)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a kill.

    Attributes
    ----------
    seed : int
    draw, victim : str
        In words.
    kind, signal : str
        What was killed, by what.
    phases : tuple of str
        Of the job, from then until the blow could be noticed.
    seconds : float
        From the kill to the end.
    status : int or None
    faults : tuple of str
        What is not as it has to be.
    stderr : str
    """

    seed: int
    draw: str
    victim: str
    kind: str
    signal: str
    phases: tuple[str, ...]
    seconds: float
    status: int | None
    faults: tuple[str, ...]
    stderr: str


def play(draw: Draw, stage: Stage, pace: Mapping[str, float]) -> Outcome:
    """Play a run to its end.

    Parameters
    ----------
    draw : Draw
    stage : Stage
        Its job has just begun.
    pace : mapping of str to float
        Seconds that each phase takes when nobody is killed.
    """
    timeline = stage.timeline
    victim, before = strike(draw, stage, pace)
    struck = time.monotonic()
    number = _number(draw, victim)
    over = timeline.wait((ENDS + STANDS + TIMEOUT) * busy() + OVERTIME)
    phases = _phases(before, stage, struck, number)
    blow = Blow(draw, victim.kind, victim.rank, number, phases)
    faults = () if over else (f"has not ended after {time.monotonic() - struck:.0f} s",)
    faults += _left(stage, victim) if over else tuple(map(str, stage.victims()))
    if over:
        faults += judge(blow, stage, struck, pace)
    return Outcome(
        draw.seed,
        str(draw),
        str(victim),
        victim.kind,
        signal_name(number),
        phases,
        timeline.began.get(OVER, time.monotonic()) - struck,
        stage.job.wait().returncode if over else None,
        faults,
        stage.job.stderr,
    )


class NobodyThereError(Exception):
    """The job was over before anybody could be killed."""


def _number(draw: Draw, victim: Victim) -> int:
    # Nobody of ours is there yet who could end it when it stands still.
    if draw.number == signal.SIGSTOP and victim.kind in APPTAINERS:
        return signal.SIGKILL
    return draw.number


def strike(draw: Draw, stage: Stage, pace: Mapping[str, float]) -> tuple[Victim, str]:
    """Wait for the moment and strike; return whom, and the phase just before.

    Raises
    ------
    NobodyThereError
    """
    deadline = time.monotonic() + REACHED * busy()
    stage.timeline.wait_for(draw.phase, deadline)
    time.sleep(draw.fraction * pace[draw.phase])
    while time.monotonic() < deadline and OVER not in stage.timeline.began:
        before = stage.timeline.phase
        if before != OVER and (found := stage.victims()):
            victim = draw.pick(found)
            if stage.strike(victim, _number(draw, victim)):
                return victim, before
        time.sleep(STEP)
    raise NobodyThereError(f"{draw}: nobody there\n{stage.job.stderr}")


def _phases(before: str, stage: Stage, struck: float, number: int) -> tuple[str, ...]:
    """Return in which phases the job was from the blow until it could be noticed.

    What it had come to is seen a moment later here.
    """
    latest = struck + (STANDS * busy() if number == signal.SIGSTOP else SEEN)
    following = [*PHASES][[*PHASES].index(before) + 1 :]
    reached = [
        one for one in following if stage.timeline.began.get(one, latest) < latest
    ]
    return (before, *reached)


def _left(stage: Stage, victim: Victim) -> tuple[str, ...]:
    leaves = COMPLETING
    if victim.kind in APPTAINERS:
        leaves += f"|{IMAGES_SERVER}"
    left = stage.left(leaves)
    return (left,) if left else ()


# --- what came of it ---------------------------------------------------------


def judge(
    blow: Blow, stage: Stage, struck: float, pace: Mapping[str, float]
) -> tuple[str, ...]:
    """Return what is wrong, measured by the honest end that is nearest."""
    return min(
        (
            _said(one, blow, stage, struck)
            + _in_time(one, blow, stage, struck, pace)
            + _clean(blow, stage)
            for one in honest(blow)
        ),
        key=len,
    )


def _said(one: Honest, blow: Blow, stage: Stage, struck: float) -> tuple[str, ...]:
    done, faults = stage.job.wait(), []
    if done.returncode not in one.statuses:
        due = " or ".join(map(str, sorted(one.statuses)))
        faults.append(f"status {done.returncode}, not {due}")
    result = f"{stage.result}\n"
    if done.stdout not in ({result} if one.goes_on else {result, ""}):
        faults.append(f"the script printed {done.stdout!r}, not {stage.result}")
    trouble = re.findall(
        r"^dask-runner: ((?:error|warning): .*)", done.stderr, re.MULTILINE
    )
    if one.quiet and trouble:
        faults.append(f"says {trouble[0]!r}, and nothing was lost")
    notice = (STANDS if blow.stops else 0.0) + NOTICED
    came = stage.timeline.began.get("ending", float("inf"))
    too_soon = one.goes_on and came < struck + busy() * notice
    ours = "\n".join(line for line in said(done.stderr) if OURS.match(line))
    if one.says and not too_soon and not re.search(one.says, ours):
        faults.append(f"nothing like {one.says!r} said")
    if not re.search(one.launcher, done.stderr):
        faults.append(f"nothing like {one.launcher!r} from the launcher")
    return tuple(faults)


def _in_time(
    one: Honest, blow: Blow, stage: Stage, struck: float, pace: Mapping[str, float]
) -> tuple[str, ...]:
    began = stage.timeline.began
    notice = STANDS if blow.stops else 0.0
    ends = (one.within + notice) * busy()
    since, due = struck, ends
    if one.late:
        due = max(due, began["before"] + TIMEOUT + ends - struck)
    faults = []
    if one.goes_on and "ending" in began:
        took = began["ending"] - struck
        may = due + busy() * SLOWED * sum(pace.values())
        if took > may:
            faults.append(f"the result came {took:.1f} s after the kill, not {may:.0f}")
        since = max(struck, began["ending"])
    if (took := began[OVER] - since) > due:
        faults.append(f"ended after {took:.1f} s, not {due:.0f}")
    return tuple(faults)


def _clean(blow: Blow, stage: Stage) -> tuple[str, ...]:
    stderr, faults = DASKS.sub("", stage.job.stderr), []
    if "Traceback (most recent call last)" in stderr:
        faults.append("a traceback")
    if noise := NOISE.search(stderr):
        faults.append(f"noise on stderr: {noise[0]!r}")
    if blow.kind in APPTAINERS and blow.number == signal.SIGSEGV:
        return tuple(faults)  # Go shows its registers
    # Where one of its processes is killed, the others say what they do without it.
    known = (*KNOWN, OF_APPTAINER) if blow.kind in APPTAINERS else KNOWN
    strange = [
        line for line in said(stderr) if not any(each.fullmatch(line) for each in known)
    ]
    if strange:
        faults.append(f"not ours on stderr: {strange[0]!r}")
    return tuple(faults)
