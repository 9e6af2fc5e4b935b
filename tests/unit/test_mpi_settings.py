"""What info shows of the settings that MPI gets in a container."""

import re
from pathlib import Path

from dask_runner.info import collect, table
from dask_runner.mpi_settings import REASONS

DOCKERFILE = Path(__file__).parents[2] / "images/Dockerfile"


def test_info_shows_what_is_set_for_mpi_and_why() -> None:
    found = collect({"UCX_POSIX_USE_PROC_LINK": "n"}, "none")

    assert found["mpi"]["UCX_POSIX_USE_PROC_LINK"]["value"] == "n"
    assert "UCX_POSIX_USE_PROC_LINK  n  (UCX opens" in table(found)
    assert "mpi" not in collect({}, "none")


def test_the_image_sets_all_that_has_a_reason() -> None:
    text = DOCKERFILE.read_text()

    for name in REASONS:
        assert re.search(rf"^ +{name}=\w", text, re.MULTILINE), name
