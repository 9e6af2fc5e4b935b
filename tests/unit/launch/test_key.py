"""What names one launch and no other."""

from __future__ import annotations

import re

from dask_runner.launch.detect import detect
from tests.unit.environs import SLURM


def test_the_key_tells_jobs_steps_and_requeues_apart() -> None:
    changes = [
        {},
        {"SLURM_JOB_ID": "4712"},
        {"SLURM_STEP_ID": "1"},
        {"SLURM_RESTART_COUNT": "1"},
        {"SLURM_CLUSTER_NAME": "other"},
        # No two ways to spell the same key.
        {"SLURM_CLUSTER_NAME": "linux.4711"},
        {"SLURM_CLUSTER_NAME": "linux_2e4711"},
        {"SLURM_CLUSTER_NAME": "linux/../4711"},
        {"SLURM_CLUSTER_NAME": "línux"},
        {"SLURM_CLUSTER_NAME": "l" * 300},
        {"SLURM_CLUSTER_NAME": "l" * 301},
    ]
    keys = [detect({**SLURM, **change}).key for change in changes]
    assert len(set(keys)) == len(changes)
    assert all(re.fullmatch(r"[A-Za-z0-9._-]{1,160}", key) for key in keys)


def test_all_ranks_of_a_launch_have_one_key() -> None:
    ranks = [{**SLURM, "SLURM_PROCID": str(rank)} for rank in range(4)]
    assert len({detect(rank).key for rank in ranks}) == 1
