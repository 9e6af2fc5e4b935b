"""The site is made without a warning, and the blocks of its pages do what they tell."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import Block, commands, courses, fits

ROOT = Path(__file__).resolve().parents[2]
RUN = [pytest.param(found, id=page) for page, found in courses("local").items()]


def test_the_site_is_made_without_a_warning(tmp_path: Path) -> None:
    made = subprocess.run(
        [
            *(sys.executable, "-m", "sphinx", "-q", "-n", "-W", "--keep-going"),
            *("-d", tmp_path / "cache", ROOT / "docs", tmp_path / "site"),
        ],
        check=False,
        capture_output=True,
        text=True,
    )

    assert (made.returncode, made.stderr) == (0, "")
    assert (tmp_path / "site/index.html").exists()


@pytest.mark.parametrize("found", RUN)
def test_the_blocks_of_a_page_print_what_it_tells(
    found: list[Block], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    work = tmp_path / "work"
    home.mkdir()
    work.mkdir()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for block in found:
        if block.file:
            (work / block.file).write_text(block.code)
            continue
        for command, told in commands(block):
            ran = subprocess.run(
                ["bash", "-c", command],
                check=False,
                cwd=work,
                env=os.environ | {"HOME": str(home), "PATH": path},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=120,
            )
            assert fits(told, ran.stdout), (command, ran.stdout)
