"""Another account of the machine, and what it tries.

A stranger is a process that has begun as the account that runs the tests and has given
its rights up before it does anything: so it needs no interpreter of its own, which
another account could perhaps not read.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

#: User and group of nobody who is here: free on every distribution that we know.
STRANGER = 12346

#: Seconds until an attack is given up.
GIVEN_UP = 60.0

#: What attacks need is loaded first: the interpreter's files may be ours alone.
_BECOME = """\
import ctypes, os, resource, select, signal, socket, ssl, struct, subprocess, sys, time
import encodings.idna
os.setgroups([])
os.setresgid({number}, {number}, {number})
os.setresuid({number}, {number}, {number})
"""


def _line(code: str, args: tuple[object, ...]) -> list[str]:
    begin = _BECOME.format(number=STRANGER)
    return [sys.executable, "-I", "-c", begin + code, *map(str, args)]


def attack(
    code: str, *args: object, timeout: float = GIVEN_UP
) -> subprocess.CompletedProcess[str]:
    """Run Python code as the stranger, to its end; `sys.argv[1:]` are *args*."""
    return subprocess.run(
        _line(code, args),
        cwd="/",
        env={"PATH": os.environ["PATH"]},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@contextlib.contextmanager
def attacking(code: str, *args: object) -> Iterator[subprocess.Popen[str]]:
    """Run Python code as the stranger for as long as the body runs.

    The code prints a line when it is ready, and the body begins then.
    """
    with subprocess.Popen(
        _line(code, args),
        cwd="/",
        env={"PATH": os.environ["PATH"]},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline(), "the stranger died before it was ready"
            yield process
        finally:
            process.kill()
