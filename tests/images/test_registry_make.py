"""``make push`` and ``make pull`` with a registry that wants a password; signatures."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import dask_runner
from dask_runner.errors import ConfigError
from tests.conftest import ROOT
from tests.images.registries import LOCKED, PASSWORD, REFUSED, USER, Server

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.xdist_group("registry"),
    pytest.mark.timeout(1800),
]

# Of what `make` builds here, so that it takes nobody's images.
OWN_NAME = "dask-runner-make-test"
KEY, NO_LOG = "--key=public.pem", "--insecure-ignore-tlog=true"


def cosign(
    engine: Any, keys: dict[str, str], *words: str, files: dict[str, Path]
) -> str:
    """Run cosign in a folder with the public key and some files."""
    from images.tools import run  # noqa: PLC0415

    takes = {"public.pem": Path(keys["VERIFY_KEY"]), **files}
    return run(engine, ["cosign", *words], takes=takes, environ={"DOCKER_CONFIG": "."})


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
    engine: Any,
    serve: Callable[..., Server],
    keys: dict[str, str],
    tmp_path: Path,
) -> None:
    from images.attachments import (  # noqa: PLC0415
        CYCLONEDX,
        Repository,
        login_file,
    )

    locked = serve(LOCKED)
    where = {"REGISTRY": locked.address, "MPI": "openmpi"}
    login = {"REGISTRY_USER": USER, "REGISTRY_PASSWORD": PASSWORD}
    sif = ROOT / "build" / f"{OWN_NAME}-openmpi.sif"
    # Without the settings of the site that builds, if it has any.
    plain = sif.with_stem(f"{sif.stem}-plain")

    refused = make("push", **where)
    assert refused.returncode != 0, refused.stdout
    assert re.search(REFUSED, refused.stdout), refused.stdout

    done = make("push", **where, **login, **keys)
    assert done.returncode == 0, done.stdout
    published = plain if plain.exists() else sif
    pushed = json.loads(published.with_suffix(".pushed.json").read_text())
    content = published.read_bytes()
    registry = locked.registry(user=USER, password=PASSWORD)
    login_of = tmp_path / "config.json"
    login_of.write_text(json.dumps(login_file(registry)))
    for kind in ("image", "sif"):
        digest = pushed[f"{registry.repository(kind)}:openmpi"]
        (bill,) = Repository(engine, registry, kind).attached(digest, CYCLONEDX)
        assert json.loads(bill)["bomFormat"] == "CycloneDX"
        verify = ["verify", KEY, NO_LOG, "--allow-http-registry"]
        name = f"{registry.repository(kind)}:openmpi"
        said = cosign(engine, keys, *verify, name, files={"config.json": login_of})
        assert (
            json.loads(said)[0]["critical"]["image"]["docker-manifest-digest"] == digest
        )

    sif.unlink(missing_ok=True)
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


@pytest.mark.usefixtures("image", "own_name")
def test_a_release_is_what_its_checksums_name_and_its_key_has_signed(
    engine: Any, keys: dict[str, str]
) -> None:
    from images.signing import signed_by  # noqa: PLC0415

    done = make("release", ROW="openmpi", **keys)
    assert done.returncode == 0, done.stdout

    folder = ROOT / "dist"
    files = sorted(path.name for path in folder.iterdir())
    version = dask_runner.__version__
    assert files == [
        "SHA256SUMS",
        "SHA256SUMS.sig",
        f"dask-runner-{version}-openmpi.cdx.json",
        f"dask-runner-{version}-openmpi.sif",
        f"dask_runner-{version}-py3-none-any.whl",
        f"dask_runner-{version}.tar.gz",
    ]
    for line in (
        "sha256sum --check --strict SHA256SUMS",
        "base64 -d SHA256SUMS.sig >SHA256SUMS.raw",
        (
            f"openssl pkeyutl -verify -pubin -inkey {keys['VERIFY_KEY']} -rawin "
            "-in SHA256SUMS -sigfile SHA256SUMS.raw"
        ),
        "rm SHA256SUMS.raw",
    ):
        subprocess.run(["sh", "-c", line], cwd=folder, check=True)
    assert signed_by(engine, folder / files[3], Path(keys["VERIFY_KEY"]))
    signed = {name: folder / name for name in files[:2]}
    words = ("verify-blob", KEY, NO_LOG, "--signature=SHA256SUMS.sig", "SHA256SUMS")
    cosign(engine, keys, *words, files=signed)

    (folder / "SHA256SUMS").write_text("changed\n")
    with pytest.raises(ConfigError):
        cosign(engine, keys, *words, files=signed)
    shutil.rmtree(folder)


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
