"""Where a rank puts its scratch files: the nearest disk of its own node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dask_runner.errors import ConfigError
from dask_runner.resources.amounts import MIB, in_words
from dask_runner.resources.machine import NETWORK

if TYPE_CHECKING:
    from dask_runner.resources.machine import Directory, Snapshot

#: File systems in memory: spilling to them frees none.
MEMORY = frozenset({"tmpfs", "ramfs", "devtmpfs", "rootfs"})

#: Less free space than this is no place to spill to.
LEAST_FREE = 256 * MIB

_DO = "set --local-directory to a directory on a disk of the node"


@dataclass(frozen=True, slots=True)
class Scratch:
    """The directory in which a private one is to be made.

    Attributes
    ----------
    path : str
        Absolute path. It may not exist yet if the user named it.
    source : str
        Who proposed it, and its file system, in words.
    refused : tuple of str
        The candidates tried before, each with the reason.
    warnings : tuple of str
        What is wrong with the one that was taken.
    """

    path: str
    source: str
    refused: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def scratch(snapshot: Snapshot) -> Scratch:
    """Choose the first candidate that is on a disk of this node.

    A directory that the user named is taken whatever it is, with a warning; any other
    only if no other account could take it away. The layers of a container come after
    what is mounted into it, memory (tmpfs) after these, and network file systems last.
    Unknown types count as local: overlay, squashfs and FUSE are what containers
    are made of.

    Raises
    ------
    ConfigError
        If the user's directory, or every candidate, cannot be written to.
    """
    refused: list[str] = []
    fallback: dict[str, Directory] = {}
    for directory in snapshot.directories:
        asked = directory.source == "--local-directory"
        objection = _objection(directory)
        if asked and directory.problem:
            raise ConfigError(
                f"--local-directory {directory.path} {directory.problem}",
                "a directory that this rank can write to",
                "name another one, or leave the option out",
            )
        if asked or not objection:
            # The user may know better what the layers are.
            warned = objection and not directory.layered
            warnings = (f"scratch {directory.path} {objection}",) if warned else ()
            return Scratch(directory.path, _words(directory), tuple(refused), warnings)
        refused.append(f"{directory.path} ({directory.source}): {objection}")
        if not directory.problem and directory.free >= LEAST_FREE:
            fallback.setdefault(_rank(directory), directory)
    if layers := fallback.get("layers"):
        return Scratch(layers.path, _words(layers), tuple(refused))
    for rank in ("memory", "network"):
        if rank in fallback:
            taken = fallback[rank]
            warning = (
                f"no disk of this node was found for scratch files: "
                f"{taken.path} {_objection(taken)}; {_DO}"
            )
            return Scratch(taken.path, _words(taken), tuple(refused), (warning,))
    raise ConfigError(
        "no directory for scratch files: " + "; ".join(refused),
        "a directory on this node that can be written to",
        _DO,
    )


def _rank(directory: Directory) -> str:
    if directory.layered:
        return "layers"
    return "memory" if directory.kind in MEMORY else "network"


def _objection(directory: Directory) -> str:
    kind = directory.kind
    objections = (
        (bool(directory.problem), directory.problem),
        (bool(directory.others), f"is open to others: {directory.others}"),
        (kind in NETWORK, f"is on a network file system ({kind})"),
        (kind in MEMORY, f"is in memory ({kind})"),
        (directory.free < LEAST_FREE, f"has only {in_words(directory.free)} free"),
        (directory.layered, f"is in the layers of this container ({kind})"),
    )
    return next((why for objects, why in objections if objects), "")


def _words(directory: Directory) -> str:
    return f"{directory.source}, {directory.kind or 'unknown file system'}"
