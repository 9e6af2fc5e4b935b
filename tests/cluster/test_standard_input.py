"""A program that comes by standard input, which srun gives to all tasks or to one."""

import pytest

from tests.cluster.jobs import SIF, Jobs, ours, told

PROGRAM = """\
import sys
from distributed import Client

workers = Client().scheduler_info(n_workers=-1)["workers"]
print(sys.argv[1:], len(workers), repr(sys.stdin.read()))
"""


def line(options: str, *args: str) -> tuple[str, ...]:
    words = " ".join(args)
    return ("sh", "-c", f"srun {options} apptainer run {SIF} {words} < program.py")


@pytest.mark.parametrize(
    ("options", "args", "workers"),
    [
        ("-N2 -n2", ("-", "a"), 2),
        ("-N2 -n4 --input=0", ("/dev/stdin", "a"), 4),
        ("-N2 -n4", ("--layout", "dedicated", "-", "a"), 2),
    ],
    ids=["each on its node", "the first alone", "dedicated"],
)
def test_the_rank_with_the_client_runs_it(
    jobs: Jobs, options: str, args: tuple[str, ...], workers: int
) -> None:
    jobs.write("program.py", PROGRAM)
    done = jobs.start(*line(options, *args)).wait(makes=("program.py",))
    assert done.returncode == 0, told(done)
    assert done.stdout == f"['a'] {workers} ''\n", told(done)


@pytest.mark.parametrize(
    ("options", "args", "words"),
    [
        ("-N2 -n4 --input=0", ("--layout", "dedicated", "-"), "add --layout shared"),
        ("-N2 -n4 --input=none", ("-",), "check what writes it"),
    ],
    ids=["dedicated", "none"],
)
def test_a_rank_that_gets_none_of_it_says_so(
    jobs: Jobs, options: str, args: tuple[str, ...], words: str
) -> None:
    jobs.write("program.py", PROGRAM)
    done = jobs.start(*line(options, *args)).wait(makes=("program.py",))
    assert done.returncode == 78, told(done)
    assert "the program from standard input is empty" in done.stderr, told(done)
    assert words in "\n".join(ours(done)), told(done)
