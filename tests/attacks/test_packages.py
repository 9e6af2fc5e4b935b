"""What somebody else can do about the packages that a job adds to its image."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dask_runner.packages.archive import MANIFEST, manifest
from tests.attacks.stranger import STRANGER, attack
from tests.wheels import wheel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import DaskRunner
    from tests.running import Ended

CODE = "import extra; print(extra.VERSION)"

#: Code that tells on itself where it runs.
THEIRS = 'VERSION = "theirs"\n'


class Shared:
    """A directory that a group shares, with a package cache and wheels of ours."""

    def __init__(self, directory: Path) -> None:
        self.wheels = directory / "wheels"
        wheel(self.wheels, "extra")
        self.directory = directory
        self.cache = directory / "shared" / "cache"
        self.env = {
            "UV_FIND_LINKS": str(self.wheels),
            "UV_NO_INDEX": "1",
            "PIP_CONFIG_FILE": os.devnull,
        }

    def run(self, dask_runner: DaskRunner, *args: str | Path) -> Ended:
        """Run a job with the package."""
        line = ("-n", 2, "--with", "extra", *args, "-c", CODE)
        return dask_runner(*map(str, line), env=self.env)


@pytest.fixture
def shared() -> Iterator[Shared]:
    """A directory in which the stranger may write as well."""
    # Not below pytest's own directory, which no other account can enter.
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o711)
        found = Shared(Path(directory))
        found.cache.mkdir(parents=True)
        found.cache.chmod(0o777)
        yield found


def theirs(path: Path, like: Path) -> None:
    """Make an archive as ours, with the code of another."""
    with tarfile.open(path, "w") as file:
        told = asdict(manifest(like)) | {"members": 1}
        for name, text in (
            (MANIFEST, json.dumps(told)),
            ("extra/__init__.py", THEIRS),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(text)
            file.addfile(member, io.BytesIO(text.encode()))
    path.chmod(0o644)


#: Replaces what is in a directory by a file, or a link to one.
REPLACE = """
directory, kind, made = sys.argv[1:]
(name,) = [name for name in os.listdir(directory) if name.endswith(".tar")]
path = os.path.join(directory, name)
os.rename(path, path + ".taken")
if kind == "link":
    os.symlink(made, path)
else:
    with open(made, "rb") as read, open(path, "xb") as write:
        write.write(read.read())
    os.chmod(path, 0o644)
