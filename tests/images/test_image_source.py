"""An MPI that is built from its source, as a site has built its own."""

import json
import os
from collections.abc import Callable
from typing import Any

import pytest

# The newest of the distribution's own source packages, which every mirror has.
VERSION = "5.0.7"
TARBALL = f"pool/main/o/openmpi/openmpi_{VERSION}.orig.tar.xz"
SHA256 = "97f10c04e9b9a1771db3fd005009e4c07afa3ce739f940e41eb0fc7397cb9473"
# As images/README.md has them.
CONFIGURE = "--with-pmix=external --with-hwloc=external --with-libevent=external"

# A minute on many cores, eleven on two that do little else, 35 on two that are busy.
pytestmark = [pytest.mark.heavy, pytest.mark.timeout(3600)]

WORLD = (
    "from mpi4py import MPI; world = MPI.COMM_WORLD;"
    "print(sorted(world.allgather((world.rank, world.size))))"
)


@pytest.fixture(scope="module")
def built(build: Callable[..., Any]) -> Any:
    from containers.site import Site  # noqa: PLC0415  needs the Docker SDK

    return build(
        "openmpi",
        version=VERSION,
        source="source",
        url=f"{Site.of(os.environ).mirror}/{TARBALL}",
        sha256=SHA256,
        configure=CONFIGURE,
    )


def test_it_is_the_version_and_has_the_distributions_pmix(
    built: Any, contained: Any
) -> None:
    contained.image = built
    kept = contained.run("/opt/dask-runner/abi.json", entrypoint="cat")
    facts = json.loads(kept.stdout)
    assert (facts["mpi"]["version"], facts["pmi"]) == (VERSION, ["pmix"])
    assert facts["mpi"]["file"].startswith("/opt/mpi/lib/libmpi.so.40")
    assert facts["pmix"].startswith("5.")
    assert facts["ucx"]
    assert facts["libfabric"]


def test_ranks_of_its_mpiexec_are_one_world(built: Any, contained: Any) -> None:
    contained.image = built
    words = ("-n", "2", "--oversubscribe", "python", "-c", WORLD)
    ended = contained.run(*words, entrypoint="mpiexec")
    assert (ended.status, ended.stderr) == (0, ""), ended
    assert ended.stdout == "[(0, 2), (1, 2)]\n" * 2


def test_no_compiler_and_not_much_more_is_left(
    built: Any, image: Any, contained: Any
) -> None:
    contained.image = built
    code = "import shutil; print(*map(shutil.which, ('cc', 'gcc', 'make', 'perl5')))"
    assert contained.python(code).stdout == "None None None None\n"
    assert built.attrs["Size"] < image.attrs["Size"] + 10e6
