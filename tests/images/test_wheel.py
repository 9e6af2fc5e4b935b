"""The wheel alone is enough on a machine that has Python and nothing of ours."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 600
PYTHON = (
    "apt-get update -q && "
    "apt-get install -qy --no-install-recommends python3-venv && "
    "python3 -m venv /tmp/venv && /tmp/venv/bin/pip install -q /wheels/*.whl"
)

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(2 * SECONDS)]


@pytest.fixture
def bare(engine: Any, build: Any, tmp_path: Path) -> Iterator[Any]:
    """A container of the base image, with the wheel and an example."""
    from containers.base_image import BASE  # noqa: PLC0415  needs the Docker SDK

    assert build  # it has made sure of the base image
    wheel = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path]
    subprocess.run([*wheel, ROOT], check=True, timeout=SECONDS)
    mode = {"mode": "ro"}
    container = engine.containers.run(
        BASE,
        ["sleep", str(SECONDS)],
        network_mode="host",
        volumes={
            str(tmp_path): {"bind": "/wheels", **mode},
            str(ROOT / "examples"): {"bind": "/examples", **mode},
        },
        detach=True,
    )
    yield container
    container.remove(force=True)


def test_the_wheel_runs_the_main_job_on_a_bare_machine(bare: Any) -> None:
    code, said = bare.exec_run(["sh", "-c", PYTHON])
    assert code == 0, said

    code, said = bare.exec_run(
        ["/tmp/venv/bin/dask-runner", "-n", "4", "/examples/pi.py"],
        workdir="/tmp",
    )

    assert code == 0, said
    assert b"4 workers" in said
    assert b"ended with status 0" in said

    recipe = "/tmp/venv/bin/dask-runner recipe --mpi mpich"
    code, said = bare.exec_run(recipe, workdir="/tmp")
    assert code == 0, said
    assert b"# MPI=mpich MPI_SOURCE=distribution" in said
    assert b"%post" in said