print(os.stat(path).st_uid)
"""


@pytest.mark.attack(
    "may write in a project's directory that you have named with --package-cache, and "
    "puts an archive, or a link to one, in the place of yours",
    "an error: what belongs to another account is never unpacked",
)
@pytest.mark.parametrize("kind", ["copy", "link"])
def test_an_archive_of_another_account_is_never_used(
    dask_runner: DaskRunner, shared: Shared, kind: str
) -> None:
    first = shared.run(dask_runner, "--package-cache", shared.cache)
    assert (first.status, first.stdout) == (0, "1.0\n"), first
    (own,) = shared.cache.glob("*.tar")
    theirs(shared.directory / "theirs.tar", own)

    tried = attack(REPLACE, shared.cache, kind, shared.directory / "theirs.tar")

    assert tried.returncode == 0, tried.stderr
    ended = shared.run(dask_runner, "--package-cache", shared.cache)
    assert (ended.status, ended.stdout) == (78, ""), ended
    why = "is a symbolic link" if kind == "link" else f"belongs to uid {STRANGER}"
    assert why in ended.stderr, ended


def owned(path: Path) -> str:
    os.chown(path, STRANGER, STRANGER)
    return f"belongs to uid {STRANGER}"


def open_to_all(path: Path) -> str:
    path.chmod(0o777)
    return "can be written by others (mode 0777)"


def a_link(path: Path) -> str:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")
    return "is no directory"


@pytest.mark.attack(
    "has made the package cache before you did (a home that others could write), or "
    "can write there",
    "an error that names the directory; nothing is read or written there",
)
@pytest.mark.parametrize("spoil", [owned, open_to_all, a_link])
def test_a_cache_that_somebody_else_may_have_made_is_refused(
    dask_runner: DaskRunner,
    shared: Shared,
    tmp_path: Path,
    spoil: Callable[[Path], str],
) -> None:
    place = tmp_path / "xdg" / "dask-runner" / "packages"
    place.mkdir(parents=True, mode=0o700)
    why = spoil(place)
    shared.env["XDG_CACHE_HOME"] = str(tmp_path / "xdg")

    ended = shared.run(dask_runner)

    assert (ended.status, ended.stdout) == (78, ""), ended
    assert f"the package cache {place} {why}" in ended.stderr, ended
    assert [*place.iterdir()] == []


@pytest.mark.attack(
    "leaves a uv.toml or a pyproject.toml above your working directory, which names an "
    "index of theirs",
    "nothing: only your own uv.toml and the system's are read",
)
@pytest.mark.parametrize("name", ["uv.toml", "pyproject.toml"])
def test_settings_of_others_above_the_working_directory_do_not_count(
    dask_runner: DaskRunner, shared: Shared, tmp_path: Path, name: str
) -> None:
    wheel(tmp_path / "evil", "extra", "6.66")
    head = "[tool.uv]\n" if name == "pyproject.toml" else ""
    text = f"{head}find-links = ['{tmp_path / 'evil'}']\n"
    (tmp_path / name).write_text(text)
    (tmp_path / "work").mkdir()
    # A variable would count before such a file.
    del shared.env["UV_FIND_LINKS"]
    file = tmp_path / "requirements.txt"
    file.write_text(f"--find-links {shared.wheels}\nextra\n")
    line = ("--with-requirements", file, "--package-cache", shared.cache, "-c", CODE)

    ended = dask_runner(*line, env=shared.env, cwd=tmp_path / "work")

    assert (ended.status, ended.stdout) == (0, "1.0\n"), ended


#: Members that would be elsewhere, by what is tried.
ESCAPES = {
    "../": ("../../outside", tarfile.REGTYPE, ""),
    "link": ("extra/outside", tarfile.SYMTYPE, "/etc/passwd"),
    "hard link": ("extra/outside", tarfile.LNKTYPE, "/etc/passwd"),
    "device": ("extra/outside", tarfile.CHRTYPE, ""),
}


@pytest.mark.attack(
    "has you copy an archive of packages into your cache, with members that lead out "
    "of it: `..`, links to your files, devices",
    "an error: a member that leads out is refused, whoever has put the archive there",
)
@pytest.mark.parametrize("tried", [*ESCAPES])
def test_an_archive_whose_members_lead_out_is_refused(
    dask_runner: DaskRunner, shared: Shared, tmp_path: Path, tried: str
) -> None:
    shared.run(dask_runner, "--package-cache", shared.cache)
    (own,) = shared.cache.glob("*.tar")
    told = asdict(manifest(own)) | {"members": 1}
    name, kind, target = ESCAPES[tried]
    made = tmp_path / "made.tar"
    with tarfile.open(made, "w") as file:
        first = tarfile.TarInfo(MANIFEST)
        first.size = len(text := json.dumps(told).encode())
        file.addfile(first, io.BytesIO(text))
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, target
        file.addfile(member)
    made.chmod(0o600)
    shutil.move(made, own)

    ended = shared.run(dask_runner, "--package-cache", shared.cache)

    assert (ended.status, ended.stdout) == (78, ""), ended
    assert "has a member that is refused" in ended.stderr, ended


#: Looks for all that it can read of a job's packages, in the directory of its scratch.
LOOK = """
found = []
for above, below, names in os.walk(sys.argv[1]):
    found += [os.path.join(above, name) for name in names]
print(len([name for name in found if "extra" in name or name.endswith(".tar")]))
"""


@pytest.mark.attack(
    "looks into the scratch directory for the packages of your job, to change them",
    "nothing: they are in a directory that only you can enter",
)
def test_unpacked_packages_are_in_a_private_directory(
    dask_runner: DaskRunner, shared: Shared, tmp_path: Path
) -> None:
    code = f"{CODE}; import time; print('ready', flush=True); time.sleep(600)"
    line = ("--with", "extra", "--package-cache", shared.cache / "own", "-c", code)
    run = dask_runner.start(*line, env=shared.env)
    run.wait_for("ready")
    for path in (run.directory, run.tmp):
        path.chmod(0o755)

    tried = attack(LOOK, run.directory)

    assert tried.stdout == "0\n", tried
    assert [*run.tmp.glob("dask-runner-*/packages/extra")]
    run.signal(15)
    assert run.wait().status == 143
    assert tmp_path.exists()
