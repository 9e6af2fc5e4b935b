"""Which dask-runner this is, as its image or pip wrote it down."""

import json
from pathlib import Path

import dask_runner
from dask_runner.cli.origin import Origin, origin


def test_an_image_knows_its_commit_and_its_packages(tmp_path: Path) -> None:
    file, facts = tmp_path / "provenance.json", tmp_path / "abi.json"
    name = "org.opencontainers.image."
    known = {f"{name}revision": "c0ffee", f"{name}base.digest": "sha256:ab"}
    file.write_text(json.dumps(known))
    facts.write_text(json.dumps({"python": "3.13.5", "packages": {"dask": "2026.1"}}))

    assert origin(file, facts) == Origin(
        dask_runner.__version__,
        "c0ffee",
        base_digest="sha256:ab",
        packages={"Python": "3.13.5", "dask": "2026.1"},
    )


def test_an_image_of_no_known_commit_has_a_version(tmp_path: Path) -> None:
    file = tmp_path / "provenance.json"
    file.write_text("{}")

    assert origin(file, tmp_path / "abi.json").version == dask_runner.__version__
    assert origin(file, tmp_path / "abi.json").revision == ""


def test_outside_of_an_image_a_checkout_installs_no_commit(tmp_path: Path) -> None:
    assert origin(tmp_path / "none") == Origin(dask_runner.__version__)
