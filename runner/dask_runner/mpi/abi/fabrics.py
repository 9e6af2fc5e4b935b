"""Fast networks: how a host shows that it has one, what an image needs for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dask_runner.mpi.abi.root import Root


@dataclass(frozen=True, slots=True)
class Fabric:
    """One kind of network.

    Attributes
    ----------
    name : str
        Ours, for the facts.
    title : str
        What people call it.
    devices : tuple of str
        Where a host with it has a file, any of them.
    libraries : tuple of tuple of str
        For each way to use it the files that all have to be there, as patterns
        below a library directory.
    way_out : str
        What to add to an image.
    """

    name: str
    title: str
    devices: tuple[str, ...]
    libraries: tuple[tuple[str, ...], ...]
    way_out: str


# The drivers' device files (Linux, drivers/infiniband and HPE's cxi), and the
# files by which libfabric (fi_provider(7)) and UCX find their plugins.
FABRICS = (
    Fabric(
        "cxi",
        "Slingshot (CXI)",
        ("/dev/cxi[0-9]*", "/sys/class/cxi/*"),
        (("libfabric.so.1", "libcxi.so.1"),),
        "bring the host's: APPTAINER_CONTAINLIBS with libcxi.so.1 and libfabric.so.1 "
        "of the site, or --bind them over the image's",
    ),
    Fabric(
        "efa",
        "AWS EFA",
        ("/sys/class/infiniband/efa*", "/sys/class/infiniband/rdmap*"),
        (("libfabric.so.1", "libefa.so.1"),),
        "install libibverbs and its EFA provider in the image (Debian: libibverbs1 "
        "ibverbs-providers)",
    ),
    Fabric(
        "hfi1",
        "Omni-Path",
        ("/dev/hfi1*", "/sys/class/infiniband/hfi1_*"),
        (("libpsm2.so.2",),),
        "install PSM2 in the image (Debian: libpsm2-2)",
    ),
    Fabric(
        "verbs",
        "InfiniBand or RoCE (verbs)",
        ("/dev/infiniband/uverbs*", "/sys/class/infiniband/mlx*"),
        (
            ("libibverbs.so.1", "libucp.so.0", "ucx/libuct_ib*.so*"),
            ("libibverbs.so.1", "libfabric.so.1"),
        ),
        "install UCX with verbs and the devices' drivers in the image (Debian: "
        "libucx0 libibverbs1 ibverbs-providers)",
    ),
)


def devices(root: Root) -> frozenset[str]:
    """Return the fabrics of which a root shows devices."""
    return frozenset(
        fabric.name
        for fabric in FABRICS
        if any(root.glob(pattern) for pattern in fabric.devices)
    )


def providers(root: Root, directories: list[str]) -> frozenset[str]:
    """Return the fabrics for which a root has libraries in these directories."""

    def there(pattern: str) -> bool:
        return any(root.glob(f"{directory}/{pattern}") for directory in directories)

    return frozenset(
        fabric.name
        for fabric in FABRICS
        if any(all(map(there, files)) for files in fabric.libraries)
    )
