"""Where every process of ``dask-runner`` begins: as a follower, or with the rest.

It imports nothing until it is known whether another rank of the node plays this
one's part (:mod:`dask_runner.follower`).
"""

from __future__ import annotations

import os
import sys

from dask_runner import follower

_STDERR = 2


def main() -> None:
    """Run ``dask-runner`` with the arguments of the process."""
    _open_standard_streams()
    door = None
    args = sys.argv[1:]
    name, leads = follower.meeting_place(os.environ, args)
    alone = os.environ.pop(follower.ALONE, "")
    if leads:
        door = follower.claim(name)
    elif name and not alone:
        status = follower.follow(name, args)
        if status is not None:
            sys.exit(status)
    from dask_runner import cli  # noqa: PLC0415  not for followers

    cli.main(args, door)


def _open_standard_streams() -> None:
    # Where one is closed, the next file or socket would take its number, and our
    # processes would take that for their stderr.
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
