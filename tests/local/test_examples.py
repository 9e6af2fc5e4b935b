import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.running import DaskRunner, Ended

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

RANKS = 4
DARTS = "2000000"

# What an example prints, whatever the machine; numbers that depend on it are left
# open, and checked below where they mean something.
PRINTS = {
    "pi.py": (
        r"worker +host +pid +tasks\n(\d .+#\n)+"
        r"[\d,]+ darts in [\d.]+ s: pi = 3\.1\d+ .+"
    ),
    "reduction.py": (
        r"244 MiB in 16 blocks, [\d.]+ s\nmean 0\.000, deviation 1\.000\n"
        r"4\.6% lie more than two deviations from the mean"
    ),
    "joblib_backend.py": (
        r"77031 takes 350 steps, the most below 100,000"
        r"(\ndigits: 9\d\.\d% recognised)?"
    ),
    "as_completed.py": r"lowest: -1\.645632 at x = 3\.3802, in \d+ pieces",
    # A client's own process would be one, and dask.bag's default pool one a CPU.
    "no_client.py": rf"the 6,000\n22,000 words counted in {RANKS} processes",
}


def every_rank_has_worked(ended: Ended) -> None:
    rows = re.findall(r"^(\d) +\S+ +(\d+) +(\d+) ", ended.stdout, re.MULTILINE)
    assert [worker for worker, _, _ in rows] == ["0", "1", "2", "3"], ended
    assert len({pid for _, pid, _ in rows}) == RANKS
    assert sum(int(tasks) for _, _, tasks in rows) == 64


SHOWS = {"pi.py": every_rank_has_worked}


def test_every_example_is_run_by_a_test() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(PRINTS)


@pytest.mark.parametrize("name", PRINTS)
def test_an_example_runs_on_local_ranks(dask_runner: DaskRunner, name: str) -> None:
    # Others take no arguments.
    args = [DARTS] if name == "pi.py" else []
    ended = dask_runner("-n", RANKS, EXAMPLES / name, *args, timeout=120)

    assert ended.status == 0, ended
    assert re.fullmatch(PRINTS[name] + r"\n", ended.stdout), ended
    if name in SHOWS:
        SHOWS[name](ended)


def test_an_example_is_an_ordinary_dask_script(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, EXAMPLES / "pi.py", "640000"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    assert re.fullmatch(PRINTS["pi.py"] + r"\n", ended.stdout)
    assert "dask_runner" not in (EXAMPLES / "pi.py").read_text()
