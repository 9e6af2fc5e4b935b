"""The scripts of tutorials that need packages of the index run, with ``--with``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import DOCS, blocks

MARK = "not run: the same by tests/local/test_tutorials.py"
#: Makes the store that the page's script reads.
STORE = """
import numpy, xarray
values = numpy.arange(365 * 100.0).reshape(365, 10, 10)
data = xarray.Dataset({"temperature": (("time", "y", "x"), values)})
data.chunk({"time": 73}).to_zarr("measurements.zarr")
"""
#: Page: what --with names, the preparation, and the proof that the script has worked.
SCRIPTS = {
    "tutorials/scikit-learn.md": ("scikit-learn,joblib", "", "{'n_estimators': "),
    "tutorials/xarray.md": (
        "xarray,zarr",
        STORE,
        "import xarray; print(float(xarray.open_zarr('mean.zarr').temperature[0, 0]))",
    ),
}


def run(directory: Path, packages: str, *program: str) -> str:
    done = subprocess.run(
        [
            *(Path(sys.executable).parent / "dask-runner", "-n", "2"),
            *("--with", packages, "--package-cache", directory, *program),
        ],
        check=False,
        capture_output=True,
        cwd=directory,
        env=os.environ | {"HOME": str(directory)},
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.heavy
@pytest.mark.parametrize("page", SCRIPTS)
def test_the_script_of_a_tutorial_runs_with_its_packages(
    page: str, tmp_path: Path
) -> None:
    packages, before, proof = SCRIPTS[page]
    script, command = (one for one in blocks(DOCS / page) if one.mark == MARK)
    assert packages in command.code
    (tmp_path / "script.py").write_text(script.code)
    if before:
        run(tmp_path, packages, "-c", before)

    printed = run(tmp_path, packages, "script.py")

    if proof.startswith("import"):
        # The mean of 0, 100, ..., 36400.
        assert run(tmp_path, packages, "-c", proof) == "18200.0\n"
    else:
        assert printed.startswith(proof)
