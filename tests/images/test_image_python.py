"""The package with the Python of the images, which is another than a checkout's."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

# What is in the checkout comes before what is in the image. That a property holds is
# shown elsewhere, with many examples: here it is another Python, and few do.
UNIT_TESTS = """\
import sys
sys.path[:0] = ["/checkout", "/checkout/runner"]
import pytest
few = ["-n2", "-p", "no:cacheprovider", "--hypothesis-profile=few"]
sys.exit(pytest.main(["-q", *few, "tests/unit"]))
"""
SECONDS = 900
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(SECONDS)
def test_the_unit_tests_pass_with_the_python_of_the_images(
    engine: Any, image: Any, tmp_path: Path
) -> None:
    from images.docker_image import build_derived  # noqa: PLC0415  needs the SDK
    from images.table import row  # noqa: PLC0415  needs the SDK

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    requirements = tmp_path / "tests.txt"
    requirements.write_text("\n".join(project["dependency-groups"]["test"]) + "\n")
    derived = build_derived(
        engine, image, row("openmpi").derived("tests"), requirements
    )
    container = engine.containers.create(
        derived,
        ["-c", UNIT_TESTS],
        entrypoint="python",
        # Some tests give files away, or ask for their user's name.
        user="0:0",
        network_mode="none",
        # The tests look at the process that started them.
        init=True,
        volumes={str(ROOT): {"bind": "/checkout", "mode": "ro"}},
        working_dir="/checkout",
    )
    try:
        container.start()
        status = container.wait(timeout=SECONDS)["StatusCode"]
        assert status == 0, container.logs().decode()[-10_000:]
    finally:
        container.remove(force=True, v=True)
