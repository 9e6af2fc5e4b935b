"""Launcher and MPI library to a verdict, row by row."""

import pytest

from dask_runner.mpi.abi.facts import Facts, Library, Mpiexec, Slurm
from dask_runner.mpi.abi.findings import Verdict, Way
from dask_runner.mpi.abi.judge import judge, ways
from dask_runner.mpi.abi.rules import RULES
from dask_runner.mpi.abi.vendors import MPICH, OPENMPI

PMI1, PMI2, PMIX = frozenset({"pmi1"}), frozenset({"pmi2"}), frozenset({"pmix"})

SRUN_NONE = Way("srun --mpi=none", "srun-none")
SRUN_PMI2 = Way("srun --mpi=pmi2", "srun-pmi2")
CRAY = Way("srun --mpi=cray_shasta", "srun-cray")
ORTE = Way("/opt/openmpi-4.1.8/bin/mpiexec", "orte", "4.1.8")
PRTE = Way("/usr/bin/mpiexec", "prte", "5.0.7")
INTEL = Way("mpiexec.hydra", "intel", "2021.19.0")


def pmix(version: str) -> Way:
    """Return srun with a PMIx server of a version."""
    return Way("srun --mpi=pmix", "srun-pmix", version)


def hydra(version: str) -> Way:
    """Return MPICH's launcher of a version."""
    return Way("/usr/bin/mpiexec.hydra", "hydra", version)


def openmpi(version: str, pmix: str = "", pmi: frozenset[str] | None = None) -> Library:
    """Return an Open MPI."""
    kinds = PMIX if pmi is None else pmi
    return Library(
        "/opt/mpi/lib/libmpi.so.40", OPENMPI, "Open MPI", version, pmi=kinds, pmix=pmix
    )


def mpich(
    version: str = "", vendor: str = "MPICH", pmi: frozenset[str] = PMI1, pmix: str = ""
) -> Library:
    """Return one of MPICH's family."""
    path = "/opt/mpi/lib/libmpi.so.12"
    return Library(path, MPICH, vendor, version, pmi=pmi, pmix=pmix)


OPENMPI_4 = openmpi("4.1.8", "3.2.5a1")
OPENMPI_5 = openmpi("5.0.7", "5.0.7a1")
INTEL_MPI = mpich("2021.19.0", "Intel MPI")
MPICH_3, MPICH_4, MPICH_5 = mpich("3.4.3"), mpich("4.3.2"), mpich("5.0.2")
MPICH_PMIX = mpich("4.2.0", pmi=PMIX, pmix="4.2.9")
CRAY_MPICH = mpich("8.1.28", "Cray MPICH", PMI2)

# What real runs of these pairs did (make test-abi): a world of all ranks, or not.
SEEN = {
    (SRUN_NONE, OPENMPI_5): False,
    (SRUN_NONE, OPENMPI_4): False,
    (SRUN_NONE, MPICH_3): False,
    (SRUN_NONE, MPICH_4): False,
    (SRUN_NONE, MPICH_5): False,
    (SRUN_NONE, INTEL_MPI): False,
    (SRUN_PMI2, OPENMPI_5): False,
    (SRUN_PMI2, OPENMPI_4): False,
    (SRUN_PMI2, MPICH_3): True,
    (SRUN_PMI2, MPICH_4): True,
    (pmix("5.0.7a1"), OPENMPI_5): True,
    (pmix("5.0.7a1"), openmpi("5.0.11", "5.0.11rc1")): True,
    (pmix("5.0.7a1"), MPICH_3): False,
    (pmix("5.0.7a1"), MPICH_4): False,
    (pmix("5.0.7a1"), MPICH_5): False,
    (pmix("5.0.7a1"), INTEL_MPI): False,
    (PRTE, OPENMPI_5): True,
    (PRTE, OPENMPI_4): False,
    (PRTE, MPICH_3): False,
    (PRTE, MPICH_4): False,
    (PRTE, MPICH_5): False,
    (PRTE, INTEL_MPI): False,
    (ORTE, OPENMPI_5): True,
    (ORTE, OPENMPI_4): True,
    (ORTE, MPICH_3): False,
    (ORTE, MPICH_5): False,
    (ORTE, INTEL_MPI): False,
    (hydra("4.2.1"), OPENMPI_5): False,
    (hydra("4.2.1"), OPENMPI_4): False,
    (hydra("4.2.1"), MPICH_3): True,
    (hydra("4.2.1"), MPICH_4): True,
    (hydra("4.2.1"), MPICH_5): True,
    (hydra("4.2.1"), INTEL_MPI): True,
    (hydra("5.0.2"), OPENMPI_5): False,
    (hydra("5.0.2"), MPICH_5): True,
    (hydra("5.0.2"), INTEL_MPI): True,
    (INTEL, OPENMPI_5): False,
    (INTEL, MPICH_3): True,
    (INTEL, MPICH_4): True,
    (INTEL, INTEL_MPI): True,
}

