"""Write the bytecode that a start needs into one file (dask_runner/node/bytecode.py).

python write_bytecode.py
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pkgutil
import sys

from dask_runner.node import bytecode, compiled_texts

#: The first that a rank imports, and the last of them the most.
FIRST = ("cli.commands", "cli.local", "cli.run", "programs.agent")
#: Folders whose modules a start may import, if not all of them.
FOLDERS = (
    *("launch", "resources", "mpi", "meeting", "wire", "hub", "packages", "node"),
    *("programs", "programs.comm"),
)


def main() -> None:
    """Import what a start could, in about its order, and write the file."""
    # What an earlier one has is not read: another package may be there now.
    with contextlib.suppress(FileNotFoundError):
        os.unlink(bytecode.of_this_python())  # noqa: PTH108  it is no Path
    recorder = compiled_texts.Recorder()
    for name in FIRST:
        importlib.import_module(f"dask_runner.{name}")
    agent = sys.modules["dask_runner.programs.agent"]
    agent.import_shared()
    agent.do_once_for_all()
    sys.modules["dask_runner.meeting.tls"].material()  # imports as it works
    for folder in FOLDERS:
        package = importlib.import_module(f"dask_runner.{folder}")
        for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(found.name)
    modules = list(sys.modules.values())
    bytecode.write(bytecode.of_this_python(), modules, recorder.noted())


if __name__ == "__main__":
    main()
