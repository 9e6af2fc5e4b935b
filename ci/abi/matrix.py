"""Run each launcher with each image, and compare with what ``dask-runner check`` says.

::

    ci/abi_matrix [--markdown FILE] [--only WORD] [--add]

brings a cluster up, copies the MPI runtimes of ci/mpi.py to its shared home, and asks
``dask-runner check`` in the SIFs of build/ (or CLUSTER_IMAGES) about every launcher and
every MPI. Each pair then runs three programs (ci/abi/cells.py), with four ranks, under
srun over two nodes:

- a program of MPI, whose ranks send 4 MiB to each other. It is an error if check calls
  a pair compatible that is no world of four, or incompatible one that is; a pair that
  it calls partial may do either;
- a Dask script, which has to work in every pair;
- a Dask script whose tasks use MPI across all workers, which has to work if the first
  program does, and to fail if not.

The status is the number of wrong cells. Each cell is written to build/abi.jsonl at
once; ``--add`` runs only those that are not there yet.

An image of another MPI is a SIF with that runtime bound to /opt/mpi and named by
MPI4PY_LIBMPI: the same files that images/scripts/install-mpi-wheel.sh installs.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tarfile
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ci import mpi
from ci.abi.cells import HANGS, PROGRAMS, Cell, Program, summary, table
from ci.slurm.cluster import HOME, LOGIN, Cluster
from containers.commands import CommandTimeoutError
from containers.engine import tail
from containers.entry import ROOT
from dask_runner.errors import ConfigError
from images.table import row, rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

SHARED = f"{HOME}/mpi"
KEPT = ROOT / "build/abi.jsonl"
SECONDS = 120

# Half of a runtime, which no run with MPI needs.
_UNUSED = ("IMB-", "python", "activate", "Activate", "_ilp64", "/debug/", ".a", ".pc")

# More ranks than cores.
_OVERSUBSCRIBE = {
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}


def main(arguments: Sequence[str]) -> int:
    """Run the matrix and print it; return the number of wrong verdicts."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--name", default="abi", help="of the cluster")
    parser.add_argument("--markdown", type=Path, help="write the table to a file")
    parser.add_argument("--only", default="", help="images whose name has this word")
    parser.add_argument(
        "--add", action="store_true", help="keep the cells of the run before"
    )
    parser.add_argument(
        "--package", type=Path, help="a checkout's runner/dask_runner for the SIF's"
    )
    given = parser.parse_args(arguments)
    kept = _kept() if given.add else {}
    if not kept:
        KEPT.unlink(missing_ok=True)
    cluster = Cluster(given.name)
    was_up = bool(cluster.members())
    cluster.up()
    try:
        cells = list(_matrix(cluster, kept, given.only, given.package))
    finally:
        if not was_up:
            cluster.down()
    found = table(cells, SHARED)
    if given.markdown:
        given.markdown.write_text(found)
    _print(found)
    _print(summary(cells))
    wrong = [cell for cell in cells if cell.wrong]
    for cell in wrong:
        _print(f"wrong: {cell}")
    return len(wrong)


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _kept() -> dict[tuple[str, ...], Cell]:
    """Return the cells of earlier runs."""
    lines = KEPT.read_text().splitlines() if KEPT.exists() else []
    cells = [Cell(**json.loads(line)) for line in lines]
    return {cell.key: cell for cell in cells}


def _matrix(
    cluster: Cluster,
    kept: Mapping[tuple[str, ...], Cell],
    only: str,
    package: Path | None,
) -> Iterator[Cell]:
    runtimes = [mpi.runtime(name) for name in mpi.FAMILIES]
    _put(cluster, {f"mpi/{each.family.name}": each.prefix for each in runtimes})
    over = ""
    if package:
        _put(cluster, {"package": package})
        over = f"--bind {HOME}/package:{_installed(cluster)}"
    for program in PROGRAMS:
        cluster.write(program.file, program.text)
    prefixes = " ".join(f"--mpi {SHARED}/{each.family.name}" for each in runtimes)
    KEPT.parent.mkdir(exist_ok=True)
    with KEPT.open("a") as file:
        for image, (sif, options) in _images(runtimes).items():
            if only not in image:
                continue
            said = _run(
                cluster,
                f"apptainer run --bind /:/host {over} {options} {sif} "
                f"check --json {prefixes}",
            )
            if not said.stdout:
                raise ConfigError(
                    f"check in {sif} ended with status {said.returncode}: "
                    f"{tail(said.stderr)}",
                    "an image with dask-runner",
                    f"try it by hand: {said.command}",
                )
            for way in json.loads(said.stdout)["ways"]:
                # Another MPI is bound into the SIFs alone, not into images that are
                # bound themselves. A way without a command cannot be tried.
                if way["model"] == "hybrid" or (not options and way["command"]):
                    known = kept.get((image, way["way"], _model(way)))
                    # The verdict of check may have changed since.
                    if known and known.said == way["verdict"]:
                        yield known
                        continue
                    cell = _cell(cluster, image, way, sif, f"{over} {options}")
                    file.write(json.dumps(asdict(cell)) + "\n")
                    file.flush()
                    yield cell


