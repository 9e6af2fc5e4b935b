"""Any Python at all below a command: as it was, where it has no Dask."""

from __future__ import annotations

import os
import shutil
import subprocess
import venv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dask_runner.launch.own_variables import SITEHOOK_VARIABLE
from dask_runner.programs.command import environment

if TYPE_CHECKING:
    from collections.abc import Mapping

SECONDS = 60


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a Python that has nothing but the standard library."""
    place = tmp_path_factory.mktemp("stranger") / "venv"
    venv.create(place, symlinks=True)
    return place / "bin" / "python"


def _pythons() -> list[str]:
    names = ("python2", *(f"python3.{minor}" for minor in range(6, 16)))
    roots = [place for name in names if (place := shutil.which(name))]
    # Not the shims of a version manager, which may have no such Python.
    real = {
        subprocess.run(
            [root, "-c", "import sys; print(sys.executable)"],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        ).stdout.strip()
        for root in (*roots, "/usr/bin/python3")
        if Path(root).exists()
    }
    return sorted(real - {""})


#: What a Python is, for comparing it with and without our directory.
SELF = (
    "import sys; print(sorted(set(sys.modules)), sys.path[1:],"
    "getattr(sys.modules.get('sitecustomize'), '__file__', None))"
)


def _self(python: str | Path, environ: Mapping[str, str], *flags: str) -> Any:
    # Bytecode would be written beside our own sources.
    environ = {**environ, "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [python, *flags, "-c", SELF],
        env=environ,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )


@pytest.mark.parametrize("flags", [[], ["-I"], ["-S"], ["-E"]], ids=str)
@pytest.mark.parametrize("python", _pythons())
def test_a_python_without_dask_is_as_it_was(python: str, flags: list[str]) -> None:
    with_hook = environment({"PYTHONPATH": "/mine"})
    if "-S" in flags:
        with_hook["PYTHONPATH"] = "/mine"  # nothing runs that would take us away
    one, other = (
        _self(python, environ, *flags)
        for environ in ({"PYTHONPATH": "/mine"}, with_hook)
    )
    assert (one.stdout, one.stderr) == (other.stdout, other.stderr)


def test_a_venv_without_dask_is_as_it_was(stranger: Path) -> None:
    one, other = (_self(stranger, environ) for environ in ({}, environment({})))
    assert (one.stdout, one.stderr) == (other.stdout, other.stderr)


CUSTOM = {
    "one": "import sys; sys.mine = 42",
    "one with an error": "1 / 0",
    "one that misses something": "import nothing_like_it",
    "one that ends Python": "raise SystemExit(4)",
}


@pytest.mark.parametrize("text", CUSTOM.values(), ids=CUSTOM.keys())
def test_the_users_sitecustomize_runs_as_if_ours_were_not_there(
    stranger: Path, tmp_path: Path, text: str
) -> None:
    (tmp_path / "sitecustomize.py").write_text(text)
    code = "import sys, sitecustomize; print(sitecustomize, vars(sys).get('mine'))"
    theirs = {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    one, other = (
        subprocess.run(
            [stranger, "-c", code],
            env=environ,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        for environ in (theirs, environment(theirs))
    )
    assert one.returncode == other.returncode
    assert one.stdout == other.stdout
    assert _last(one.stderr) == _last(other.stderr)


def _last(stderr: str) -> str:
    """Return the error; a traceback's frames may have ours among them."""
    return stderr.strip().rpartition("\n")[2]


def test_the_users_path_stays_behind_ours_once() -> None:
    twice = environment(environment({"PYTHONPATH": "/a::/b", "OTHER": "x"}))
    hook = twice[SITEHOOK_VARIABLE]
    assert twice["PYTHONPATH"].split(":") == [hook, "/a", "", "/b"]
    assert twice["OTHER"] == "x"
    assert environment({"PYTHONPATH": ""})["PYTHONPATH"] == hook
    assert environment(environment({}))["PYTHONPATH"] == hook
