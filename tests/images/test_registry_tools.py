"""What was pushed, read back by tools that share no code with what pushed it."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.images.registries import BILL, PORT, Server

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.xdist_group("registry"),
    pytest.mark.timeout(1800),
]

# From inside the server's own container.
WHERE = f"localhost:{PORT}/group"


def test_skopeo_finds_the_image_with_its_digest_and_labels(
    pushed: dict[str, str], image: Any, server: Server, row: Any
) -> None:
    source = f"docker://{WHERE}/dask-runner:{row.name}"
    found = json.loads(server.run("skopeo", "inspect", "--tls-verify=false", source))

    name = f"{server.address}/dask-runner:{row.name}"
    assert found["Digest"] == pushed[name]
    assert found["Labels"] == image.labels
    tags = [tag for tag in found["RepoTags"] if not tag.startswith("sha256-")]
    assert sorted(tags) == server.tags("dask-runner")


def test_skopeo_copies_every_layer_of_the_image(
    pushed: dict[str, str], image: Any, server: Server
) -> None:
    digest = pushed[f"{server.address}/dask-runner:registry-test"]
    source = f"docker://{WHERE}/dask-runner@{digest}"
    # It compares each with its digest.
    server.run("skopeo", "copy", "--src-tls-verify=false", source, "dir:/tmp/copy")

    manifest = json.loads(server.run("cat", "/tmp/copy/manifest.json"))
    assert manifest["config"]["digest"] == image.id
    assert len(manifest["layers"]) == len(image.attrs["RootFS"]["Layers"])
    server.run("rm", "-r", "/tmp/copy")


def test_oras_pulls_the_sif_byte_for_byte(
    pushed: dict[str, str], sif: Path, server: Server
) -> None:
    name = f"{WHERE}/dask-runner-sif:registry-test"
    resolved = server.run("oras", "resolve", "--plain-http", name).strip()
    assert resolved == pushed[f"{server.address}/dask-runner-sif:registry-test"]

    server.run("oras", "pull", "--plain-http", "--output", "/tmp/sif", name)

    kept = hashlib.sha256(sif.read_bytes()).hexdigest()
    # Under the name that it was pushed with, and nothing else.
    assert server.run("sh", "-c", "cd /tmp/sif && sha256sum *") == (
        f"{kept}  {sif.name}\n"
    )
    server.run("rm", "-r", "/tmp/sif")


@pytest.mark.parametrize("name", ["dask-runner", "dask-runner-sif"])
def test_oras_discovers_the_bill_of_materials(
    pushed: dict[str, str], server: Server, name: str
) -> None:
    digest = pushed[f"{server.address}/{name}:registry-test"]
    subject = f"{WHERE}/{name}@{digest}"
    words = ("oras", "discover", "--plain-http", "--format", "json")
    (found,) = json.loads(server.run(*words, subject))["manifests"]

    assert found["artifactType"] == "application/vnd.cyclonedx+json"
    manifest = json.loads(
        server.run("oras", "manifest", "fetch", "--plain-http", found["reference"])
    )
    assert manifest["subject"]["digest"] == digest
    blob = f"{WHERE}/{name}@{manifest['layers'][0]['digest']}"
    fetched = server.run("oras", "blob", "fetch", "--plain-http", "--output", "-", blob)
    assert fetched == BILL
