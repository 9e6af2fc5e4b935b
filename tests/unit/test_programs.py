"""What the programs of a rank agree on with Dask, and with Python."""

from __future__ import annotations

from typing import Any

import pytest

from dask_runner.crew import BEFORE
from tests.programs import printed


def test_the_agent_begins_with_the_variables_that_dask_sets_for_workers() -> None:
    import dask.config  # noqa: PLC0415
    import distributed  # noqa: F401, PLC0415  its defaults

    wanted: dict[str, Any] = dask.config.get("distributed.nanny.pre-spawn-environ")
    malloc = "MALLOC_TRIM_THRESHOLD_"
    assert BEFORE[malloc] == str(wanted[malloc])


@pytest.mark.parametrize(
    "module", ["dask_runner", "dask_runner.cli", "dask_runner.rank"]
)
def test_a_thin_rank_loads_nothing_heavy(module: str) -> None:
    code = (
        f"import sys, {module}\n"
        "heavy = {'distributed', 'dask', 'numpy', 'mpi4py', 'cryptography', 'rich'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    assert printed(code) == "[]"


def test_importing_the_package_does_nothing() -> None:
    code = (
        "import os, signal, sys, threading\n"
        "def state():\n"
        "    numbers = signal.valid_signals()\n"
        "    return [signal.getsignal(n) for n in numbers], dict(os.environ)\n"
        "before = state()\n"
        "import dask_runner\n"
        "assert before == state()\n"
        "dask_runner.Runner, dask_runner.initialize\n"
        "print('mpi4py' in sys.modules, threading.active_count())"
    )
    assert printed(code) == "False 1"
