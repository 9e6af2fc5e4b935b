"""Images as somebody makes them who means no good: what goes into their archives."""

import contextlib
import gzip
import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dask_runner.mpi.abi.root import Root

#: What makes a tree of files an image: this machine's C library.
LIBC = Root(Path("/")).library("libc.so.6") or ""

#: A member's name, and what it is: bytes for a file's content, or what differs from
#: an empty file in its header.
Entry = tuple[str, bytes | Mapping[str, Any]]


def link(target: str) -> dict[str, Any]:
    """Return a symbolic link."""
    return {"type": tarfile.SYMTYPE, "linkname": target}


def hard(target: str) -> dict[str, Any]:
    """Return a hard link."""
    return {"type": tarfile.LNKTYPE, "linkname": target}


DIRECTORY: Mapping[str, Any] = {"type": tarfile.DIRTYPE, "mode": 0o755}


def tar(entries: Iterable[Entry], form: int = tarfile.GNU_FORMAT) -> bytes:
    """Return a tar file."""
    stream = io.BytesIO()
    with tarfile.open(
        fileobj=stream, mode="w", format=form, errors="surrogateescape"
    ) as archive:
        for name, what in entries:
            member = tarfile.TarInfo(name)
            data = what if isinstance(what, bytes) else b""
            member.size = len(data)
            for key, value in () if isinstance(what, bytes) else what.items():
                setattr(member, key, value)
            # Of a size that is a lie, what is there is written.
            with contextlib.suppress(OSError):
                archive.addfile(member, io.BytesIO(data))
    return stream.getvalue()


def base() -> list[Entry]:
    """Return what every image here has: a C library."""
    return [
        ("usr/lib/libc.so.6", Path(LIBC).read_bytes()),
        ("etc/os-release", b'PRETTY_NAME="Image"\n'),
    ]


def docker(path: Path, *layers: bytes, manifest: bytes | None = None) -> Path:
    """Write what ``docker save`` writes, with these layers."""
    names = [f"{number}/layer.tar" for number in range(len(layers))]
    contents = manifest or json.dumps([{"Layers": names}]).encode()
    entries = [("manifest.json", contents), *zip(names, layers, strict=True)]
    path.write_bytes(tar(entries))
    return path


def layout(path: Path, files: Mapping[str, bytes]) -> Path:
    """Write a layout as a directory."""
    for name, data in {"oci-layout": b"{}", **files}.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def bomb(header: bytes, mebibytes: int) -> bytes:
    """Return a header with so many zeros behind it, compressed to next to nothing."""
    zeros = gzip.compress(bytes(16 << 20), 9, mtime=0)
    return gzip.compress(header, mtime=0) + zeros * (mebibytes // 16)


def header(name: str, kind: bytes, size: int) -> bytes:
    """Return a tar header that announces so many bytes."""
    member = tarfile.TarInfo(name)
    member.type, member.size = kind, size
    return member.tobuf(tarfile.GNU_FORMAT)


def tree(top: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return all that is below a directory: modes, times and contents."""
    found = {}
    for path in sorted([top, *top.rglob("*")]):
        stat = path.lstat()
        data = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found[str(path)] = (stat.st_mode, stat.st_mtime_ns, data)
    return found
