"""Fetch and build what the slow tests need, while the quick ones run.

::

    python -m ci.ahead

makes what is missing of the MPI runtimes, the engine, the base image, the images of the
cluster and of the browser, the images of this checkout and their SIFs. A test that
needs one of them waits for its lock, or makes it itself and reports why that fails. A
failure here ends this program, with its reason, and no test.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from subprocess import SubprocessError
from typing import TYPE_CHECKING

from ci import mpi
from containers import engine
from containers.base_image import ensure_base
from containers.browser_image import ensure_browser_image
from containers.engine import say
from containers.node_image import ensure_slurm_image
from containers.site import Site
from dask_runner.errors import RunnerError
from images.docker_image import build_image
from images.sif import build_sif
from images.table import row

if TYPE_CHECKING:
    from collections.abc import Callable

# The images that the tests run, and those of them of which they run the SIF.
ROWS = ("openmpi", "mpich", "openmpi-jupyter")
SIFS = ("openmpi", "openmpi-jupyter")


def fetch_runtimes() -> None:
    """Install the MPI runtimes for the local tier."""
    mpi.main([])


def build_images() -> None:
    """Start the engine and build all images, two at a time where that is possible."""
    with closing(engine.ensure()) as client, ThreadPoolExecutor() as pool:
        ensure_base(client, Site.of(os.environ))
        nodes = pool.submit(build_nodes_image)
        browser = pool.submit(build_browser_image)
        for name in ROWS:
            image = build_image(client, row(name))
            nodes.result()
            if name in SIFS:
                build_sif(client, image, row(name))
        browser.result()


def build_nodes_image() -> None:
    """Build the image of the cluster's nodes, with a connection of its own."""
    with closing(engine.ensure()) as client:
        ensure_slurm_image(client)


def build_browser_image() -> None:
    """Build the image of the browser, with a connection of its own."""
    with closing(engine.ensure()) as client:
        ensure_browser_image(client)


def tried(task: Callable[[], None]) -> bool:
    """Do a task, print its outcome, and return whether it worked."""
    try:
        task()
    except (RunnerError, OSError, SubprocessError) as error:
        say(f"{task.__name__}: {error}")
        return False
    say(f"{task.__name__}: done")
    return True


def main() -> int:
    """Do all tasks at the same time; return 1 if one failed."""
    with ThreadPoolExecutor() as pool:
        return int(not all(list(pool.map(tried, (fetch_runtimes, build_images)))))


if __name__ == "__main__":
    sys.exit(main())
