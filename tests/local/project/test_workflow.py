"""What the workflows of a hosted CI call, make can make."""

import subprocess
from pathlib import Path

import pytest

from tests.workflows import ROOT, WORKFLOWS, made


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_make_knows_how_to_make_what_it_is_asked_for(workflow: Path) -> None:
    for words in made(workflow):
        done = subprocess.run(
            ["make", "--dry-run", *words],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), done
