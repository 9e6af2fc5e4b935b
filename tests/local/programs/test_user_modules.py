"""Which module a process of ours finds, by who asks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from dask_runner.programs import user_modules
from dask_runner.programs.user_modules import COMMAND, SERVER, WORKER
from tests.programs import SCRIPTS

if TYPE_CHECKING:
    from pathlib import Path


def asked(tmp_path: Path, role: str, name: str) -> str:
    user, installed = tmp_path / "user", tmp_path / "installed"
    for directory in (user, installed):
        directory.mkdir()
    shutil.copy(SCRIPTS / "asks.py", user / "helpers.py")
    (user / f"{name}.py").touch()
    shutil.copy(SCRIPTS / "asks.py", installed / "library.py")
    shutil.copy(SCRIPTS / "finder.py", installed / "process.py")
    done = subprocess.run(
        [sys.executable, "-P", installed / "process.py", user, role, name],
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout.strip()


#: In this order: the user's code, a library for it, one for nobody known, one for Dask,
#: and Dask itself.
@pytest.mark.parametrize(
    ("role", "name", "found"),
    [
        # Installed as well; of the standard library; only the user's.
        (WORKER, "hypothesis", "user's user's installed installed installed"),
        (WORKER, "wave", "user's installed installed installed installed"),
        (WORKER, "lonely", "user's user's none none none"),
        (SERVER, "hypothesis", "user's installed installed installed installed"),
        (SERVER, "wave", "user's installed installed installed installed"),
        (SERVER, "lonely", "user's user's none none none"),
        (COMMAND, "hypothesis", "installed installed installed installed installed"),
        (COMMAND, "wave", "installed installed installed installed installed"),
        (COMMAND, "lonely", "user's user's none none none"),
    ],
)
def test_who_asks_decides(tmp_path: Path, role: str, name: str, found: str) -> None:
    assert asked(tmp_path, role, name) == found


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a directory away")
def test_a_directory_of_somebody_elses_is_not_ours(tmp_path: Path) -> None:
    own = tmp_path / "theirs" / "own"
    own.mkdir(parents=True)
    os.chown(own.parent, 12346, 12346)
    assert not user_modules.is_only_ours(str(own))
    assert not user_modules.is_only_ours(str(own.parent))
