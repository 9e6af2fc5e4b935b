"""Clusters in containers of other systems than Slurm, with the SIF of this checkout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.conftest import NAME, shown  # noqa: F401  a fixture
from tests.hosts.reached import Hosts, reached

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager


@pytest.fixture(scope="session")
def hosts(
    engine: Any,
    shown: None,  # noqa: F811  the fixture
    worker: str,
    require: Callable[..., AbstractContextManager[None]],
) -> Iterator[Hosts]:
    """Three hosts with sshd; those that are up under the tests' name, else new ones."""
    del shown
    from ci.slurm.cluster import Cluster  # noqa: PLC0415  only where containers are
    from containers import node_image  # noqa: PLC0415  as above

    cluster = Cluster(f"{NAME}{worker}-ssh", system="ssh", client=engine)
    with require("a mirror of Debian with sshd and Apptainer", "cluster"):
        node_image.ensure_slurm_image(engine)
    was_up = bool(cluster.members()) and not worker
    cluster.up()
    with reached(cluster) as found:
        yield found
    if not was_up:
        cluster.down()
