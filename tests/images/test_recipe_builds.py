"""Apptainer alone builds what Docker builds, as an ordinary user."""

import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONTEXT = ("images", "runner", "recipes", "pyproject.toml", "README.md", "LICENSE")
BUILD_SECONDS = 1500
QUICK = "--mksquashfs-args '-comp zstd -Xcompression-level 1'"

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.xdist_group("recipes"),
    pytest.mark.timeout(2 * BUILD_SECONDS),
]


@pytest.fixture(scope="module")
def node(
    engine: Any,
    sif: Path,
    tmp_path_factory: pytest.TempPathFactory,
    require: Callable[..., AbstractContextManager[None]],
) -> Iterator[Any]:
    """A node with the checkout, the base image and the image that Docker built."""
    from ci.slurm.cluster import Cluster  # noqa: PLC0415
    from containers.base_image import BASE  # noqa: PLC0415  needs the Docker SDK

    images = tmp_path_factory.mktemp("images")
    for folder in (images, *images.parents[:2]):
        folder.chmod(0o755)
    with (images / "base.tar").open("wb") as file:
        file.writelines(engine.images.get(BASE).save(named=BASE))
    with tarfile.open(images / "checkout.tar", "w") as tar:
        for name in CONTEXT:
            tar.add(ROOT / name, name)
    shutil.copy(sif, images / "docker.sif")
    name = f"dask-runner-recipes-{os.getpid()}"
    with require("containers with /dev/fuse and user namespaces", "images"):
        cluster = Cluster(name, nodes=1, cpus=2, images=images)
        cluster.up()
    try:
        done = cluster.run("tar -xf /images/checkout.tar", timeout=60)
        assert done.returncode == 0, done
        yield cluster
    finally:
        cluster.down()


def built(
    node: Any, sif: str, recipe: str, *, folder: str = ".", **arguments: str
) -> None:
    words = " ".join(f"--build-arg {name}={value}" for name, value in arguments.items())
    line = f"cd {folder} && apptainer build {QUICK} {words} {sif} {recipe}"
    done = node.run(line, timeout=BUILD_SECONDS)
    assert done.returncode == 0, done.stderr[-3000:]


def said(node: Any, sif: str, command: str) -> str:
    done = node.run(f"apptainer --quiet exec {sif} {command}", timeout=120)
    assert done.returncode == 0, done
    return str(done.stdout)


@pytest.fixture(scope="module")
def own(node: Any) -> str:
    """The SIF that Apptainer built; it is told the commit that Docker's has."""
    file = said(node, "/images/docker.sif", "cat /opt/dask-runner/provenance.json")
    known = {name.rpartition(".")[2]: value for name, value in json.loads(file).items()}
    built(
        node,
        "own.sif",
        "recipes/dask-runner.def",
        BOOTSTRAP="docker-archive",
        BASE="/images/base.tar",
        **{
            name.upper(): value
            for name, value in known.items()
            if name in {"revision", "created", "source"}
        },
    )
    return "own.sif"


@pytest.mark.parametrize(
    "command",
    [
        "cat /opt/dask-runner/abi.json",
        "cat /opt/dask-runner/provenance.json",
        "dpkg-query -W",
        "pip list --format=freeze",
        # Without what Apptainer sets for each run, which names the file.
        "sh -c 'env | grep -vE ^\\(APPTAINER\\|SINGULARITY_[CN]\\|_\\|LS_COLORS\\)'",
        # The bytecode of all modules too.
        "sh -c 'cd /opt/dask-runner && find . -type f | sort'",
    ],
)
def test_both_have_the_same_in_them(node: Any, own: str, command: str) -> None:
    docker, apptainer = (
        sorted(said(node, sif, command).splitlines())
        for sif in ("/images/docker.sif", own)
    )
    assert apptainer == docker


def test_both_have_the_labels_that_were_measured(node: Any, own: str) -> None:
    labels = []
    for sif in ("/images/docker.sif", own):
        found = json.loads(node.run(f"apptainer inspect --json {sif}").stdout)
        all_of_them = found["data"]["attributes"]["labels"]
        labels.append(
            {
                name: value
                for name, value in all_of_them.items()
                if name.startswith(("dask-runner.", "org.opencontainers."))
            }
        )
    assert labels[0] == labels[1]


def test_an_image_of_ones_own_has_more_packages(node: Any, own: str) -> None:
    node.write("requirements.txt", "cachetools\n")
    built(node, "mine.sif", "recipes/derive.def", FROM=own)
    code = "import cachetools as new, os; print(os.path.exists(new.__cached__))"
    assert said(node, "mine.sif", f"python -c '{code}'") == "True\n"
    done = node.run(
        "apptainer --quiet run mine.sif -n 1 -c 'import cachetools; print(1)'",
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (0, "1\n"), done


WORLD = "from mpi4py import MPI; print(MPI.COMM_WORLD.size, flush=True)"
MAIN = "from dask.distributed import Client; print(Client().submit(pow, 2, 5).result())"


def test_a_site_gets_from_check_over_recipe_to_a_running_job(node: Any) -> None:
    """The way of docs/how-to/mpi-image.md, step by step."""
    inside = "apptainer --quiet run --bind /:/host"
    # In a folder of its own, with the image beside and nothing of a checkout.
    made = node.run(
        "mkdir site && cd site && ln -s /images/docker.sif dask-runner.sif && "
        f"{inside} dask-runner.sif recipe --like-host >site.def",
        timeout=120,
    )
    assert made.returncode == 0, made
    text = node.run("cat site/site.def").stdout
    # What it chose is said to the admin as well, and why.
    assert "because" in made.stderr
    assert text.startswith("# MPI=")
    for known in ("by dask-runner 0.", "dask 20", "srun --mpi=", "MpiDefault: none"):
        assert known in text.partition("Bootstrap:")[0]

    built(
        node,
        "../site.sif",
        "site.def",
        folder="site",
        BASE_BOOTSTRAP="docker-archive",
        BASE="/images/base.tar",
    )

    checked = node.run(f"{inside} site.sif check --json", timeout=120)
    assert checked.returncode == 0, checked
    report = json.loads(checked.stdout)
    assert report["verdict"] == "compatible"
    command = report["do"][0].replace("srun", "srun -n2", 1)
    assert command.endswith("site.sif PROGRAM")
    command = command.replace("PROGRAM", f"python -c '{WORLD}'")
    ran = node.run(command, timeout=120)
    assert (ran.returncode, ran.stdout.split()) == (0, ["2", "2"]), ran
    job = node.run(f"srun -n2 apptainer run site.sif -c '{MAIN}'", timeout=240)
    assert (job.returncode, job.stdout) == (0, "32\n"), job
