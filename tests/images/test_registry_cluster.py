"""Published SIFs where they are used: a Slurm cluster beside the registry."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.images.registries import PORT, Server

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.xdist_group("registry"),
    pytest.mark.timeout(1800),
]

SIF = f"registry:{PORT}/group/dask-runner-sif:registry-test"
QUICK = "--mksquashfs-args '-comp zstd -Xcompression-level 1'"


@pytest.fixture(scope="module")
def cluster(sif: Path) -> Iterator[Any]:
    from ci.slurm.cluster import Cluster  # noqa: PLC0415  needs the Docker SDK

    with Cluster("dask-runner-registry", cpus=2, images=sif.parent) as cluster:
        yield cluster


@pytest.fixture
def published(
    pushed: dict[str, str], engine: Any, cluster: Any, server: Server
) -> Callable[[], AbstractContextManager[None]]:
    """While this is entered, the cluster's nodes see the registry."""
    del pushed
    network = engine.networks.get(cluster.name)

    @contextmanager
    def connected() -> Iterator[None]:
        network.connect(server.container, aliases=["registry"])
        try:
            yield
        finally:
            network.disconnect(server.container)

    return connected


def test_a_job_runs_straight_from_the_registry(
    cluster: Any, published: Callable[[], AbstractContextManager[None]]
) -> None:
    code = (
        "from dask.distributed import Client;print(Client().submit(pow, 2, 5).result())"
    )
    line = f"apptainer --quiet run --no-https oras://{SIF} -c '{code}'"

    with published():
        done = cluster.run(f"srun -N2 -n2 {line}", timeout=240)

    assert (done.returncode, done.stdout) == (0, "32\n"), done


def test_an_image_of_ones_own_is_built_from_the_published_one(
    cluster: Any, published: Callable[[], AbstractContextManager[None]]
) -> None:
    cluster.write("derive.def", (ROOT / "recipes/derive.def").read_text())
    cluster.write("requirements.txt", "cachetools\n")
    words = f"--build-arg BOOTSTRAP=oras --build-arg FROM={SIF}"
    code = "from cachetools import LRUCache; print(len(LRUCache(2)))"

    with published():
        built = cluster.run(
            f"apptainer build --no-https {QUICK} {words} mine.sif derive.def",
            timeout=900,
        )
    assert built.returncode == 0, built.stderr[-3000:]

    done = cluster.run(f"apptainer --quiet run mine.sif -n 1 -c '{code}'", timeout=240)
    assert (done.returncode, done.stdout) == (0, "0\n"), done
