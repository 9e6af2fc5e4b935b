"""Images that are, or hold, a squashfs: SIF above all, which unsquashfs unpacks.

unsquashfs is a program of this machine that is given a stranger's image. So it is first
asked what it would write, and what it has written is read as a stranger's directory.
"""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import tempfile
from typing import TYPE_CHECKING, BinaryIO, cast

from dask_runner.errors import ConfigError
from dask_runner.mpi.abi.bounds import MOST_DEPTH, MOST_PATH
from dask_runner.mpi.abi.streams import Broken
from dask_runner.printable import printable

if TYPE_CHECKING:
    from pathlib import Path

    from dask_runner.mpi.abi.bounds import Budget

_MAGIC = b"hsqs"

# github.com/apptainer/sif, pkg/sif: the global header after its launch line, and
# one descriptor; both are packed and little-endian.
_SIF_MAGIC = b"SIF_MAGIC\0"
_SIF_MAGIC_AT = 32
_SIF_HEADER = struct.Struct("<32s10s3s3s16s8q")
_SIF_DESCRIPTOR = struct.Struct("<iBIII7q128siI376s")
_SIF_PARTITION, _SIF_SQUASHFS, _SIF_PRIMARY = 0x4004, 1, 2
# Apptainer makes 48.
_MOST_DESCRIPTORS = 1024

# All that the inventory reads, as unsquashfs wants it.
_PARTS = (
    "etc",
    "lib",
    "lib64",
    "opt",
    "usr/bin",
    "usr/lib",
    "usr/lib64",
    "usr/local",
    "venv",
)

# One line of its list: kind, mode, owner, size or device, time, path.
_LINE = re.compile(
    rb"(?P<kind>[-dlcbps])[-rwxsStT]{9} .+? +(?P<size>\d+|\d+, *\d+) "
    rb"-?\d+-\d\d-\d\d \d\d:\d\d (?P<path>squashfs-root.*)"
)
_TOP = b"squashfs-root"
_ARROW = b" -> "

# Bytes of what unsquashfs says last.
_LAST_WORDS = 4096


def begin(stream: BinaryIO, path: Path) -> int | None:
    """Return where the squashfs begins; None if there is none."""
    head = stream.read(_SIF_HEADER.size)
    stream.seek(0)
    if head.startswith(_MAGIC):
        return 0
    if not head[_SIF_MAGIC_AT:].startswith(_SIF_MAGIC):
        return None
    try:
        return _primary(stream, head, path)
    except (struct.error, ValueError) as error:
        raise Broken(f"the SIF's header is damaged ({error})") from error


def _primary(stream: BinaryIO, head: bytes, path: Path) -> int:
    total, first = _SIF_HEADER.unpack(head)[8:10]
    stream.seek(first)
    for _ in range(min(total, _MOST_DESCRIPTORS)):
        data = stream.read(_SIF_DESCRIPTOR.size)
        kind, used, _, _, _, offset, *_, fstype, part, _ = _SIF_DESCRIPTOR.unpack(data)
        if used and kind == _SIF_PARTITION and part == _SIF_PRIMARY:
            if fstype != _SIF_SQUASHFS or offset < 0:
                break
            return int(offset)
    raise ConfigError(
        f"{path}: this SIF holds no plain squashfs (it is encrypted, or an OCI-SIF)",
        "an image that can be read without its key and engine",
        f"check it from inside: apptainer run --bind /:/host {path} check",
    )


