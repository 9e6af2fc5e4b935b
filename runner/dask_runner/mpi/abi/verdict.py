"""From the facts of an image and of a host to a verdict with its reason.

Two models. In the hybrid one the image's own MPI is started by the host's
launcher; in the bind one the image's programs run on an MPI of the host that is
mounted into it. One working way of either is enough.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dask_runner.mpi.abi.binding import bind
from dask_runner.mpi.abi.commands import command
from dask_runner.mpi.abi.fabrics import FABRICS
from dask_runner.mpi.abi.findings import Cell, Finding, Verdict
from dask_runner.mpi.abi.judge import judge, ways
from dask_runner.mpi.abi.loading import loads
from dask_runner.mpi.abi.vendors import MPIABI, MPICH, OPENMPI

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dask_runner.mpi.abi.facts import Facts, Library


@dataclass(frozen=True, slots=True)
class Report:
    """The verdict on a pair.

    Attributes
    ----------
    verdict : Verdict
        That of the best cell, unless something holds for all of them.
    reason : str
        In one sentence.
    do : tuple of str
        The ways out, the best first: command lines where there are any.
    cells : tuple of Cell
    image, host : Facts
    """

    verdict: Verdict
    reason: str
    do: tuple[str, ...]
    cells: tuple[Cell, ...]
    image: Facts
    host: Facts = field(repr=False)

    @property
    def trap(self) -> str:
        """What an ``srun`` without ``--mpi`` does here, where another way works."""
        default = self.host.slurm.default if self.host.slurm else ""
        for cell in self.cells:
            if (
                cell.model == "hybrid"
                and default
                and f"--mpi={default}" in cell.way.split()
                and cell.finding.verdict is Verdict.INCOMPATIBLE
                and self.verdict is not Verdict.INCOMPATIBLE
            ):
                return (
                    f"this site has MpiDefault={default}, so srun without --mpi is "
                    f"srun --mpi={default}: {cell.finding.reason}"
                )
        return ""


def compare(image: Facts, host: Facts, name: str = "IMAGE") -> Report:
    """Judge whether MPI programs of an image run on a host.

    Parameters
    ----------
    image, host : Facts
    name : str, optional
        What to call the image in command lines.
    """
    if image.arch and host.arch and image.arch != host.arch:
        return Report(
            Verdict.INCOMPATIBLE,
            f"the image is for {image.arch}, the host is {host.arch}",
            (f"build the image on {host.arch}: make sif, or apptainer build",),
            (),
            image,
            host,
        )
    cells = (*_hybrid(image, host, name), *bind(image, host, name))
    cells = tuple(_without_fabric(cell, image, host) for cell in cells)
    return _conclude(cells, image, host, name)


def _hybrid(image: Facts, host: Facts, name: str) -> Iterator[Cell]:
    library = _own(image)
    for way in ways(host):
        if library is None:
            finding = Finding(
                Verdict.INCOMPATIBLE,
                "no MPI in the image",
                "the image has no MPI library",
                "bind one of the host's, or build with one: "
                "dask-runner recipe --like-host",
            )
        else:
            finding = loads(library, image) or judge(way, library)
        yield Cell(
            "hybrid",
            str(way),
            f"{library} ({library.path})" if library else "",
            finding,
            command(way, library, name),
        )


def _own(image: Facts) -> Library | None:
    """Return the MPI that a program of the image gets."""
    speaks = {module.family for module in image.modules} or {OPENMPI, MPICH}
    fitting = [each for each in image.libraries if each.family in speaks]
    # A library of the standard ABI stands beside its vendor's own.
    others = [each for each in image.libraries if each.family != MPIABI]
    return next(iter(fitting or others), None)


def _without_fabric(cell: Cell, image: Facts, host: Facts) -> Cell:
    lacking = [
        fabric for fabric in FABRICS if fabric.name in host.fabrics - image.providers
    ]
    if not lacking or cell.finding.verdict is not Verdict.COMPATIBLE:
        return cell
    # An MPI of the host that comes by its prefix may bring libfabric along, or not.
    return Cell(
        cell.model,
        cell.way,
        cell.library,
        Finding(
            Verdict.PARTIAL,
            "the network's libraries are missing",
            f"{cell.finding.reason}; but the host has "
            f"{' and '.join(fabric.title for fabric in lacking)} and the image no "
            "libraries for it, so MPI falls back on TCP",
            "; ".join(fabric.way_out for fabric in lacking),
        ),
        cell.command,
    )


def _conclude(cells: tuple[Cell, ...], image: Facts, host: Facts, name: str) -> Report:
    if not cells:
        name_it = f"dask-runner check {name} --mpi /path/to/mpi"
        inside = f"apptainer exec {name} mpiexec -n N PROGRAM"
        return Report(
            Verdict.PARTIAL,
            "nothing that starts MPI programs was found on the host: no Slurm, no "
            "mpiexec, no MPI library",
            (
                f"name the prefix of the site's MPI: {name_it}",
                f"on one node the image's own mpiexec works: {inside}",
            ),
            cells,
            image,
            host,
        )
    best = min(cells, key=lambda cell: cell.finding.verdict.merit)
    verdict = best.finding.verdict
    if verdict is Verdict.INCOMPATIBLE:
        telling = next(
            (cell for cell in cells if cell.finding.rule != "no wire-up"), best
        )
        ways_out = [telling.finding.do, "dask-runner recipe --like-host > site.def"]
        return Report(
            verdict,
            f"no launcher of the host can start the image's MPI: "
            f"{telling.finding.reason}",
            tuple(dict.fromkeys(filter(None, ways_out))),
            cells,
            image,
            host,
        )
    ways_out = [best.command]
    if verdict is Verdict.PARTIAL:
        ways_out.append(best.finding.do)
    return Report(
        verdict,
        best.finding.reason,
        tuple(filter(None, ways_out)),
        cells,
        image,
        host,
    )
