"""Facts of an image and of a host to the verdict that people read."""

from dataclasses import replace

import pytest

from dask_runner.mpi.abi.facts import Facts, Library, Module, Mpiexec, Slurm
from dask_runner.mpi.abi.findings import Verdict
from dask_runner.mpi.abi.vendors import MPICH, OPENMPI
from dask_runner.mpi.abi.verdict import Report, compare

CALLS = frozenset({"MPI_Init", "MPI_Send", "MPI_Recv"})

OPENMPI_5 = Library(
    "/opt/openmpi/lib/libmpi.so.40",
    OPENMPI,
    "Open MPI",
    "5.0.7",
    soname="libmpi.so.40",
    names=("libmpi.so.40",),
    abi=(40, 40, 7),
    pmi=frozenset({"pmix"}),
    pmix="5.0.7",
    glibc=(2, 34),
    exports=CALLS,
)
MPICH_4 = Library(
    "/opt/mpich/lib/libmpi.so.12",
    MPICH,
    "MPICH",
    "4.3.2",
    soname="libmpi.so.12",
    names=("libmpi.so.12",),
    abi=(12, 5, 2),
    pmi=frozenset({"pmi1"}),
    glibc=(2, 34),
    exports=CALLS,
)
# As mpi4py's wheel: one module a family.
WHEEL = (Module("MPI.openmpi.so", OPENMPI, CALLS), Module("MPI.mpich.so", MPICH, CALLS))

IMAGE = Facts("image", "Debian", "x86_64", (2, 41), (OPENMPI_5,), WHEEL)
SLURM = Slurm("/usr/lib64/slurm", ("pmi2", "pmix"), "", "5.0.3")
HOST = Facts("/", "Rocky", "x86_64", (2, 34), slurm=SLURM)
BARE = replace(HOST, slurm=None)


def bound(report: Report) -> tuple[Verdict, str]:
    """Return what is said of binding the host's only MPI."""
    (cell,) = (cell for cell in report.cells if cell.model == "bind")
    return cell.finding.verdict, cell.finding.rule


def test_one_way_that_works_is_enough_and_is_the_way_out() -> None:
    report = compare(IMAGE, HOST, "x.sif")

    assert report.verdict is Verdict.COMPATIBLE
    assert report.do == ("srun --mpi=pmix apptainer exec x.sif PROGRAM",)


@pytest.mark.parametrize(
    ("default", "said"),
    [
        ("none", "MpiDefault=none, so srun without --mpi is srun --mpi=none: srun"),
        ("pmi2", "MpiDefault=pmi2, so srun without --mpi is srun --mpi=pmi2: "),
        ("pmix", ""),
        ("", ""),
    ],
)
def test_a_default_of_the_site_that_does_not_start_it_is_told(
    default: str, said: str
) -> None:
    report = compare(IMAGE, replace(HOST, slurm=replace(SLURM, default=default)))

    assert report.verdict is Verdict.COMPATIBLE
    assert said in report.trap
    assert bool(report.trap) == bool(said)


def test_where_no_way_works_the_default_is_no_trap() -> None:
    slurm = replace(SLURM, plugins=("pmi2",), default="none")

    assert compare(IMAGE, replace(HOST, slurm=slurm)).trap == ""


def test_a_host_that_cannot_start_it_is_incompatible_and_says_why() -> None:
    host = replace(HOST, slurm=replace(SLURM, plugins=("pmi2",)))

    report = compare(IMAGE, host)

    assert report.verdict is Verdict.INCOMPATIBLE
    assert "Open MPI 5 knows no PMI-2" in report.reason
    assert any("dask-runner recipe --like-host" in line for line in report.do)


def test_another_architecture_is_incompatible_before_anything_else() -> None:
    report = compare(replace(IMAGE, arch="aarch64"), HOST)

    assert report.verdict is Verdict.INCOMPATIBLE
    assert report.reason == "the image is for aarch64, the host is x86_64"


def test_a_host_without_anything_is_told_how_to_name_its_mpi() -> None:
    report = compare(IMAGE, BARE, "x.sif")

    assert report.verdict is Verdict.PARTIAL
    assert "dask-runner check x.sif --mpi" in report.do[0]


def test_an_image_without_mpi_is_compatible_by_an_mpi_that_is_bound() -> None:
    host = replace(HOST, libraries=(OPENMPI_5,))

    report = compare(replace(IMAGE, libraries=()), host, "x.sif")

    assert report.verdict is Verdict.COMPATIBLE
    (command,) = report.do
    assert command == (
        "srun --mpi=pmix apptainer exec --bind /opt/openmpi "
        "--env MPI4PY_LIBMPI=/opt/openmpi/lib/libmpi.so.40 x.sif PROGRAM"
    )


def test_settings_that_containers_need_are_part_of_the_command() -> None:
    library = replace(MPICH_4, version="5.0.2")

    report = compare(replace(IMAGE, libraries=(library,)), HOST, "x.sif")

    assert report.do[0] == (
        "srun --mpi=pmi2 apptainer exec --env MPIR_CVAR_CH4_CMA_ENABLE=0 x.sif PROGRAM"
    )