def unpack(path: Path, offset: int, top: Path, budget: Budget) -> None:
    """Unpack what the inventory reads.

    Raises
    ------
    Broken
        Where names in it lead out of it.
    ConfigError
        Where it is beyond the budget, or unsquashfs cannot.
    """
    program = shutil.which("unsquashfs")
    if program is None:
        raise ConfigError(
            f"{path} is a squashfs, and there is no unsquashfs here to read it",
            "the package squashfs-tools (no root is needed to use it), or the image "
            "unpacked",
            f"check it from inside: apptainer run --bind /:/host {path} check",
        )
    base = [program, "-no-progress", "-no-xattrs", "-offset", str(offset)]
    # Absolute, so that no name is taken for an option.
    which = [str(path.absolute()), *_PARTS]
    _look([*base, "-lls", *which], path, budget)
    _run([*base, "-force", "-dest", str(top), *which], path, top)
    _open_up(top)


def _look(command: list[str], path: Path, budget: Budget) -> None:
    """Refuse what would be too much, or would not lie where its name says."""
    kinds: dict[bytes, bytes] = {}
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=os.environ | {"LC_ALL": "C"},
        ) as process,
    ):
        listed = cast("BinaryIO", process.stdout)
        try:
            # A bound, because a line may have no end.
            while line := listed.readline(2 * MOST_PATH):
                found = _LINE.fullmatch(line.rstrip(b"\n"))
                # Old ones say before how many processors they use.
                if found or kinds:
                    budget.entry()
                    _accept(found, kinds)
                if found and found["kind"] == b"-":
                    budget.kept(int(found["size"]))
        except BaseException:
            process.kill()
            raise
        if process.wait() not in {0, 2}:
            raise _failed(path, process.returncode, errors)


def _accept(found: re.Match[bytes] | None, kinds: dict[bytes, bytes]) -> None:
    # Old unsquashfs wrote through a link where a directory of the same name
    # followed it (CVE-2021-41072), and out of its directory where a name had a slash
    # in it (CVE-2021-40153). A name with a line's end could hide either.
    if found is None:
        raise Broken("a name in it has a line's end, or is too long")
    kind, path = found["kind"], found["path"]
    names = [path]
    if kind == b"l":
        # One arrow is usual; of several, the list does not say which is the link's.
        parts = path.split(_ARROW)
        names = [_ARROW.join(parts[:number]) for number in range(1, len(parts))]
        if not names:
            raise Broken(f"a link leads nowhere ({os.fsdecode(path)})")
    for name in names:
        above, _, last = name.rpartition(b"/")
        inside = last not in {b"", b".", b".."} and kinds.get(above) == b"d"
        if not inside and name != _TOP:
            raise Broken(f"a name leads out of its directory ({os.fsdecode(name)})")
        if name in kinds:
            raise Broken(f"a name is there twice ({os.fsdecode(name)})")
        if name.count(b"/") > MOST_DEPTH:
            raise Broken(f"more than {MOST_DEPTH} directories lie one in another")
        kinds[name] = kind


def _run(command: list[str], path: Path, top: Path) -> None:
    # Files that it may not make are a line each, as many as there are.
    with tempfile.TemporaryFile() as errors:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            check=False,
        )
        # 2 is for what an ordinary user may not make, such as device files.
        if done.returncode not in {0, 2} or not any(top.iterdir()):
            raise _failed(path, done.returncode, errors)


def _failed(path: Path, status: int, errors: BinaryIO) -> ConfigError:
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, size - _LAST_WORDS))
    lines = errors.read().decode(errors="replace").strip().splitlines()
    said = lines[-1] if lines else "nothing inside"
    return ConfigError(
        printable(f"unsquashfs {path} ended with status {status}: {said}"),
        "a whole image, and room in the temporary directory",
        f"TMPDIR=/some/disk dask-runner check {path}",
    )


def _open_up(top: Path) -> None:
    """Give ourselves access to all directories, to read and later to remove them.

    (What cannot be removed, some versions of tempfile chmod, the target of a link
    included: CVE-2023-6597.)
    """
    for directory, below, _ in os.walk(top):
        for name in below:
            path = os.path.join(directory, name)  # noqa: PTH118  for each of many
            if not os.path.islink(path):  # noqa: PTH114
                os.chmod(path, 0o700)  # noqa: PTH101
