"""CPUs that ranks are bound to, for real."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from tests.running import DASK_RUNNER, Run

if TYPE_CHECKING:
    from pathlib import Path

CODE = """
import json, os
from dask.distributed import Client
client = Client()
masks = client.run(lambda: sorted(os.sched_getaffinity(0)))
print(json.dumps({
    worker["id"]: [worker["nthreads"], masks[address]]
    for address, worker in client.scheduler_info(n_workers=-1)["workers"].items()
}))
"""


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs")
def test_ranks_that_are_bound_as_their_parents_are_keep_their_cpus(
    tmp_path: Path,
) -> None:
    mine = sorted(os.sched_getaffinity(0))
    place = tmp_path / "meeting"
    place.mkdir(0o700)
    # A shell stays between, as Apptainer's starter does: the mask of a parent that
    # is bound alike proves nothing.
    parts = [mine[0]], mine[1:]
    runs = [
        Run(
            (
                *("taskset", "-c", ",".join(map(str, part))),
                *("sh", "-c", '"$@"; exit $?', "sh"),
                *(str(DASK_RUNNER), "-c", CODE),
            ),
            env={
                "DASKRUNNER_SIZE": "2",
                "DASKRUNNER_RANK": str(rank),
                "DASKRUNNER_JOB_ID": f"test-{os.getpid()}",
                "DASKRUNNER_DIRECTORY": str(place),
            },
        )
        for rank, part in enumerate(parts)
    ]
    try:
        first, second = (run.wait() for run in runs)
    finally:
        for run in runs:
            run.discard()
    assert (first.status, second.status) == (0, 0), first
    found = json.loads(first.stdout)
    assert found == {"0": [1, parts[0]], "1": [len(parts[1]), parts[1]]}, first
    assert "more ranks than CPUs" not in first.stderr
