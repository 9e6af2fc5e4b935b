"""What a Python that connects with ``Client()`` has to know of the cluster.

Used by :mod:`dask_runner.programs.client`, and below ``dask-runner -- COMMAND`` by any
Python, whether it has the package dask_runner or not: nothing of it is imported here.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

#: Says where the cluster's dashboard is, or how one comes to it, to such a Python.
DASHBOARD = "DASKRUNNER_DASHBOARD"


class Link(str):
    """Dask's template of the links to dashboards, which knows the cluster's as well.

    Dask fills in the scheduler's host, and a port. Ours has no port that is for all;
    other clusters of the same program have, and their links stay as they are.

    Attributes
    ----------
    ours : str
        The link to the cluster's, or how one comes to it.
    """

    __slots__ = ("ours",)
    ours: str

    @classmethod
    def set(cls, ours: str) -> None:
        """Make it Dask's template in this process."""
        import dask.config  # noqa: PLC0415  the caller has it

        link = cls(dask.config.get("distributed.dashboard.link"))
        link.ours = ours
        dask.config.set({"distributed.dashboard.link": link})

    def format(self, *args: Any, **values: Any) -> str:
        """Fill in as for any cluster, if it is one that has a port."""
        if values.get("port") is None:
            return self.ours
        return super().format(*args, **values)

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        """Be a plain text in another process, which may be another cluster's."""
        return str, (str(self),)


def prepare() -> None:
    """Set the dashboard's link, and repair TLS; ``distributed.client`` is loaded."""
    Link.set(os.environ.get(DASHBOARD, ""))
    if "_ssl" in sys.modules:
        _repair()


def _repair() -> None:
    """Apply openssl.py, which imports nothing of ours either."""
    path = Path(__file__).parents[1] / "openssl.py"
    spec = importlib.util.spec_from_file_location("_dask_runner_openssl", path)
    assert spec is not None  # noqa: S101  a file with the suffix .py
    assert spec.loader is not None  # noqa: S101  has both
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    repair: Callable[[], None] = module.repair
    repair()
