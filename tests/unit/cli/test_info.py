"""What ``dask-runner info`` shows."""

from __future__ import annotations

import re

from dask_runner.cli.info import collect, table


def test_people_read_memory_with_a_unit_and_programs_in_bytes() -> None:
    found = collect({}, "none")
    (line,) = (line for line in table(found).splitlines() if "  memory " in line)

    assert int(found["resources"]["memory"]["value"]) > 0
    assert re.match(r"  memory +\d+\.\d [KMG]iB  \(", line), line
