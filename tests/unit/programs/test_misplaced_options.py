"""Which words behind a script are surely meant for dask-runner."""

from __future__ import annotations

import pytest

from dask_runner.programs.misplaced_options import misplaced

PLAIN = b"""
import math, os.path
from dask.distributed import Client
import dask.array as da
if __name__ == "__main__":
    print(Client().submit(math.sqrt, 4).result())
"""


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("-n 4", "-n 4"),
        ("--nranks=4", "--nranks=4"),
        ("input.dat --nworkers auto", "--nworkers auto"),
        ("--memory-limit 4GiB", "--memory-limit 4GiB"),
        ("--no-nanny", "--no-nanny"),
        ("-n", ""),
        ("-n x", ""),
        ("-n4 --nworker 3", ""),
        ("a b", ""),
        ("", ""),
    ],
)
def test_an_option_of_ours_with_a_value_that_it_takes_is_found(
    words: str, found: str
) -> None:
    assert misplaced(PLAIN, words.split()) == found


@pytest.mark.parametrize(
    "line",
    [
        "import sys; print(sys.argv)",
        "from sys import argv",
        "from sys import orig_argv as words",
        "import argparse",
        "import sys; getattr(sys, 'argv')",
        "open('/proc/self/cmdline')",
        "import click",
        "from fire import Fire",
        "import mine",
        "from . import mine",
        "import importlib; importlib.import_module('mine')",
        "import runpy.x",
        "exec(open('other.py').read())",
        "__import__('mine')",
        "this is no Python",
    ],
)
def test_a_script_that_may_read_its_arguments_may_have_any(line: str) -> None:
    assert misplaced(PLAIN + line.encode(), ["-n", "4"]) == ""
