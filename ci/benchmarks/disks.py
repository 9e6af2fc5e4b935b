"""Disks with a journal for the nodes of a cluster in containers.

A container's own layers lie on whatever disk the engine has. Some of these make a file
ten times as slowly for a minute or two after another was removed: ext4 without a
journal looks for a number that nobody has used lately. Nodes have no such disks.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ci.slurm.cluster import Cluster

#: Bytes of each; the file takes what is written.
SIZE = 4 << 30

#: In the container's namespace of mounts, with the device's numbers.
_MOUNT = """\
mknod /dev/scratch b $0 $1 && mount /dev/scratch /tmp && rm /dev/scratch &&
chmod 1777 /tmp"""


@contextmanager
def mounted(cluster: Cluster) -> Iterator[None]:
    """Mount a new ext4 file system at the ``/tmp`` of each node; this needs root."""
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        for node in ("c1", "c2"):
            pid = cluster.node(node).container.attrs["State"]["Pid"]
            file = Path(directory, node)
            with file.open("wb") as made:
                made.truncate(SIZE)
            _run("mkfs.ext4", "-q", str(file))
            device = _run("losetup", "--find", "--show", str(file))
            stack.callback(_run, "losetup", "--detach", device)
            number = Path(device).stat().st_rdev
            numbers = str(os.major(number)), str(os.minor(number))
            inside = ("nsenter", "--target", str(pid), "--mount")
            _run(*inside, "sh", "-c", _MOUNT, *numbers)
            stack.callback(_run, *inside, "umount", "/tmp")  # noqa: S108  the node's
        yield


def _run(*command: str) -> str:
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()
