"""Print the memory of a job's processes, as JSON; the Python of a node runs this.

    python3 memory.py UID PID...

PSS of /proc/PID/smaps_rollup (proc(5)), in bytes: a page that N processes share counts
one Nth in each, so that sums are right.

workers  the processes named, in which the workers run
python   all Python processes of the user: workers, nannies, fork servers, ranks,
         scheduler, client
all      all processes of the user but shells: Apptainer and its squashfuse as well
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def _pss(process: Path) -> int:
    for line in (process / "smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def main() -> None:
    """Add up the memory, and print it."""
    uid, workers = int(sys.argv[1]), set(sys.argv[2:])
    sums = {"workers": 0, "python": 0, "all": 0, "processes": 0}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.stat().st_uid != uid:
                continue
            program = Path(os.readlink(process / "exe")).name  # noqa: PTH115
            size = _pss(process)
        except OSError:  # it has ended meanwhile, or is a zombie
            continue
        sums["all"] += size
        if program.startswith("python"):
            sums["python"] += size
            sums["processes"] += 1
        if process.name in workers:
            sums["workers"] += size
    sys.stdout.write(json.dumps(sums) + "\n")


if __name__ == "__main__":
    main()
