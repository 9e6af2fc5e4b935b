"""The name of a cluster that the user has not named."""

from __future__ import annotations

import pytest

from dask_runner.hub.naming import default_name
from dask_runner.launch.values import NAME
from tests.unit.records import world


@pytest.mark.parametrize(
    ("job_id", "launcher", "name"),
    [
        ("4711", "slurm", "4711"),
        ("4711_3", "slurm", "4711_3"),
        ("12[4].server.site", "pbs", "12-4-.server.site"),
        ("17-ab12cd34", "local", "local-17"),
        ("", "hydra", "hydra"),
        ("-.", "hydra", "cluster"),
        ("ü", "sge", "cluster"),
        ("x" * 300, "lsf", "x" * 56),
    ],
)
def test_it_is_named_as_its_job_as_far_as_a_file_can_be(
    job_id: str, launcher: str, name: str
) -> None:
    found = default_name(world(job_id=job_id, launcher=launcher))
    assert found == name
    assert NAME.fullmatch(f"{found}-1000")
