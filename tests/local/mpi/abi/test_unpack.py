"""What unsquashfs is told of an image."""

import struct
from pathlib import Path

import pytest

from dask_runner.errors import ConfigError
from dask_runner.mpi.abi import unpack


def sif(path: Path, part: int, kind: int = 1) -> None:
    """Write a SIF of one partition that holds no squashfs."""
    extra = struct.pack("<ii376s", kind, part, b"")
    descriptor = struct.pack(
        "<iBIII7q128s", 0x4004, 1, 1, 0, 0, 4096, 8, 8, 0, 0, 0, 0, b"x"
    )
    first = 128
    head = struct.pack(
        "<32s10s3s3s16s8q",
        b"#!/usr/bin/env run-singularity\n",
        b"SIF_MAGIC\0",
        b"01\0",
        b"02\0",
        b"",
        *(0, 0, 0, 1, first, 585, 4096, 8),
    )
    data = head.ljust(first, b"\0") + descriptor + extra
    path.write_bytes(data.ljust(4096, b"\0") + b"hsqsHERE")


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
