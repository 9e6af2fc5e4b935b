"""What the attacks share: the second account, and the count of what succeeded."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.conftest import cluster, jobs, shown  # noqa: F401  fixtures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager


@pytest.fixture(autouse=True)
def second_account(
    require: Callable[..., AbstractContextManager[None]],
) -> None:
    """Another account can be played here: by root alone."""
    with require("a second account: run the tests as root", "attacks"):
        if os.geteuid() != 0:
            raise PermissionError("this is not root")


@pytest.fixture
def shared() -> Iterator[Path]:
    """Return a directory like /tmp: all may write, and remove their own alone."""
    directory = Path(tempfile.mkdtemp(prefix="shared-"))
    directory.chmod(0o1777)
    yield directory
    shutil.rmtree(directory)


@dataclass(eq=False)
class Count:
    """How many attacks were tried, and how many succeeded."""

    tried: int = 0
    succeeded: int = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count one."""
        if report.when == "call" and "attack" in report.keywords:
            self.tried += not report.skipped
            self.succeeded += report.failed

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Say it."""
        if self.tried:
            terminalreporter.section("attacks")
            terminalreporter.line(f"tried: {self.tried}, succeeded: {self.succeeded}")


def pytest_configure(config: pytest.Config) -> None:
    """Count in the process that prints, also what pytest-xdist's workers try."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Count(), "attacks-count")
