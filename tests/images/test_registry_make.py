"""``make push`` and ``make pull`` with a registry that wants a password; signatures."""

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.images.registries import LOCKED, PASSWORD, REFUSED, USER, Server

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.xdist_group("registry"),
    pytest.mark.timeout(1800),
]

# Of what `make` builds here, so that it takes nobody's images.
OWN_NAME = "dask-runner-make-test"


def make(target: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run make as a user does, with an image name that is nobody's."""
    return subprocess.run(
        ["make", "--no-print-directory", target],
        cwd=ROOT,
        env=os.environ | {"IMAGE_NAME": OWN_NAME} | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1200,
        check=False,
    )


@pytest.fixture
def own_name(engine: Any) -> Iterator[None]:
    """Nothing is left of what make does under that name."""
    yield
    for found in engine.images.list(OWN_NAME):
        for tag in found.tags:
            if tag.startswith(f"{OWN_NAME}:"):
                engine.images.remove(tag)
    for file in (ROOT / "build").glob(f"{OWN_NAME}*"):
        file.unlink()


@pytest.mark.usefixtures("image", "own_name")
def test_make_push_and_make_pull_are_all_that_a_user_types(
    engine: Any, serve: Callable[..., Server], keys: dict[str, str]
) -> None:
    from images.attachments import CYCLONEDX, Repository  # noqa: PLC0415

    locked = serve(LOCKED)
    where = {"REGISTRY": locked.address, "MPI": "openmpi"}
    login = {"REGISTRY_USER": USER, "REGISTRY_PASSWORD": PASSWORD}
    sif = ROOT / "build" / f"{OWN_NAME}-openmpi.sif"

    refused = make("push", **where)
    assert refused.returncode != 0, refused.stdout
    assert re.search(REFUSED, refused.stdout), refused.stdout

    done = make("push", **where, **login, **keys)
    assert done.returncode == 0, done.stdout
    pushed = json.loads(sif.with_suffix(".pushed.json").read_text())
    content = sif.read_bytes()
    registry = locked.registry(user=USER, password=PASSWORD)
    for kind in ("image", "sif"):
        digest = pushed[f"{registry.repository(kind)}:openmpi"]
        (bill,) = Repository(engine, registry, kind).attached(digest, CYCLONEDX)
        assert json.loads(bill)["bomFormat"] == "CycloneDX"

    sif.unlink()
    engine.images.remove(f"{OWN_NAME}:openmpi", force=True)
    refused = make("pull", **where)
    assert refused.returncode != 0, refused.stdout
    assert not sif.exists()
    done = make("pull", **where, **login, **keys)
    assert done.returncode == 0, done.stdout
    assert sif.read_bytes() == content
    engine.images.remove(f"{registry.repository('image')}:openmpi")
    labels = engine.images.get(f"{OWN_NAME}:openmpi").labels
    assert labels["dask-runner.mpi.family"] == "openmpi"


def test_a_sif_is_signed_once_and_a_changed_one_is_told(
    engine: Any, sif: Path, tmp_path: Path, keys: dict[str, str]
) -> None:
    from images.signing import sign, signed_by  # noqa: PLC0415

    key, public = Path(keys["SIGN_KEY"]), Path(keys["VERIFY_KEY"])
    copy = tmp_path / "copy.sif"
    copy.write_bytes(sif.read_bytes())
    assert not signed_by(engine, copy, public)
    sign(engine, copy, key)
    assert signed_by(engine, copy, public)
    signed = bytearray(copy.read_bytes())
    sign(engine, copy, key)
    assert copy.read_bytes() == signed
    signed[len(signed) // 2] ^= 1
    copy.write_bytes(signed)
    assert not signed_by(engine, copy, public)
