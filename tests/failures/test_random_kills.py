"""Anybody of a job is killed at any moment: the end is soon, true, and clean.

``make test-random-kills N=64 SEED=7`` plays the seeds 7 to 70, each of them a run; to
play one of them again, ``N=1 SEED=`` its number.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.failures.conftest import place_on
from tests.failures.kills.draw import PHASES, Draw
from tests.failures.kills.play import NobodyThereError, play
from tests.failures.kills.stage import GIVEN_UP, Stage
from tests.failures.kills.table import PROPERTY
from tests.failures.kills.timeline import OVER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

#: Seeds that are played each time: the scheduler, a follower, and the leader of a node
#: are killed while tasks run.
FIXED = (22, 118, 92)

#: How many are drawn, and the first of them.
DRAWN = int(os.environ.get("N") or 0)
FIRST = int(os.environ.get("SEED") or 0)

#: A run that comes to its end before its moment is played again, with a sooner one.
TRIES = 3


@pytest.fixture(scope="session")
def pace(cluster: Any) -> Mapping[str, float]:
    """Seconds that each phase of a job takes when nobody is killed."""
    draw = Draw(0, "shared", 2, (), "before", 0.0, 0, (0.0, 0.0))
    with staged(draw, cluster) as stage:
        done = stage.job.wait()
        stage.timeline.wait(GIVEN_UP)
        began = stage.timeline.began
        assert {*began} == {*PHASES, OVER}, done
        return {phase: stage.timeline.length(phase) for phase in PHASES}


@contextmanager
def staged(draw: Draw, cluster: Any) -> Iterator[Stage]:
    with place_on(cluster) as jobs:
        stage = Stage(draw, jobs)
        try:
            yield stage
        finally:
            stage.close()


@pytest.mark.parametrize(
    "seed",
    [
        *FIXED,
        *(
            pytest.param(seed, marks=pytest.mark.heavy)
            for seed in range(FIRST, FIRST + DRAWN)
        ),
    ],
)
def test_a_job_ends_honestly_whoever_is_killed(
    seed: int,
    cluster: Any,
    pace: Mapping[str, float],
    record_property: Callable[[str, object], None],
) -> None:
    draw = Draw.of(seed)
    for sooner in range(TRIES):
        with staged(draw, cluster) as stage:
            try:
                outcome = play(
                    replace(draw, fraction=draw.fraction / 2**sooner), stage, pace
                )
            except NobodyThereError as error:
                missed = str(error)
                continue
        break
    else:
        pytest.fail(missed, pytrace=False)
    record_property(PROPERTY, asdict(outcome))
    if outcome.faults:
        pytest.fail(
            "\n".join(
                (
                    outcome.draw,
                    f"killed: {outcome.victim}, in {' to '.join(outcome.phases)}",
                    f"status {outcome.status} after {outcome.seconds:.1f} s",
                    *outcome.faults,
                    f"--- stdout\n{stage.job.stdout}--- stderr\n{stage.job.stderr}",
                )
            ),
            pytrace=False,
        )
