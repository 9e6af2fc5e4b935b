"""What the tiers share: the command line as a process, and what a tier requires.

A tier is a folder: unit, local, images, cluster, attacks, failures. A test that needs
a system that this machine lacks is skipped, with the reason in pytest's summary; it
fails where its tier is named in REQUIRE (``REQUIRE=local,images``, or ``REQUIRE=all``).
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from subprocess import SubprocessError
from typing import Any

import pytest

from dask_runner.errors import RunnerError
from tests.running import DaskRunner

TIERS = ("unit", "local", "images", "cluster", "attacks", "failures")
#: Those that need containers.
IN_CONTAINERS = ("images", "cluster", "attacks", "failures")
ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache"
ENGINE_RECORD = CACHE / "engine.json"
AHEAD_LOG = CACHE / "ahead.log"

# Tests wait for processes a good part of their time, so one more than there are
# CPUs; beyond some, the clusters' memory would be what is short.
MORE_THAN_CPUS = 1
MOST_WORKERS = 6

# For what builds ahead to end after SIGTERM.
END_SECONDS = 10

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


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --ahead."""
    parser.addoption(
        "--ahead",
        action="store_true",
        help="build images and fetch MPI runtimes while the first tests run",
    )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Say how many tests run at once with ``-n auto``."""
    cpus = len(os.sched_getaffinity(0))
    return min(cpus + MORE_THAN_CPUS, MOST_WORKERS)


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a REQUIRE that names no tier, and note a running engine."""
    unknown = _required() - {*TIERS, "all"}
    if unknown:
        raise pytest.UsageError(
            f"REQUIRE={os.environ['REQUIRE']}: no tier {', '.join(sorted(unknown))}; "
            f"there are {', '.join(TIERS)}, and all"
        )
    config.stash[_ENGINE] = ENGINE_RECORD.exists()
    # A shell's background job, as this may be one, ignores Ctrl-C, and so does all
    # that it starts; what tests start is as if it were started by hand.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say what runs beside the tests."""
    if config.getoption("ahead"):
        return f"built meanwhile: images, MPI runtimes (log: {AHEAD_LOG})"
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Begin to build what later tests need, once for all workers of pytest-xdist."""
    config = session.config
    if _is_worker(config) or not config.getoption("ahead"):
        return
    CACHE.mkdir(exist_ok=True)
    with AHEAD_LOG.open("w") as log:
        config.stash[_AHEAD] = subprocess.Popen(
            [sys.executable, "-m", "ci.ahead"],
            cwd=ROOT,
            # As pytest's own pythonpath.
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # Ctrl-C at pytest is not for it; it is ended below.
            start_new_session=True,
        )


# Last: the workers of pytest-xdist have ended then, and their clusters are down.
@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """End what builds ahead, and the Docker engine if these tests have started it."""
    config = session.config
    if _is_worker(config):
        return
    if ahead := config.stash.get(_AHEAD, None):
        _end(ahead)
    if ENGINE_RECORD.exists() and not config.stash[_ENGINE]:
        from containers import engine as docker_engine  # noqa: PLC0415  has the Docker SDK

        docker_engine.stop()


_ENGINE = pytest.StashKey[bool]()
_AHEAD = pytest.StashKey[subprocess.Popen[bytes]]()


def _is_worker(config: pytest.Config) -> bool:
    """Say whether this process runs tests for another pytest (pytest-xdist)."""
    return hasattr(config, "workerinput")


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _required() -> set[str]:
    return {name for name in os.environ.get("REQUIRE", "").split(",") if name}


@pytest.fixture(scope="session")
def worker(request: pytest.FixtureRequest) -> str:
    """A suffix for names that several pytest workers may not share; "" if alone."""
    workerinput = getattr(request.config, "workerinput", None)
    return f"-{workerinput['workerid']}" if workerinput else ""


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
    with require("a Docker engine", *IN_CONTAINERS):
        from containers import engine as docker_engine  # noqa: PLC0415  only where containers are

        client = docker_engine.ensure()
    yield client
    client.close()


@pytest.fixture(scope="session")
def build(engine: Any, require: Require) -> Callable[..., Any]:
    """Build an image of the table: ``build("mpich")``; seconds if it is there."""
    from containers import base_image, site  # noqa: PLC0415  only where containers are
    from images import docker_image, table  # noqa: PLC0415  they need the SDK

    with require("a registry or a mirror of Debian", *IN_CONTAINERS):
        base_image.ensure_base(engine, site.Site.of(os.environ))
    return lambda name, **changes: docker_image.build_image(
        engine, table.row(name, **changes)
    )


@pytest.fixture(scope="session")
def image(build: Callable[..., Any]) -> Any:
    """The default image of this checkout."""
    return build("openmpi")


@pytest.fixture(scope="session")
def sif(engine: Any, image: Any) -> Path:
    """The SIF of that image; making it takes half a minute if it is outdated."""
    from images import sif, table  # noqa: PLC0415

    return sif.build_sif(engine, image, table.row("openmpi"))


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
