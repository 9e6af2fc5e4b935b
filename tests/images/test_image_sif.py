"""The SIF under Apptainer, as an ordinary user on a node of the cluster."""

import json
import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import HOSTILE
from tests.running import OURS

Run = Callable[..., Any]

# One node for all of them.
pytestmark = pytest.mark.xdist_group("sif")


@pytest.fixture(scope="module")
def apptainer(
    sif: Path, require: Callable[[str, str], AbstractContextManager[None]]
) -> Iterator[Run]:
    """Run ``apptainer COMMAND OPTIONS image.sif ARGS`` on a node of its own."""
    from ci.slurm.cluster import Cluster  # noqa: PLC0415  needs the Docker SDK

    name = f"dask-runner-images-{os.getpid()}"
    with require("containers with /dev/fuse and user namespaces", "images"):
        cluster = Cluster(name, nodes=1, cpus=2, images=sif.parent)
        cluster.up()

    def run(command: str, *args: str, options: str = "", **how: Any) -> Any:
        words = f"apptainer --quiet {command} {options} /images/{sif.name}"
        return cluster.run(f"{words} {shlex.join(args)}", timeout=120, **how)

    try:
        yield run
    finally:
        cluster.down()


def test_a_sif_takes_less_than_160_megabytes(sif: Path) -> None:
    # Of which uv, that adds packages to a job, takes 20.
    assert sif.stat().st_size < 160e6


@pytest.mark.parametrize(
    ("version", "packs_as_it_is"),
    [
        ("mksquashfs version 4.6.1 (2023/03/25)\ncopyright (C) 2023", True),
        ("mksquashfs version 4.5 (2021/07/22)", True),
        ("mksquashfs version 4.4 (2019/08/29)", False),
        ("", False),
    ],
)
def test_an_old_mksquashfs_packs_all_alike(
    version: str, *, packs_as_it_is: bool
) -> None:
    from images.sif import AS_IT_IS, how_to_pack  # noqa: PLC0415  as above

    assert (AS_IT_IS in how_to_pack(version)) == packs_as_it_is


def test_the_stable_name_is_the_default_images_sif(sif: Path) -> None:
    assert sif.with_name("dask-runner.sif").resolve() == sif


@pytest.mark.system("Apptainer", "main job")
def test_it_runs_a_program_on_a_local_cluster(apptainer: Run) -> None:
    code = (
        "from dask.distributed import Client; c = Client();"
        "c.wait_for_workers(2, timeout=60); print(c.submit(pow, 2, 5).result())"
    )
    ended = apptainer("run", "-n", "2", "-c", code)
    assert (ended.returncode, ended.stdout) == (0, "32\n"), ended
    assert [line for line in ended.stderr.splitlines() if not OURS.fullmatch(line)] == (
        []
    )


def test_a_start_imports_from_the_file_of_bytecode(apptainer: Run) -> None:
    code = (
        "from dask_runner.node import bytecode; bytecode.use();"
        "import distributed.worker;"
        "print(type(distributed.worker.__loader__).__module__)"
    )
    ended = apptainer("exec", "python", "-c", code)
    assert ended.stdout == "dask_runner.node.bytecode\n", ended


def test_the_runscript_passes_arguments_as_they_were_typed(apptainer: Run) -> None:
    code = "import json, sys; print(json.dumps(sys.argv[1:]))"
    ended = apptainer("run", "-n", "1", "-c", code, *HOSTILE.values(), "")
    assert json.loads(ended.stdout) == [*HOSTILE.values(), ""], ended


def test_the_hosts_python_and_mpi_do_not_come_along(apptainer: Run) -> None:
    host = dict.fromkeys(
        ("PYTHONHOME", "PYTHONPATH", "OPAL_PREFIX", "PMIX_PREFIX", "PRTE_PREFIX"),
        "/host",
    )
    code = "import distributed, os; print(sorted(set(os.environ) & set({})))"
    ended = apptainer("exec", "python", "-c", code.format(sorted(host)), env=host)
    assert (ended.stdout, ended.stderr) == ("[]\n", "")


def test_what_is_set_for_the_image_comes_along(apptainer: Run) -> None:
    code = "import os, sys; print(os.environ['OPAL_PREFIX'], sys.path[-1])"
    ended = apptainer(
        *("exec", "python", "-c", code),
        options="--env PYTHONPATH=/mine",
        env={"APPTAINERENV_OPAL_PREFIX": "/theirs"},
    )
    assert ended.stdout == "/theirs /mine\n", ended


def test_its_labels_are_the_images(apptainer: Run, image: Any) -> None:
    inspected = json.loads(apptainer("inspect", options="--json").stdout)
    labels = inspected["data"]["attributes"]["labels"]
    assert {name: labels.get(name) for name in image.labels} == image.labels
