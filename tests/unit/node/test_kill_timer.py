"""How long a rank may stand still before its options are read."""

from __future__ import annotations

import pytest

from dask_runner.launch.options import OPTIONS
from dask_runner.node import kill_timer
from dask_runner.node.kill_timer import (
    FEWEST,
    MOST,
    TIMEOUT_SECONDS,
    timeout_at_a_glance,
)


def test_the_option_is_the_one_that_there_is() -> None:
    (option,) = (one for one in OPTIONS if f"--{one.name}" == kill_timer.OPTION)
    assert option.default == TIMEOUT_SECONDS
    assert f"DASK_RUNNER__{option.name.upper()}" == kill_timer.VARIABLE


@pytest.mark.parametrize(
    ("args", "variable", "seconds"),
    [
        ("a.py", None, TIMEOUT_SECONDS),
        ("a.py", "90", 90.0),
        ("--timeout 45 a.py", None, 45.0),
        ("--timeout=45 a.py", "90", 45.0),
        ("--timeout 45 a.py --timeout 99", None, 45.0),
        ("--timeout 0.5 a.py", None, FEWEST),
        ("--timeout inf a.py", None, MOST),
        ("--timeout nan a.py", None, FEWEST),
        ("--timeout never a.py", None, TIMEOUT_SECONDS),
        ("--timeout", None, TIMEOUT_SECONDS),
        ("a.py", "soon", TIMEOUT_SECONDS),
    ],
)
def test_the_timeout_is_seen_in_the_words_and_in_the_variable(
    args: str, variable: str | None, seconds: float
) -> None:
    environ = {} if variable is None else {kill_timer.VARIABLE: variable}
    assert timeout_at_a_glance(args.split(), environ) == seconds
