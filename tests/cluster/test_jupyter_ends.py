"""JupyterLab beside its cluster, and what is killed of it."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.cluster.jobs import told
from tests.cluster.jupyterlab import started
from tests.waiting import until

if TYPE_CHECKING:
    from tests.cluster.jobs import Jobs

KERNEL = "ipykernel_launcher"

#: The process, the signal, the job's status, and the cause that it tells.
ENDS = {
    "JupyterLab": ("jupyter-lab", 9, 137, "was killed by SIGKILL"),
    "JupyterLab, politely": ("jupyter-lab", 15, 0, "ended with status 0"),
    "the scheduler": ("dask-scheduler", 9, 69, "the scheduler on "),
    "rank 0": ("dask-runner", 9, 137, "rank 0 on "),
    "rank 0, politely": ("dask-runner", 15, 143, "ended with status 143"),
}

#: The others are played by ``make test-cluster-all``.
USUAL = frozenset({"JupyterLab", "the scheduler"})


def of(jobs: Jobs, node: str, what: str) -> list[str]:
    """Return the user's processes of a name, or with a word among their arguments."""
    rows = (row.split(None, 2) for row in jobs.processes(node).splitlines())
    return [pid for pid, name, line in rows if name == what or f"-m {what} " in line]


def kill(jobs: Jobs, node: str, what: str, number: int) -> str:
    (pid,) = of(jobs, node, what)
    line = ["kill", f"-{number}", pid]
    done = jobs.cluster.run(line, node=node, user="root", timeout=60)
    assert done.returncode == 0, told(done)
    return pid


@pytest.mark.parametrize(
    ("what", "number", "status", "cause"),
    [
        pytest.param(*end, id=name, marks=() if name in USUAL else pytest.mark.heavy)
        for name, end in ENDS.items()
    ],
)
def test_each_ends_with_the_other_and_says_why(
    jobs: Jobs, jupyter_image: str, what: str, number: int, status: int, cause: str
) -> None:
    lab = started(jobs, jupyter_image)

    kill(jobs, lab.node, what, number)

    done = lab.job.wait()
    assert done.returncode == status, told(done)
    assert cause in done.stderr, told(done)
    assert "Traceback" not in done.stderr, told(done)


def test_a_kernel_that_is_killed_is_started_again_and_costs_nothing_else(
    jobs: Jobs, jupyter_image: str
) -> None:
    lab = started(jobs, jupyter_image)

    old = kill(jobs, lab.node, KERNEL, signal.SIGKILL)

    until(
        lambda: set(of(jobs, lab.node, KERNEL)) - {old},
        120,
        lambda: lab.job.output,
        every=0.1,
    )
    assert lab.job.field("JobState") == "RUNNING"
    kill(jobs, lab.node, "jupyter-lab", signal.SIGTERM)
    done = lab.job.wait()
    assert done.returncode == 0, told(done)
