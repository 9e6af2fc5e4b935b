"""Tell a program that attaches to a cluster of other versions than its own."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import TYPE_CHECKING

from dask_runner.hub.report import say

if TYPE_CHECKING:
    from dask_runner.meeting.named_record import NamedRecord


def tell_of_others(named: NamedRecord) -> None:
    """Say in a line that this program's versions are not those of the cluster."""
    theirs = f"Python {named.python} and distributed {named.distributed}"
    ours = (
        f"Python {platform.python_version()} and distributed {version('distributed')}"
    )
    if _minor(theirs) != _minor(ours):
        say(
            f"warning: the cluster {named.name!r} has {theirs}, and this program has "
            f"{ours}: what one sends the other may not understand"
        )


def _minor(versions: str) -> tuple[str, str]:
    """Return what has to be equal: "Python 3.13.5 and ..." without the last number."""
    python, _, others = versions.partition(" and ")
    return python.rpartition(".")[0], others
