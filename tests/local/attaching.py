"""Programs that attach to a served cluster, and what they print."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests.running import DASK_RUNNER, Run

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = 60
#: Seconds within which an attached program knows that its cluster is lost; a busy
#: machine needs longer than the moment that it takes.
KNOWN = 10.0

BEGIN = """
import asyncio, os, sys, time
from distributed import Client
from dask_runner import Cluster

def until(reached):
    latest = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < latest, reached
        time.sleep(0.01)
"""


@contextmanager
def serving(ranks: int = 2, *args: str, **how: Any) -> Iterator[Run]:
    command = (str(DASK_RUNNER), "serve", "-n", str(ranks), "--name", "lab", *args)
    with Run(command, **how) as run:
        run.wait_for("ready after")
        yield run


def attach(run: Run, code: str, *args: str, **more: str) -> subprocess.Popen[str]:
    """Start a program of the same user, that is none of the cluster's processes."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *args],
        env={"PATH": os.environ["PATH"], "HOME": str(run.home), **more},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def told(run: Run, code: str, *args: str, **more: str) -> str:
    """Return what a program prints that ends well, and is silent on stderr."""
    with attach(run, f"{BEGIN}{code}", *args, **more) as program:
        out, err = program.communicate(timeout=SECONDS)
    assert (program.returncode, err) == (0, ""), (out, err)
    return out


def failed(run: Run, code: str, **more: str) -> str:
    """Return the stderr of a program that ends with an exception."""
    with attach(run, f"{BEGIN}{code}", **more) as program:
        err = program.communicate(timeout=SECONDS)[1]
    assert program.returncode == 1
    return err
