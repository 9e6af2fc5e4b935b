"""Apply the rules: to a pair, and to all that a host has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dask_runner.mpi.abi.findings import Finding, Verdict, Way
from dask_runner.mpi.abi.rules import RULES, UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dask_runner.mpi.abi.facts import Facts, Library
    from dask_runner.mpi.abi.findings import Rule


def judge(way: Way, library: Library, rules: Sequence[Rule] = RULES) -> Finding:
    """Return what the first rule that applies says of a pair."""
    rule = next((each for each in rules if each.applies(way, library)), UNKNOWN)
    return Finding(
        rule.verdict,
        rule.name,
        rule.reason.format(way=way, library=library),
        rule.do.format(way=way, library=library),
    )


def ways(host: Facts) -> list[Way]:
    """Return the ways in which a host can start ranks, the best first."""
    found = []
    if host.slurm:
        plugins = host.slurm.plugins
        if host.cray and "cray_shasta" in plugins:
            found.append(Way("srun --mpi=cray_shasta", "srun-cray"))
        if "pmix" in plugins:
            found.append(Way("srun --mpi=pmix", "srun-pmix", host.slurm.pmix))
        # More than one: the site has several PMIx side by side.
        versions = [name for name in plugins if name.startswith("pmix_v")]
        if len(versions) > 1 or (versions and "pmix" not in plugins):
            found += [
                Way(f"srun --mpi={name}", "srun-pmix", name.removeprefix("pmix_v"))
                for name in versions
            ]
        if "pmi2" in plugins:
            found.append(Way("srun --mpi=pmi2", "srun-pmi2"))
    found += [Way(each.path, each.kind, each.version) for each in host.launchers]
    if host.slurm:
        found.append(Way("srun --mpi=none", "srun-none"))
    return found


def best_way(library: Library, host: Facts) -> tuple[Way | None, Finding]:
    """Return the best way of a host to start a library, and its verdict."""
    judged = [(way, judge(way, library)) for way in ways(host)]
    if not judged:
        return None, Finding(
            Verdict.PARTIAL,
            "no launcher was found",
            "nothing that starts MPI programs was found on the host",
        )
    return min(judged, key=lambda pair: pair[1].verdict.merit)
