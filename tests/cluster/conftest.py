"""A Slurm cluster of containers, with the SIF of this checkout on it."""

import os
import re
import secrets
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.jobs import HOME, Jobs
from tests.conftest import ROOT

# The checkout's own: neither people who work on a cluster of theirs are disturbed,
# nor the tests of another checkout on the same engine.
NAME = f"dask-runner-tests-{zlib.crc32(str(ROOT).encode()):08x}"

SETTLE_SECONDS = 60


@pytest.fixture(scope="session")
def shown(request: pytest.FixtureRequest) -> None:
    """The SIF that the cluster shows is the one of this checkout.

    With CLUSTER_IMAGES, the folder of ready images that the cluster shows, it is
    what lies there.
    """
    if not os.environ.get("CLUSTER_IMAGES"):
        request.getfixturevalue("sif")


@pytest.fixture(scope="session")
def cluster(
    engine: Any,
    shown: None,
    worker: str,
    require: Callable[..., AbstractContextManager[None]],
) -> Iterator[Any]:
    """The cluster: the one that is up under the tests' name, else one for them.

    Each worker of pytest-xdist has its own, so that tests which run at the same
    time still see what their own job leaves on a node, and nothing else.
    """
    del shown
    from ci.slurm import cluster as slurm_cluster  # noqa: PLC0415  only where containers are
    from containers import node_image  # noqa: PLC0415  only where containers are

    cluster = slurm_cluster.Cluster(f"{NAME}{worker}", client=engine)
    with require(
        "a mirror of Debian with Slurm and Apptainer", "cluster", "attacks", "failures"
    ):
        node_image.ensure_slurm_image(engine)
    # A worker's is nobody's to keep: one that is up was left by a run that was killed.
    was_up = bool(cluster.members()) and not worker
    cluster.up()
    yield cluster
    if not was_up:
        cluster.down()


@pytest.fixture
def jobs(cluster: Any, request: pytest.FixtureRequest) -> Iterator[Jobs]:
    """Run jobs in a directory of the shared home: ``jobs.srun("-n4", "script.py")``."""
    name = re.sub(r"\W+", "-", request.node.originalname)
    jobs = Jobs(cluster, f"{HOME}/{name} {secrets.token_hex(2)}")
    yield jobs
    jobs.discard()


@pytest.fixture(scope="session")
def jupyter_image(request: pytest.FixtureRequest) -> str:
    """The SIF that has JupyterLab, as the nodes see it."""
    return _shown(request, "openmpi-jupyter")


@pytest.fixture(scope="session")
def other_image(request: pytest.FixtureRequest) -> str:
    """The SIF of another MPI's family, as the nodes see it."""
    return _shown(request, "mpich")


@pytest.fixture
def laptop(
    cluster: Any, require: Callable[..., AbstractContextManager[None]]
) -> Iterator[Any]:
    """A machine of the user's, with a browser, that reaches the cluster by ssh."""
    from containers.browser_image import ensure_browser_image  # noqa: PLC0415  as above
    from tests.cluster import laptop  # noqa: PLC0415

    with require("a mirror of Debian with Chromium", "cluster"):
        image = ensure_browser_image(cluster.client)
    with laptop.laptop(cluster, image) as started:
        yield started


def _shown(request: pytest.FixtureRequest, name: str) -> str:
    """Return the path of a row's SIF in the cluster, built if need be."""
    from images import sif, table  # noqa: PLC0415  they need the SDK

    row = table.row(name)
    if ready := os.environ.get("CLUSTER_IMAGES"):
        require = request.getfixturevalue("require")
        with require(f"{row.sif} in CLUSTER_IMAGES", "cluster"):
            Path(ready, row.sif).stat()
    else:
        build = request.getfixturevalue("build")
        sif.build_sif(request.getfixturevalue("engine"), build(name), row)
    return f"/images/{row.sif}"
