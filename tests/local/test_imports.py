"""What processes load that have to begin at once."""

from __future__ import annotations

import pytest

from tests.programs import printed


@pytest.mark.parametrize(
    "module", ["dask_runner", "dask_runner.cli.commands", "dask_runner.node.rank"]
)
def test_a_thin_rank_loads_nothing_heavy(module: str) -> None:
    code = (
        f"import sys, {module}\n"
        "heavy = {'distributed', 'dask', 'numpy', 'mpi4py', 'cryptography', 'rich'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    assert printed(code) == "[]"


def test_a_follower_loads_neither_tls_nor_an_event_loop() -> None:
    code = (
        "import sys, dask_runner.node.follower\n"
        "print(sorted({'ssl', '_ssl', 'asyncio', 'socket'} & sys.modules.keys()))"
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


def test_the_command_line_loads_what_check_needs_for_check_alone() -> None:
    code = (
        "import sys, dask_runner.cli.commands\n"
        "print([n for n in sys.modules if 'mpi.abi' in n or 'elftools' in n])"
    )

    assert printed(code) == "[]"
