"""Podman and Charliecloud on the nodes of the cluster, and the lines of the docs."""

from __future__ import annotations

import os
import re
import textwrap
from typing import TYPE_CHECKING, Any

from ci.slurm.cluster import HOME, Cluster
from tests.cluster.jobs import SIF, told
from tests.conftest import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cluster.jobs import Job, Jobs

DOCS = (ROOT / "docs/runtimes.md").read_text()

#: The engine's file of the image, in the cluster's folder of images.
ARCHIVE = "dask-runner-openmpi.tar"
NAME = "localhost/dask-runner:openmpi"
DIRECTORY = f"{HOME}/dask-runner"

#: These containers' own: control groups of version 1, and a root that Docker has made.
ENVIRON = {"PODMAN_IGNORE_CGROUPSV1_WARNING": "1"}
PODMAN = r'time=".*level=warning msg="\\"/\\" is not a shared mount.*'

#: Podman's process that keeps its user namespace, and the files of both.
STAYS = r"\bpodman\b|libpod|catatonit|containers-user|storage-run|newroot"

STORAGE = """\
[storage]
driver = "overlay"
graphroot = "/tmp/containers-user/root"
runroot = "/tmp/containers-user/run"
"""

SECONDS = 300


def documented(name: str) -> str:
    """Return the lines of the docs that bear a name."""
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- end -->", DOCS, re.DOTALL)
    assert found, name
    return textwrap.dedent(found[1]).strip()


def prepare(cluster: Cluster, image: Any) -> None:
    """Give the image to Podman on each node, and to Charliecloud in the home.

    Raises
    ------
    OSError
        If one of them does not work on this machine.
    """
    save(image, cluster.images / ARCHIVE)
    run(cluster, "mkdir -p .config/containers")
    cluster.write(".config/containers/storage.conf", STORAGE)
    load = documented("load").replace("dask-runner.tar", f"/images/{ARCHIVE}")
    for node in ("c1", "c2"):
        # Of an earlier run, where the cluster stays up; some belongs to the user's ids.
        old = ["rm", "-rf", "/tmp/containers-user", "/tmp/storage-run-1000"]
        cluster.run(old, node=node, user="root")
    run(cluster, load)
    (name,) = image.tags[:1]
    for node in ("c1", "c2"):
        run(cluster, f"podman tag {name} {NAME}", node=node)
    run(cluster, f"chmod -R u+w {DIRECTORY}; rm -rf {DIRECTORY}; true", node="c1")
    run(cluster, documented("convert"), node="c1")


def run(cluster: Cluster, text: str, node: str = "login") -> None:
    """Run a line as the user; an OSError if it fails."""
    done = cluster.run(text, node=node, env=ENVIRON, timeout=SECONDS)
    if done.returncode:
        raise OSError(told(done))


def save(image: Any, path: Path) -> None:
    """Write an image as ``docker save`` does, if it is not there."""
    mark = path.with_suffix(".image")
    if path.exists() and mark.exists() and mark.read_text() == image.id:
        return
    aside = path.with_suffix(f".{os.getpid()}")
    with aside.open("wb") as file:
        for part in image.save(named=True):
            file.write(part)
    aside.chmod(0o644)
    aside.rename(path)
    mark.write_text(image.id)


def start(
    jobs: Jobs, name: str, args: str = "script.py", nodes: str = "", **how: Any
) -> Job:
    """Start the lines of the docs that bear a name, with arguments of dask-runner.

    Where *nodes* is given, these are srun's options in place of the documented ones.
    """
    text = documented(name).replace("script.py", args)
    if nodes:
        text, count = re.subn("^srun -N2 -n4 ", f"srun {nodes} ", text)
        assert count == 1, text
    text = text.replace("./dask-runner", DIRECTORY).replace("dask-runner.sif", SIF)
    env = ENVIRON | how.pop("env", {})
    return jobs.start("bash", "-c", text, env=env, timeout=SECONDS, **how)