# What is documented, or was seen to end one way here and another there.
SAID = {
    (CRAY, CRAY_MPICH): Verdict.COMPATIBLE,
    (CRAY, MPICH_4): Verdict.INCOMPATIBLE,
    (CRAY, OPENMPI_5): Verdict.INCOMPATIBLE,
    (SRUN_PMI2, openmpi("4.1.4", pmi=PMIX | PMI2)): Verdict.COMPATIBLE,
    (SRUN_PMI2, CRAY_MPICH): Verdict.PARTIAL,
    # Runs over two nodes in a small program, and not in one that imported much.
    (SRUN_PMI2, MPICH_5): Verdict.PARTIAL,
    # Runs with 2 and 2 tasks on two nodes, fails with 3 and 1.
    (SRUN_PMI2, INTEL_MPI): Verdict.PARTIAL,
    (SRUN_PMI2, openmpi("")): Verdict.PARTIAL,
    (pmix("5.0.7"), OPENMPI_4): Verdict.PARTIAL,
    (pmix("5.0.7"), openmpi("4.1.4", "4.2.2")): Verdict.COMPATIBLE,
    (pmix("3.2.5"), OPENMPI_4): Verdict.COMPATIBLE,
    (pmix("3.2.5"), OPENMPI_5): Verdict.COMPATIBLE,
    (pmix("5"), OPENMPI_5): Verdict.COMPATIBLE,
    (pmix(""), OPENMPI_5): Verdict.PARTIAL,
    (pmix("5.0.7"), openmpi("5.0.7")): Verdict.PARTIAL,
    (pmix("5.0.7"), openmpi("5.0.0", "5.0.1")): Verdict.PARTIAL,
    (pmix("5.0.0"), OPENMPI_5): Verdict.PARTIAL,
    (pmix("5.0.1"), openmpi("5.0.0", "5.0.1")): Verdict.COMPATIBLE,
    (pmix("2.0.3"), openmpi("4.0.1", "3.1.2")): Verdict.INCOMPATIBLE,
    (pmix("5.0.7"), openmpi("3.0.0", "2.0.2")): Verdict.INCOMPATIBLE,
    (pmix("3.1.5"), openmpi("6.0.0", "6.0.0")): Verdict.INCOMPATIBLE,
    (pmix("4.2.9"), openmpi("6.0.0", "6.0.0")): Verdict.COMPATIBLE,
    (pmix("4.2.9"), openmpi("4.1.4", pmi=PMI2)): Verdict.INCOMPATIBLE,
    (pmix("4.2.9"), openmpi("", pmi=frozenset())): Verdict.PARTIAL,
    (pmix("4.2.9"), MPICH_PMIX): Verdict.PARTIAL,
    (PRTE, MPICH_PMIX): Verdict.PARTIAL,
    (PRTE, openmpi("")): Verdict.PARTIAL,
    (PRTE, openmpi("6.0.0", "6.0.0")): Verdict.COMPATIBLE,
    (Way("mpiexec", "orte", "3.1.6"), OPENMPI_4): Verdict.PARTIAL,
    (Way("mpiexec", "orte"), OPENMPI_4): Verdict.PARTIAL,
    (hydra("4.0.3"), INTEL_MPI): Verdict.PARTIAL,
    (hydra(""), INTEL_MPI): Verdict.PARTIAL,
    (hydra("4.2.1"), CRAY_MPICH): Verdict.PARTIAL,
}


def named(value: object) -> str:
    """Name a pair, alike in each process (a set's text is not)."""
    if not isinstance(value, tuple):
        return str(value)
    way, library = value
    kinds = "+".join(sorted(library.pmi))
    return f"{way.command} {way.version}-{library.vendor} {library.version} {kinds}"


@pytest.mark.parametrize(("pair", "world"), SEEN.items(), ids=named)
def test_a_pair_that_was_run_is_judged_as_it_ran(
    pair: tuple[Way, Library], world: bool
) -> None:
    expected = Verdict.COMPATIBLE if world else Verdict.INCOMPATIBLE

    assert judge(*pair).verdict is expected, judge(*pair)


@pytest.mark.parametrize(("pair", "verdict"), SAID.items(), ids=named)
def test_a_pair_that_was_not_run_is_judged_as_documented(
    pair: tuple[Way, Library], verdict: Verdict
) -> None:
    assert judge(*pair).verdict is verdict, judge(*pair)


def test_every_rule_is_the_one_that_decides_some_pair() -> None:
    used = {judge(*pair).rule for pair in (*SEEN, *SAID)}

    assert [rule.name for rule in RULES if rule.name not in used] == []


@pytest.mark.parametrize("pair", [*SEEN, *SAID], ids=named)
def test_a_reason_names_the_versions_and_a_refusal_has_a_way_out(
    pair: tuple[Way, Library],
) -> None:
    found = judge(*pair)

    assert "{" not in found.reason + found.do
    assert not found.reason.endswith(".")
    if found.verdict is not Verdict.COMPATIBLE:
        assert found.do


def test_the_ways_of_a_host_begin_with_the_best() -> None:
    host = Facts(
        "/",
        slurm=Slurm(
            "/usr/lib/slurm", ("cray_shasta", "pmi2", "pmix", "pmix_v5"), "", "5.0.7"
        ),
        launchers=(Mpiexec("/usr/bin/mpiexec", "prte", "5.0.7"),),
    )

    assert list(map(str, ways(host))) == [
        "srun --mpi=pmix (PMIx 5.0.7)",
        "srun --mpi=pmi2",
        "/usr/bin/mpiexec (5.0.7)",
        "srun --mpi=none",
    ]


def test_a_site_with_two_pmix_has_a_way_for_each() -> None:
    plugins = ("pmix", "pmix_v3", "pmix_v5")

    found = ways(Facts("/", slurm=Slurm("/usr/lib/slurm", plugins, "", "5.0.7")))

    assert [(way.command, way.version) for way in found[:3]] == [
        ("srun --mpi=pmix", "5.0.7"),
        ("srun --mpi=pmix_v3", "3"),
        ("srun --mpi=pmix_v5", "5"),
    ]


def test_a_plugin_for_crays_is_a_way_on_a_cray_only() -> None:
    slurm = Slurm("/usr/lib64/slurm", ("cray_shasta",))

    assert [way.kind for way in ways(Facts("/", slurm=slurm))] == ["srun-none"]
    assert ways(Facts("/", slurm=slurm, cray=True))[0].kind == "srun-cray"
