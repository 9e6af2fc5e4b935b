"""The Launch: all that a rank knows before it starts anything, as plain values."""

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
        Files that the shell has left open for it
        (:func:`dask_runner.node.program.descriptors`).
    """

    kind: str
    target: str
    args: tuple[str, ...] = ()
    descriptors: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Launch:
    """What one rank has to do in one cluster.

    Attributes
    ----------
    world, plan, settings
        This rank's place, the roles of all ranks, and the options.
    environ : mapping
        The environment of the process that the launcher started.
    program : Program or None
        None where the client is the user's own process (the library's way in), and
        where there is none (``serve``).
    scheduler_options, worker_options : mapping
        More keywords for Dask's Scheduler, and for its workers or nannies.
    worker_name : str
        Prefix of the workers' names; empty for none.
    script : str
        The user's script in the library's way in, or another path beside which its
        modules lie.
    scheduler_address : str
        A scheduler that runs elsewhere, for a plan without one.
    joins : str
        The name of the running cluster that the ranks join; empty for one of their own.
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
    joins: str = ""

    @property
    def has_hub(self) -> bool:
        """Whether this rank has the hub of the cluster."""
        return self.world.rank == 0 and not self.joins
