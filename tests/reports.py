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
    jsonschema.validate(told, SCHEMA)
    assert told.keys() == SCHEMA["properties"].keys()
    for name, part in SCHEMA["properties"].items():
        part = part.get("items", part)  # noqa: PLW2901  of a list, each
        each = told[name] if isinstance(told[name], list) else [told[name]]
        for one in each:
            if "properties" in part and one is not None:
                assert one.keys() == part["properties"].keys()
    return told
