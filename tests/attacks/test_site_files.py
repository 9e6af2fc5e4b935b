"""Another account can write where the site's files are, and fixes options there."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from tests.attacks.stranger import STRANGER, attack
from tests.programs import printed

#: Settles the options, with the site's files in a directory.
SETTLE = """
import os
from dask_runner.errors import RunnerError
from dask_runner.launch import config_files
from dask_runner.launch.settings import configured, settle
config_files.SITE = {site!r}
try:
    print(settle({{}}, configured(os.environ)).security)
except RunnerError as error:
    print(error.status, error)
"""

WRITE = """
with open(sys.argv[1], "w") as file:
    file.write("runner: {fixed: {security: none}}\\n")
"""


@pytest.mark.attack(
    "can write into `/etc/dask`, and fixes `security: none` for you there",
    "an error (78) that names the file or the directory and its mode: nothing that "
    "others can write fixes an option",
)
@pytest.mark.parametrize("opened", ["directory", "file"])
def test_what_others_can_write_fixes_nothing(opened: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        site, file = Path(place, "dask"), Path(place, "dask", "site.yaml")
        Path(place).chmod(0o755)
        site.mkdir()
        file.touch()
        site.chmod(0o777 if opened == "directory" else 0o755)
        file.chmod(0o666)

        assert attack(WRITE, file).returncode == 0
        if opened == "directory":
            os.chown(file, STRANGER, STRANGER)
        environ = {"HOME": place, "DASK_ROOT_CONFIG": "/nowhere"}
        said = printed(SETTLE.format(site=str(site)), environ)

    at = site if opened == "directory" else file
    assert said.startswith(f"78 {file}, runner.fixed: {at} can be written"), said
