"""The hub's list of the jobs whose ranks join."""

from __future__ import annotations

import pytest

from dask_runner.hub import batch_jobs
from dask_runner.hub.batch_jobs import BatchJobs, job_number
from dask_runner.hub.requests import JobState, TellJobs
from dask_runner.launch.numbers import MOST_RANKS


def listed(jobs: BatchJobs) -> list[tuple[str, bool]]:
    return [(job.number, job.joined) for job in jobs.states]


@pytest.mark.parametrize(
    ("job_id", "number"),
    [
        ("17", "17"),
        ("17.head", "17"),
        ("17[3].head", "17"),
        ("dask-lab", "dask-lab"),
        ("", ""),
    ],
)
def test_a_number_is_what_the_command_that_submits_prints(
    job_id: str, number: str
) -> None:
    assert job_number(job_id) == number


def test_a_job_is_listed_until_somebody_says_that_it_is_gone() -> None:
    jobs = BatchJobs()
    jobs.tell(TellJobs(["8", "9"], []))
    jobs.came("9")
    assert listed(jobs) == [("8", False), ("9", True)]
    jobs.tell(TellJobs([], ["8", "77"]))
    assert listed(jobs) == [("9", True)]


def test_a_job_that_was_submitted_by_hand_is_listed_once_it_has_joined() -> None:
    jobs = BatchJobs()
    jobs.came("8")
    jobs.came("")  # of no job
    assert listed(jobs) == [("8", True)]


def test_a_job_may_have_joined_before_it_is_told_of() -> None:
    jobs = BatchJobs()
    jobs.came("8")
    jobs.tell(TellJobs(["8"], []))
    assert jobs.states == [JobState("8", joined=True)]


def test_the_oldest_are_forgotten_where_there_are_too_many() -> None:
    jobs = BatchJobs()
    most = batch_jobs.MOST
    jobs.tell(TellJobs([str(number) for number in range(most + 2)], []))
    jobs.came(str(MOST_RANKS))
    assert len(jobs.states) == most
    assert (jobs.states[0].number, jobs.states[-1].joined) == ("3", True)
