"""SIF files for tests, as far as what reads them looks."""

import struct
from pathlib import Path


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