def _images(runtimes: Sequence[mpi.Runtime]) -> dict[str, tuple[str, str]]:
    """Return each image's SIF, with the options that make another image of it."""
    # A row that adds packages has the MPI of one that does not.
    images = {
        each.name: (f"/images/{each.sif}", "")
        for each in rows().values()
        if not each.adds
    }
    base = f"/images/{row('openmpi').sif}"
    for runtime in runtimes:
        name = runtime.family.name
        images[runtime.family.requirement] = (
            base,
            f"--bind {SHARED}/{name}:/opt/mpi "
            f"--env MPI4PY_LIBMPI=/opt/mpi/lib/{runtime.family.library} "
            # As in images of these wheels, which were built for another prefix.
            + (
                "--env OPAL_PREFIX=/opt/mpi --env PMIX_INSTALL_PREFIX=/opt/mpi"
                if name.startswith("openmpi")
                else ""
            ),
        )
    return images


def _installed(cluster: Cluster) -> str:
    code = "import dask_runner; print(dask_runner.__path__[0])"
    sif = f"/images/{row('openmpi').sif}"
    line = f"apptainer exec {sif} python -c {shlex.quote(code)}"
    return str(_run(cluster, line).stdout).strip()


def _put(cluster: Cluster, trees: dict[str, Path]) -> None:
    """Copy directories into the shared home, as the ordinary user's."""

    def own(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        if any(word in f"{member.name}" for word in _UNUSED):
            return None
        member.uid = member.gid = 1000
        return member

    container = cluster.client.containers.get(f"{cluster.name}-{LOGIN}")
    # Half a gigabyte, too much to hold in memory.
    with tempfile.TemporaryFile() as stream:
        with tarfile.open(fileobj=stream, mode="w") as archive:
            for name, tree in trees.items():
                for path in sorted(tree.iterdir()):
                    archive.add(path, f"{name}/{path.name}", filter=own)
        stream.seek(0)
        container.put_archive(HOME, stream)


def _run(cluster: Cluster, line: str) -> Any:
    return cluster.run(line, timeout=SECONDS, env=_OVERSUBSCRIBE)


def _cell(
    cluster: Cluster, image: str, way: dict[str, Any], sif: str, options: str
) -> Cell:
    began = time.monotonic()
    line = way["command"] or _incompatible(way, sif)
    start, _, rest = line.partition(" apptainer exec ")
    start = start.replace("srun ", "srun -N2 -n4 -t 3 ").replace(" -n N", " -n 4")
    rest = f"{options} {rest.removesuffix(' PROGRAM')}"
    mpi_, dask, tasks = (_did(cluster, each, start, rest) for each in PROGRAMS)
    cell = Cell(
        image,
        way["way"],
        _model(way),
        way["verdict"],
        mpi_,
        dask,
        tasks,
        round(time.monotonic() - began, 1),
    )
    _print(
        f"{cell.said:<12} {cell.mpi:<14} | {cell.dask} | {cell.tasks} | "
        f"{cell.launcher} | {image} | {cell.model} | {cell.seconds} s"
    )
    return cell


def _model(way: dict[str, Any]) -> str:
    return "hybrid" if way["model"] == "hybrid" else f"bound: {way['library']}"


def _did(cluster: Cluster, program: Program, start: str, rest: str) -> str:
    run = (
        f"{start} apptainer {program.verb} {rest} {program.words} {HOME}/{program.file}"
    )
    try:
        done = _run(cluster, run)
    except CommandTimeoutError:
        return HANGS
    return program.did(done.returncode, done.stdout)


def _incompatible(way: dict[str, Any], sif: str) -> str:
    # Check gives no command where it advises against one; a user would type this.
    command = str(way["way"]).partition(" (")[0]
    command = command if command.startswith("srun") else f"{command} -n N"
    return f"{command} apptainer exec {sif} PROGRAM"
