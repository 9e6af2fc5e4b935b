"""Blows to a part of a job on the cluster, or to one of its nodes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.failures.parts import Process, plays, ranked

if TYPE_CHECKING:
    from tests.cluster.jobs import Jobs

LOOK = Path(__file__).with_name("look.py").read_text()

#: What is done to a node, and to no process.
TO_NODES = frozenset({"kill", "cut"})


def find(jobs: Jobs, mark: str, part: str, node: str) -> Process:
    """Return the process of a marked job that has a part on a node.

    Forks keep the words of the process that forked them, but have a name of their own.
    Of a kind that a shell has as well, it is the last.
    """
    line = ["python3", "-c", LOOK, mark]
    done = jobs.cluster.run(line, node=node, user="root", timeout=30)
    there = [
        Process(node, **json.loads(text)) for text in done.stdout.split("\n") if text
    ]
    found = [one for one in ranked(there) if plays(one, part)]
    named = [one for one in found if one.name == f"dask-{part}"]
    return (named or found)[-1]


def strike(jobs: Jobs, mark: str, part: str, node: str, how: str) -> None:
    """Do something to a node, or send a signal to the part of a job on it."""
    if how in TO_NODES:
        struck: Any = jobs.cluster.node(node)
        getattr(struck, how)()
        return
    process = find(jobs, mark, part, node)
    line = ["kill", f"-{how}", str(process.pid)]
    jobs.cluster.run(line, node=node, user="root", timeout=30)
