"""The table of ``ci/packages``."""

from ci.benchmarks.packages import ALONE, FIRST, LATER, Start, table


def test_a_row_has_the_middle_and_the_least_of_each_kind() -> None:
    found = {
        ALONE: [Start(0.0, ready) for ready in (1.0, 3.0, 1.5)],
        FIRST: [Start(8.0, 9.0)],
        LATER: [Start(1.0, 2.0), Start(1.5, 2.2), Start(1.0, 4.0)],
    }

    (row,) = table({"sympy": found}).splitlines()[2:]

    assert row == ("| `--with sympy` | 1.5 (1.0) | 9.0 (9.0) | 2.2 (2.0) | 1.0 (0.7) |")
