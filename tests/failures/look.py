"""The processes of one job on this machine, as JSON lines: run where they are.

``python3 look.py MARK`` looks at all whose environment has the mark in it. With a
second argument it stays, and does what the lines of its standard input say: ``look``,
or a process id and the number of a signal for it. It uses the standard library alone,
so that its text can be sent to a node.
"""

import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

# A rank's number, as the launchers tell it; the innermost first.
RANKS = (
    "DASKRUNNER_RANK",
    "DASKRUNNER_HOST_RANK",
    "OMPI_COMM_WORLD_RANK",
    "PMI_RANK",
    "SLURM_PROCID",
)
# Apptainer's own process has them in one variable, as JSON.
APPTAINERS = re.compile(r'"SLURM_PROCID=(\d+)"')


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
            status = (entry / "status").read_text()
        except OSError:  # gone meanwhile
            continue
        variables = dict(one.split("=", 1) for one in environ.split("\0") if "=" in one)
        name, _, rest = stat.partition("(")[2].rpartition(")")
        found.append(
            {
                "pid": int(entry.name),
                "parent": int(rest.split()[1]),
                "rank": rank(variables, environ),
                "name": name,
                "words": words.rstrip("\0").replace("\0", " "),
                "state": rest.split()[0],
                "hears": hears(status),
            }
        )
    return found


def rank(variables: dict[str, str], environ: str) -> int:
    """Return the rank that a process was told; -1 for none."""
    for name in RANKS:
        if name in variables:
            return int(variables[name])
    found = APPTAINERS.search(environ)
    return int(found[1]) if found else -1


def serve(mark: str) -> None:
    """Answer each line of standard input by one of JSON."""
    for line in sys.stdin:
        words = line.split()
        answer: list[dict[str, Any]] | bool = True
        if words == ["look"]:
            answer = look(mark)
        else:
            try:
                os.kill(int(words[0]), int(words[1]))
            except ProcessLookupError:
                answer = False
        print(json.dumps(answer), flush=True)  # noqa: T201  its whole purpose


def hears(status: str) -> bool:
    """Say whether a process catches SIGTERM, or lets it wait (proc(5))."""
    masks = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    heard = int(masks["SigCgt"], 16) | int(masks["SigBlk"], 16)
    return bool(heard >> (signal.SIGTERM - 1) & 1)


if __name__ == "__main__":
    if sys.argv[2:]:
        serve(sys.argv[1])
    else:
        for one in look(sys.argv[1]):
            print(json.dumps(one))  # noqa: T201  as above
