"""What the tiers share: the command line as a process, and what a tier requires.

A tier is a folder: unit, local, images, cluster. A test that needs a system that
this machine lacks is skipped, with the reason in pytest's summary; it fails where
its tier is named in REQUIRE (``REQUIRE=local,images``, or ``REQUIRE=all``).
"""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from subprocess import SubprocessError
from typing import Any

import pytest

from dask_runner.errors import RunnerError
from tests.running import DaskRunner

TIERS = ("unit", "local", "images", "cluster")
ROOT = Path(__file__).resolve().parent.parent
ENGINE_RECORD = ROOT / ".cache" / "engine.json"

HOSTILE = {
    "spaces": "two  words ",
    "quotes": """it's "quoted" `so`""",
    "unicode": "naïve-λ-日本",
    "shell": "$HOME;&|*(x)\\",
    "dash": "-n",
}

Require = Callable[..., AbstractContextManager[None]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with its tier, so that ``-m "not cluster"`` works."""
    for item in items:
        tier = item.path.relative_to(ROOT / "tests").parts[0]
        if tier in TIERS:
            item.add_marker(tier)


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a REQUIRE that names no tier, and note a running engine."""
    unknown = _required() - {*TIERS, "all"}
    if unknown:
        raise pytest.UsageError(
            f"REQUIRE={os.environ['REQUIRE']}: no tier {', '.join(sorted(unknown))}; "
            f"there are {', '.join(TIERS)}, and all"
        )
    config.stash[_ENGINE] = ENGINE_RECORD.exists()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """End the Docker engine if these tests have started it."""
    if ENGINE_RECORD.exists() and not session.config.stash[_ENGINE]:
        from ci import docker_engine  # noqa: PLC0415  has the Docker SDK

        docker_engine.stop()


_ENGINE = pytest.StashKey[bool]()


def _required() -> set[str]:
    return {name for name in os.environ.get("REQUIRE", "").split(",") if name}


@pytest.fixture(scope="session")
def require() -> Require:
    """Guard the lines that need a system which a machine may lack::

        with require("a Docker engine", "images", "cluster"):
            client = ensure()

    An error of ours, of the system or of a program started there, and no other,
    means that the machine lacks it: the test is skipped with the error as its
    reason, or fails where REQUIRE names one of the tiers. Not for what our own code
    may get wrong.
    """

    @contextmanager
    def guard(system: str, *tiers: str) -> Iterator[None]:
        assert tiers
        assert set(tiers) <= set(TIERS)
        try:
            yield
        except (RunnerError, OSError, SubprocessError) as error:
            reason = f"needs {system}: {error}"
            if _required() & {*tiers, "all"}:
                pytest.fail(f"{reason}\n(REQUIRE={os.environ['REQUIRE']})")
            pytest.skip(reason)

    return guard


@pytest.fixture(scope="session")
def engine(require: Require) -> Iterator[Any]:
    """A client of a Docker engine, started (and then ended) here if need be."""
    with require("a Docker engine", "images", "cluster"):
        from ci import docker_engine  # noqa: PLC0415  only where containers are

        client = docker_engine.ensure()
    yield client
    client.close()


@pytest.fixture
def dask_runner() -> Iterator[DaskRunner]:
    """Run the command line: ``dask_runner("-n", 4, "script.py", timeout=30)``."""
    runner = DaskRunner()
    yield runner
    runner.discard()


@pytest.fixture(params=HOSTILE.values(), ids=HOSTILE.keys())
def hostile_path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A directory whose name trips careless quoting."""
    path = tmp_path / request.param
    path.mkdir()
    return path
