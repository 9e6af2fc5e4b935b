"""What is in the image, what is not, and what its labels say of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PREFIX = "/opt/dask-runner"

every_application_layer = pytest.mark.parametrize("row", ["openmpi", "openmpi-jupyter"])


def test_no_mpi_hides_in_the_virtual_environment(contained: Any) -> None:
    ended = contained.run(
        PREFIX, "-name", "libmpi*.so*", "-o", "-path", "*/bin/mpi*", entrypoint="find"
    )
    assert (ended.status, ended.stdout) == (0, "")


@every_application_layer
def test_every_module_starts_from_bytecode_that_never_goes_stale(
    build: Callable[..., Any], contained: Any, row: str
) -> None:
    contained.image = build(row)
    # As a SIF made with one time for all files has them: other than when compiled.
    code = """
import pathlib, sys, sysconfig
stale = []
for path in pathlib.Path("/").glob("opt/dask-runner/lib/**/*.py"), \
        pathlib.Path("/usr/lib/python3.13").glob("**/*.py"):
    for source in path:
        compiled = source.parent / "__pycache__" / f"{source.stem}.cpython-313.pyc"
        # Bytes 4 to 8 are flags: 1 is a hash and no time, 3 one that is compared.
        if not compiled.exists() or compiled.read_bytes()[4:8] != bytes([1, 0, 0, 0]):
            stale.append(str(source))
print(stale)
"""
    assert contained.python(code).stdout == "[]\n"


@every_application_layer
def test_a_start_imports_from_one_file(
    build: Callable[..., Any], contained: Any, row: str
) -> None:
    contained.image = build(row)
    code = """
from dask_runner.node import bytecode
bytecode.use()
import asyncio, cryptography.x509, distributed.worker, numpy, dask_runner.node.rank
others = [asyncio, cryptography.x509, distributed.worker, numpy, dask_runner.node.rank]
print({type(module.__loader__).__module__ for module in others})
"""
    assert contained.python(code).stdout == "{'dask_runner.node.bytecode'}\n"


def test_a_package_that_is_installed_later_is_imported_instead(contained: Any) -> None:
    # As pip does it: the old one goes, and another comes in its place.
    code = """
import shutil, zict, pathlib
place = pathlib.Path(zict.__file__).parent
shutil.rmtree(place)
place.mkdir()
(place / "__init__.py").write_text("def said(): return 'another'")
import subprocess, sys
new = "from dask_runner.node import bytecode; bytecode.use(); import zict; "
new += "print(zict.said())"
subprocess.run([sys.executable, "-c", new], check=True)
"""
    ended = contained.python(code, user="0:0")
    assert ended.stdout == "another\n", ended


@every_application_layer
def test_the_locked_requirements_fit_together(
    build: Callable[..., Any], contained: Any, row: str
) -> None:
    contained.image = build(row)
    ended = contained.run("check", entrypoint="pip")
    assert ended.status == 0, ended


def test_packages_in_a_home_do_not_win(contained: Any, tmp_path: Path) -> None:
    site = tmp_path / ".local/lib/python3.13/site-packages"
    site.mkdir(parents=True)
    (site / "dask.py").write_text("raise SystemExit('the wrong Dask')\n")
    ended = contained.python(
        "import dask; print(dask.__file__)", environment={"HOME": "/work"}
    )
    assert ended.stdout.startswith(f"{PREFIX}/lib"), ended


def test_pythonpath_adds_modules_and_replaces_none(
    contained: Any, tmp_path: Path
) -> None:
    for name in ("dask", "json", "numpy", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong one')\n")
    (tmp_path / "mine.py").write_text("ANSWER = 42\n")
    ended = contained.python(
        "import dask, json, numpy, mine; print(mine.ANSWER)",
        environment={"PYTHONPATH": "/evil:/evil/../work"},
        volumes={str(tmp_path): {"bind": "/evil", "mode": "ro"}},
        working_dir="/",
    )
    assert (ended.status, ended.stdout) == (0, "42\n"), ended


def test_an_image_with_one_more_package_is_four_lines(
    image: Any, contained: Any
) -> None:
    from containers.base_image import archive, build  # noqa: PLC0415  needs the Docker SDK

    tag = f"{image.tags[0]}-derived-by-a-test"
    recipe = (
        f"FROM {image.id}\nUSER root\nRUN pip install --no-cache-dir cachetools\n"
        "USER 1000:1000\n"
    )
    derived = build(image.client, archive({"Dockerfile": recipe.encode()}), tag)
    contained.image = derived
    try:
        ended = contained.python("import cachetools; print(cachetools.__file__)")
        assert ended.stdout.startswith(PREFIX), ended
    finally:
        contained.discard()
        image.client.images.remove(derived.id, force=True)


@every_application_layer
def test_no_file_gives_another_accounts_rights(
    build: Callable[..., Any], contained: Any, row: str
) -> None:
    contained.image = build(row)
    found = contained.run(
        *("/", "-xdev", "-perm", "/6000", "-type", "f"), entrypoint="find", user="0:0"
    )
    assert (found.status, found.stdout) == (0, ""), found
