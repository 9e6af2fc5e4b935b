"""All that is known before anything is started, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dask_runner.launch.plan import Plan
    from dask_runner.launch.settings import Settings
    from dask_runner.launch.world import World


@dataclass(frozen=True, slots=True)
class Program:
    """What the client runs.

    Attributes
    ----------
    kind : str
        "script", "module", "code" or "command".
    target : str
        Its name, or the code.
    args : tuple of str
    descriptors : tuple of int
        What the shell has left open for it
        (:func:`dask_runner.node.program.descriptors`).
    """

    kind: str
    target: str
    args: tuple[str, ...] = ()
    descriptors: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Launch:
    """One rank's part in one cluster.

    Attributes
    ----------
    world, plan, settings
        What the first stages found.
    environ : mapping
        The launcher's child's environment.
    program : Program or None
        None where the client is a process above ours (the library's way in).
    scheduler_options, worker_options : mapping
        Further keywords for Dask's Scheduler, and its workers or nannies.
    worker_name : str
        Prefix of the workers' names; empty for none.
    script : str
        The script of that process above, or what else its modules are beside.
    scheduler_address : str
        A scheduler that runs elsewhere, for a plan without one.
    """

    world: World
    plan: Plan
    settings: Settings
    environ: Mapping[str, str]
    program: Program | None = None
    scheduler_options: Mapping[str, Any] = field(default_factory=dict)
    worker_options: Mapping[str, Any] = field(default_factory=dict)
    worker_name: str = ""
    script: str = ""
    scheduler_address: str = ""
