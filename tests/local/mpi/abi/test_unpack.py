"""What unsquashfs is told of an image."""

from pathlib import Path

import pytest

from dask_runner.errors import ConfigError
from dask_runner.mpi.abi import unpack
from tests.sif_files import sif


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the only directory on the PATH."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    return programs


def test_the_squashfs_of_a_sif_is_where_its_descriptor_says(
    tmp_path: Path, programs: Path
) -> None:
    sif(tmp_path / "x.sif", 2)
    # The real program is in the images' tests; here is what it is told.
    told = tmp_path / "told"
    program = programs / "unsquashfs"
    program.write_text(f'#!/bin/sh\necho "$@" > {told}\nexit 1\n')
    program.chmod(0o755)

    with (
        pytest.raises(ConfigError, match="ended with status 1"),
        unpack.opened(str(tmp_path / "x.sif")),
    ):
        pass
    assert "-offset 4096" in told.read_text()
