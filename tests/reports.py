"""Reports of runs: read, and held against their schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema

import dask_runner
from dask_runner.hub import messages as m

#: What a scheduler tells.
WORK = m.Work(
    done=9,
    erred=1,
    known=12,
    again=2,
    broken_off=1,
    computed=4.5,
    running=2,
    workers=2,
    nthreads=4,
    memory=900,
    moved=80,
    spilled=0,
)
SCHEMA = json.loads(
    (Path(dask_runner.__file__).parent / "hub" / "report.schema.json").read_text()
)


def valid(text: str) -> dict[str, Any]:
    """Return a report; fail unless it is one, with nothing that the schema lacks."""
    told: dict[str, Any] = json.loads(text)
    jsonschema.validate(told, CLOSED)
    return told


def _closed(part: Any) -> Any:
    """Return a schema that allows no other keys than it names, and wants all these."""
    if isinstance(part, list):
        return [_closed(one) for one in part]
    if not isinstance(part, dict):
        return part
    closed = {name: _closed(one) for name, one in part.items()}
    if isinstance(part.get("properties"), dict):
        closed |= {"additionalProperties": False, "required": [*part["properties"]]}
    return closed


CLOSED = _closed(SCHEMA)
