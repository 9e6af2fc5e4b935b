"""The processes of one job on this machine, as JSON lines: run where they are.

``python3 look.py MARK`` looks at all whose environment has the mark in it. It uses
the standard library alone, so that its text can be sent to a node.
"""

import json
import sys
from pathlib import Path
from typing import Any

# A rank's number, as the launchers tell it; the innermost first.
RANKS = ("DASKRUNNER_RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID")


def look(mark: str) -> list[dict[str, Any]]:
    """Return pid, parent, rank (-1: not told), name, words, state of each process."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            environ = (entry / "environ").read_bytes().decode(errors="replace")
            if mark not in environ:
                continue
            words = (entry / "cmdline").read_bytes().decode(errors="replace")
            stat = (entry / "stat").read_text()
        except OSError:  # gone meanwhile
            continue
        variables = dict(one.split("=", 1) for one in environ.split("\0") if "=" in one)
        name, _, rest = stat.partition("(")[2].rpartition(")")
        found.append(
            {
                "pid": int(entry.name),
                "parent": int(rest.split()[1]),
                "rank": next(
                    (int(variables[one]) for one in RANKS if one in variables), -1
                ),
                "name": name,
                "words": words.rstrip("\0").replace("\0", " "),
                "state": rest.split()[0],
            }
        )
    return found


if __name__ == "__main__":
    for one in look(sys.argv[1]):
        print(json.dumps(one))  # noqa: T201  its whole purpose
