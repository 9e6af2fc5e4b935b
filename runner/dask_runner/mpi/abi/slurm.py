"""What Slurm's plugins in a root directory can start."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dask_runner.mpi.abi.facts import Slurm
from dask_runner.mpi.abi.libraries import closure, pmix_version

if TYPE_CHECKING:
    from dask_runner.mpi.abi.root import Root

_PLUGINS = (
    "/usr/lib/*-linux-gnu*/slurm*",
    "/usr/lib64/slurm*",
    "/usr/lib/slurm*",
    "/usr/local/lib/slurm*",
    "/opt/slurm*/lib*/slurm*",
    "/opt/slurm/*/lib*/slurm*",
)
_CONF = (
    "/etc/slurm/slurm.conf",
    "/etc/slurm-llnl/slurm.conf",
    "/var/spool/slurmd/conf-cache/slurm.conf",
    "/run/slurm/conf/slurm.conf",
    "/opt/slurm/etc/slurm.conf",
)


def find(root: Root) -> Slurm | None:
    """Return the facts of Slurm; None where it has no plugins for MPI."""
    conf = next(filter(None, map(root.text, _CONF)), "")
    named = _setting(conf, "PluginDir").split(":") if conf else []
    for directory in root.directories([*filter(None, named), *_PLUGINS]):
        files = root.glob(f"{directory}/mpi_*.so")
        if files:
            plugins = tuple(
                path.rpartition("/mpi_")[2].removesuffix(".so") for path in files
            )
            return Slurm(
                directory,
                plugins,
                # Slurm's own default, where its file says nothing.
                conf and (_setting(conf, "MpiDefault") or "none"),
                _served_pmix(root, directory),
            )
    return None


def _setting(conf: str, name: str) -> str:
    match = re.search(rf"^\s*{name}\s*=\s*(\S+)", conf, re.MULTILINE | re.IGNORECASE)
    return match[1] if match else ""


def _served_pmix(root: Root, directory: str) -> str:
    """Return the version of the PMIx that Slurm's plugin brings along."""
    for path in root.glob(f"{directory}/mpi_pmix.so"):
        real = root.real(path) or path
        linked, _ = closure(root, real)
        version = pmix_version(root, linked)
        if version:
            return version
        # The plugin loads it by a name that was built in.
        for match in re.findall(rb"[\w/.+-]*libpmix\.so[\d.]*", root.data(real)):
            name = match.decode()
            place = root.real(name) if "/" in name else root.library(name)
            place = place or root.library("libpmix.so.2")
            if place and (version := pmix_version(root, [place])):
                return version
    # The name alone tells at least the major version: mpi_pmix_v5.so.
    majors = [
        path.rpartition("_v")[2].removesuffix(".so")
        for path in root.glob(f"{directory}/mpi_pmix_v*.so")
    ]
    return max(majors, default="")
