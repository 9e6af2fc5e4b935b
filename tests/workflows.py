"""The workflows of a hosted CI, as their tests read them."""

import re
import shlex
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))


def jobs(workflow: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(workflow.read_text())["jobs"]
    return found


def steps(workflow: Path) -> list[dict[str, Any]]:
    return [step for job in jobs(workflow).values() for step in job["steps"]]


def made(workflow: Path) -> list[list[str]]:
    """Return the words after each ``make``."""
    lines = [
        line for step in steps(workflow) for line in step.get("run", "").split("\n")
    ]
    return [shlex.split(line)[1:] for line in lines if line.startswith("make ")]
