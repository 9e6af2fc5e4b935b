"""``ci/costs``: measure what the start of local ranks costs, by kind of process.

CPU time, because it is the same on a busy machine; divided by the number of CPUs it is
the least time that a start can take.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Run as the user's script: it looks at all processes that have COSTS_MARK.
LOOK = """
import collections, os, sys
from pathlib import Path
from dask.distributed import Client

def kind_of(process):
    name = (process / "comm").read_text().strip()
    if name.startswith("dask-") and name != "dask-runner":
        return name.removeprefix("dask-")
    # Those that keep the interpreter's name.
    nested = b"DASKRUNNER_RANK=" in (process / "environ").read_bytes()
    return "leader" if nested else "launcher"

client = Client()
count, cpu, pss = (collections.Counter() for _ in range(3))
for process in Path("/proc").glob("[0-9]*"):
    try:
        if os.environ["COSTS_MARK"].encode() not in (process / "environ").read_bytes():
            continue
        kind = kind_of(process)
        cpu[kind] += int((process / "schedstat").read_text().split()[0]) / 1e6
        rollup = (process / "smaps_rollup").read_text()
        pss[kind] += int(rollup.partition("Pss:")[2].split()[0]) / 1024
        count[kind] += 1
    except OSError:
        continue  # it has ended
print("| process | number | CPU, ms each | ms in all | PSS, MiB each |")
print("|---|---:|---:|---:|---:|")
for kind, number in sorted(count.items(), key=lambda one: -cpu[one[0]]):
    each = f"{cpu[kind] / number:.0f} | {cpu[kind]:.0f} | {pss[kind] / number:.1f}"
    print(f"| {kind} | {number} | {each} |")
print(f"| all | {count.total()} | | {cpu.total():.0f} | |")
"""


def main(argv: Sequence[str]) -> int:
    """Print the table; return the status of the run."""
    parser = argparse.ArgumentParser(prog="ci/costs", description=__doc__)
    parser.add_argument("--ranks", type=int, default=16, help="%(default)s")
    options = parser.parse_args(argv)
    mark = f"COSTS_MARK=ranks-{options.ranks}"
    line = ["-m", "dask_runner", "--quiet", "-n", str(options.ranks), "--nthreads", "1"]
    return subprocess.run(
        ["env", mark, sys.executable, *line, "-c", LOOK], check=False
    ).returncode
