"""The GPUs of one rank, from the variables that launchers and sites set.

The GPUs are those in the first variable that lists any. If the local ranks share
them, each rank gets a part; where there are more ranks than GPUs, neighbours
share one. A worker keeps sight of the others' GPUs, behind its own, so that peer
to peer transfers work; it never starts workers on them. Two runtimes need care:

- Level Zero ignores the order in ``ZE_AFFINITY_MASK``, so there a worker
  sees its own GPUs alone.
- HIP numbers by ``CUDA_VISIBLE_DEVICES`` what ``ROCR_VISIBLE_DEVICES`` has left, so
  that of two rotated lists one would undo the other. Where both are set, the first
  is rotated and the second stays.

They are the rank's own if Slurm gave the node at least as many for each local
rank, or if it says nothing of the node but was asked for GPUs per task.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dask_runner.launch.sourced import Sourced
from dask_runner.resources.amounts import nth_part, positive_variable

if TYPE_CHECKING:
    from dask_runner.resources.machine import Snapshot

_CUDAS, _ROCRS = "CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"
_INTELS, _SLURMS = "ZE_AFFINITY_MASK", "SLURM_STEP_GPUS"

#: Variables that list devices, in the order in which they are believed.
GPU_VARIABLES = (_CUDAS, _ROCRS, _INTELS, _SLURMS)

#: What stands for none; HTCondor hides GPUs by a number that no machine has.
_NO_GPU = frozenset({"", "-1", "10000", "NoDevFiles", "none", "void"})


@dataclass(frozen=True, slots=True)
class Gpus:
    """The GPUs of one rank.

    Attributes
    ----------
    own : tuple of str
        Those that this rank's workers start from, as the variable names them.
    visible : tuple of str
        All that the rank sees, its neighbours' included.
    variables : tuple of str
        Variables to set for a worker so that it sees its GPUs.
    sharers : int
        Ranks that start workers from the same GPUs.
    """

    own: tuple[str, ...] = ()
    visible: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    sharers: int = 1

    def of_worker(self, worker: int, workers: int) -> tuple[str, ...]:
        """Return what one of the rank's workers sees, its own GPUs first."""
        if not self.own:
            return ()
        start = self.visible.index(self.own[worker * len(self.own) // workers])
        return self.visible[start:] + self.visible[:start]

    def environ_of_worker(self, worker: int, workers: int) -> dict[str, str]:
        """Return the variables that make it so."""
        sees = self.of_worker(worker, workers)
        alone = nth_part(self.own, worker, workers) or sees[:1]
        return {
            name: ",".join(alone if name == _INTELS else sees)
            for name in self.variables
        }


def gpus(snapshot: Snapshot, local_size: int, local_rank: int = 0) -> Sourced[Gpus]:
    """List the GPUs of one rank; see the rules above."""
    lists = {
        name: _devices(snapshot.environ[name])
        for name in GPU_VARIABLES
        if name in snapshot.environ
    }
    if len(lists) > 1:
        # A user who empties a device variable hides what Slurm lists.
        lists.pop(_SLURMS, None)
    name = next((name for name, devices in lists.items() if devices), "")
    if not name:
        return Sourced(Gpus(), "no device variable names one")
    visible = lists[name]
    # Slurm sets the variables of all vendors alike. Its own is no device
    # variable: what it lists goes to CUDA's.
    alike = [k for k, v in lists.items() if v == visible and k != _SLURMS]
    if _CUDAS in alike and _ROCRS in alike:
        alike.remove(_ROCRS)
    variables = tuple(alike) or (_CUDAS,)
    source = f"{name}={','.join(visible)}"
    if local_size == 1 or _are_own_gpus(snapshot, len(visible), local_size):
        return Sourced(Gpus(visible, visible, variables), source)
    source += f", shared by {local_size} ranks"
    if len(visible) >= local_size:
        own = tuple(nth_part(visible, local_rank, local_size))
        return Sourced(Gpus(own, visible, variables), source)
    one = (visible[local_rank * len(visible) // local_size],)
    sharers = math.ceil(local_size / len(visible))
    warning = f"{local_size} ranks share {len(visible)} GPUs"
    return Sourced(Gpus(one, visible, variables, sharers), source, (warning,))


def _are_own_gpus(snapshot: Snapshot, seen: int, local_size: int) -> bool:
    environ = snapshot.environ
    on_node = max(
        positive_variable(environ, "SLURM_GPUS_ON_NODE", []) or 0,
        len(_devices(environ.get("SLURM_JOB_GPUS", ""))),
        len(_devices(environ.get("SLURM_STEP_GPUS", ""))),
    )
    if on_node:
        return seen * local_size <= on_node
    return "SLURM_GPUS_PER_TASK" in environ


def _devices(text: str) -> tuple[str, ...]:
    # CUDA stops at the first entry that is no device, and so must we.
    found: list[str] = []
    for entry in text.split(","):
        device = entry.strip()
        if device in _NO_GPU:
            break
        found.append(device)
    return tuple(dict.fromkeys(found))
