"""Start a program of ours in a fresh Python, with the image's file of bytecode.

``python -P -m dask_runner.programs.start programs.agent FD LOG``: what it imports is
most of a start, so this comes before, and is small.
"""

from __future__ import annotations

import importlib
import sys

from dask_runner.node import bytecode


def main() -> int | None:
    """Run the module that the first argument names, with the others."""
    bytecode.use()
    module = importlib.import_module(f"dask_runner.{sys.argv.pop(1)}")
    status: int | None = module.main()
    return status


if __name__ == "__main__":
    sys.exit(main())
