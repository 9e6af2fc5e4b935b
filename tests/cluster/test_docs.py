"""The blocks of the docs' pages that are for Slurm print there what they tell."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

import pytest

from tests.cluster.jobs import GIVEN_UP_SECONDS, SIF, WORDS_SECONDS, told
from tests.docs.blocks import Block, commands, courses, fits
from tests.waiting import until

if TYPE_CHECKING:
    from tests.cluster.jobs import Job, Jobs

RUN = [pytest.param(found, id=page) for page, found in courses("slurm").items()]
SUBMITTED = re.compile(r"Submitted batch job (\d+)\s*")

#: What srun says on a busy cluster, and no page.
QUEUED = re.compile(r"srun: job \d+ (queued and|has been allocated) .*\n")


class Course:
    """What runs of a page, and of those that are its guests.

    Parameters
    ----------
    jobs : Jobs
        Where it runs.
    """

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._goes_on: list[Job] = []
        # Numbers of jobs: the page's, and what it is here.
        self._numbers: dict[str, str] = {}

    def run(self, block: Block) -> None:
        """Run a block, and compare what it prints."""
        if block.file:
            self._jobs.write(block.file, block.code)
            return
        for command, tells in commands(block):
            here = self._here(command)
            if block.background:
                self._begin(here, tells)
            else:
                self._compare(here, tells)

    def end(self) -> None:
        """Wait for what goes on in the background, and for all jobs."""
        for job in self._goes_on:
            done = job.running.wait()
            assert done.returncode == 0, told(done)
        self._wait_for_jobs()

    def _here(self, text: str) -> str:
        for number, ours in self._numbers.items():
            text = re.sub(rf"\b(slurm-|[Jj]ob ){number}\b", rf"\g<1>{ours}", text)
        return re.sub(r"(?<![\w/-])dask-runner\.sif", shlex.quote(SIF), text)

    def _begin(self, command: str, tells: str) -> None:
        job = self._jobs.start("bash", "-c", f"exec 2>&1; exec {command}")
        self._goes_on.append(job)
        until(
            lambda: fits(f"{tells}...", QUEUED.sub("", job.running.stdout)),
            WORDS_SECONDS,
            lambda: f"{command}\n{job.running.stdout}",
            every=0.1,
        )

    def _compare(self, command: str, tells: str) -> None:
        if any(f"slurm-{ours}" in command for ours in self._numbers.values()):
            self._wait_for_jobs()
        printed = QUEUED.sub(
            "", self._jobs.shell("bash", "-c", f"{{ {command}\n}} 2>&1")
        )
        page, ours = SUBMITTED.fullmatch(tells), SUBMITTED.fullmatch(printed)
        if page and ours:
            self._numbers[page[1]] = ours[1]
            return
        assert fits(self._here(tells), printed), f"{command}\n{printed}"

    def _wait_for_jobs(self) -> None:
        def left() -> str:
            return self._jobs.shell("squeue", "--noheader")

        until(lambda: not left(), GIVEN_UP_SECONDS, left, every=0.2)


@pytest.mark.parametrize("found", RUN)
def test_the_blocks_of_a_page_print_what_it_tells(
    jobs: Jobs, found: list[Block]
) -> None:
    course = Course(jobs)
    for block in found:
        course.run(block)
    course.end()
