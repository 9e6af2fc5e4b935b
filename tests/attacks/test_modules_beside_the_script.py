"""Another account lays modules into a working directory where anybody may write."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.attacks.stranger import STRANGER, attack
from tests.module_names import NAMES
from tests.programs import clean, script

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import DaskRunner

pytestmark = pytest.mark.attacks

#: Lays a module for each name; each tells of every process that runs it.
LAY = '''
import os, sys
directory, names = sys.argv[1], sys.argv[2:]
text = """
import os
with open(%r, "a") as file:
    file.write(f"{__name__} as uid {os.geteuid()} in "
               f"{open('/proc/self/comm').read()}")
""" % os.path.join(directory, "ran")
for name in names:
    with open(os.path.join(directory, name + ".py"), "w") as file:
        file.write(text)
os.chmod(directory + "/" + names[0] + ".py", 0o644)
'''

VICTIM = """
from distributed import Client

def look():
    try:
        import strange_helpers
    except ModuleNotFoundError:
        return "none"
    return "the stranger's"

client = Client()
print(client.submit(look).result(), client.run_on_scheduler(look))
print(*client.run(look, nanny=True).values())
print(sorted(client.get_versions()))
client.restart()
print(sum(client.gather(client.map(abs, range(-9, 0)))))
"""

SAID = "none none\nnone none\n['client', 'scheduler', 'workers']\n45\n"


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory as /tmp, with modules of the stranger's of any name."""
    directory = Path(tempfile.mkdtemp(prefix="shared-", dir="/tmp"))
    directory.chmod(0o1777)
    try:
        laid = attack(LAY, directory, *NAMES, "strange_helpers")
        assert laid.returncode == 0, laid
        assert (directory / "queue.py").stat().st_uid == STRANGER
        yield directory
    finally:
        shutil.rmtree(directory)


@pytest.mark.attack(
    "puts modules into your job's working directory, where anyone can write: "
    "`queue.py`, `prometheus_client.py`, any name",
    "nothing: none of them runs. A script's modules are those beside the "
    "script, and below `--` a working directory is only used if nobody else can "
    "write there",
)
@pytest.mark.parametrize("way", ["command", "script", "shell"])
def test_modules_of_a_stranger_in_the_working_directory_never_run(
    dask_runner: DaskRunner, shared: Path, tmp_path: Path, way: str
) -> None:
    path = script(tmp_path, VICTIM)
    words = {
        "command": ("--", sys.executable, path),
        "script": (path,),
        "shell": ("--", "sh", "-c", f'exec "{sys.executable}" "{path}"'),
    }
    ended = dask_runner("-n", 2, *words[way], cwd=shared, stray=".*")
    ran = shared / "ran"
    assert not ran.exists(), ran.read_text()
    assert clean(ended).stdout == SAID