BROKEN = {
    "a part that is missing": (
        replace(OPENMPI_5, missing=("libpmix.so.2",)),
        WHEEL,
        "libpmix.so.2",
    ),
    # Debian 12's libmpich12.
    "another name": (
        replace(
            MPICH_4,
            path="/usr/lib/libmpich.so.12.2.2",
            soname="libmpich.so.12",
            names=("libmpich.so.12",),
        ),
        WHEEL,
        "ln -s /usr/lib/libmpich.so.12.2.2 /usr/lib/libmpi.so.12",
    ),
    "mpi4py of the other family": (MPICH_4, WHEEL[:1], "mpi4py was built for openmpi"),
    "functions that are missing": (
        replace(OPENMPI_5, exports=CALLS - {"MPI_Send"}),
        WHEEL,
        "lacks 1 functions that mpi4py needs: MPI_Send",
    ),
}


@pytest.mark.parametrize(("library", "modules", "words"), BROKEN.values(), ids=BROKEN)
def test_an_image_whose_mpi_cannot_be_loaded_is_incompatible(
    library: Library, modules: tuple[Module, ...], words: str
) -> None:
    report = compare(replace(IMAGE, libraries=(library,), modules=modules), HOST)

    assert report.verdict is Verdict.INCOMPATIBLE
    assert words in " ".join((report.reason, *report.do))


BOUND = {
    "as it is": ({}, {}, Verdict.COMPATIBLE, "can be bound"),
    "a newer C library": (
        {"glibc": (2, 42)},
        {},
        Verdict.INCOMPATIBLE,
        "C library is too old",
    ),
    "Cray's name": (
        {"names": ("libmpi_gnu_123.so.12",), "soname": "libmpi_gnu_123.so.12"},
        {},
        Verdict.INCOMPATIBLE,
        "another name",
    ),
    "functions that are missing": (
        {"exports": CALLS - {"MPI_Recv"}},
        {},
        Verdict.INCOMPATIBLE,
        "functions are missing",
    ),
    "mpi4py of the other family": (
        {},
        {"modules": WHEEL[:1]},
        Verdict.INCOMPATIBLE,
        "mpi4py of another family",
    ),
    "a library that was not found": (
        {"missing": ("libfabric.so.1",)},
        {},
        Verdict.PARTIAL,
        "not found",
    ),
    "among the system's libraries": (
        {"path": "/usr/lib64/libmpi.so.12"},
        {},
        Verdict.PARTIAL,
        "among the system's libraries",
    ),
    "an interface older than the image's": (
        {"abi": (12, 1, 0)},
        {"libraries": (MPICH_4,)},
        Verdict.PARTIAL,
        "interface is older",
    ),
    "an interface of unknown age": (
        {"abi": (12,)},
        {"libraries": (MPICH_4,)},
        Verdict.COMPATIBLE,
        "can be bound",
    ),
    "libraries elsewhere": (
        {"needs": ("/opt/ucx/lib/libucp.so.0",)},
        {},
        Verdict.PARTIAL,
        "outside the prefix",
    ),
    "an image with nothing of MPI": (
        {},
        {"libraries": (), "modules": ()},
        Verdict.PARTIAL,
        "nothing in the image",
    ),
}


@pytest.mark.parametrize(
    ("library", "image", "verdict", "rule"), BOUND.values(), ids=BOUND
)
def test_an_mpi_of_the_host_can_be_bound_or_not(
    library: dict[str, object], image: dict[str, object], verdict: Verdict, rule: str
) -> None:
    host = replace(HOST, libraries=(replace(MPICH_4, **library),))

    found, name = bound(compare(replace(IMAGE, **image), host))

    assert (found, rule in name) == (verdict, True), name


def test_an_mpi_that_the_host_cannot_start_is_not_bound() -> None:
    launcher = Mpiexec("/usr/bin/mpiexec", "prte", "5.0.7")
    host = replace(BARE, libraries=(MPICH_4,), launchers=(launcher,))

    assert bound(compare(IMAGE, host))[0] is Verdict.INCOMPATIBLE


def test_a_network_for_which_the_image_has_nothing_makes_it_partial() -> None:
    host = replace(HOST, fabrics=frozenset({"verbs"}))

    report = compare(IMAGE, host)
    with_verbs = compare(replace(IMAGE, providers=frozenset({"verbs"})), host)

    assert report.verdict is Verdict.PARTIAL
    assert "InfiniBand" in report.reason
    assert "libibverbs1" in report.do[-1]
    assert with_verbs.verdict is Verdict.COMPATIBLE


def test_facts_alone_decide_so_that_the_same_pair_is_judged_the_same() -> None:
    assert compare(IMAGE, HOST) == compare(IMAGE, HOST)


def test_a_line_to_copy_has_nothing_in_it_that_a_shell_would_run() -> None:
    prefix = "/opt/$(touch me)"
    openmpi_4 = replace(OPENMPI_5, path=f"{prefix}/lib/libmpi.so.40", version="4.1.8")
    named = replace(openmpi_4, soname="libother.so", names=("libother.so",))
    host = replace(BARE, launchers=(Mpiexec("/usr/bin/mpiexec", "orte", "4.1.8"),))

    told = [
        *compare(replace(IMAGE, libraries=(openmpi_4,)), host, "my image.sif").do,
        *compare(replace(IMAGE, libraries=(named,)), host).do,
    ]

    assert any(f"--env 'OPAL_PREFIX={prefix}'" in line for line in told)
    assert any("'my image.sif' PROGRAM" in line for line in told)
    assert any(f"ln -s '{prefix}/lib/libmpi.so.40' '" in line for line in told)
