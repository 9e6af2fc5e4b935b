import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.running import DaskRunner

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

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
        r"230631 takes 442 steps, the most below 400,000"
        r"(\ndigits: 9\d\.\d% recognised)?"
    ),
    "as_completed.py": r"lowest: -1\.645632 at x = 3\.3802, in \d+ pieces",
    "no_client.py": r"the 6,000\n22,000 words counted in \d processes",
}


def test_every_example_is_run_by_a_test() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(PRINTS)


@pytest.mark.parametrize("name", PRINTS)
def test_an_example_runs_on_local_ranks(dask_runner: DaskRunner, name: str) -> None:
    ended = dask_runner("-n", 3, EXAMPLES / name, timeout=120)

    assert ended.status == 0, ended
    assert re.fullmatch(PRINTS[name] + r"\n", ended.stdout), ended


def test_pi_shows_that_every_rank_has_worked(dask_runner: DaskRunner) -> None:
    ended = dask_runner("-n", 4, EXAMPLES / "pi.py", 2_000_000, timeout=120)

    rows = re.findall(r"^(\d) +\S+ +(\d+) +(\d+) ", ended.stdout, re.MULTILINE)
    assert [worker for worker, _, _ in rows] == ["0", "1", "2", "3"], ended
    assert len({pid for _, pid, _ in rows}) == 4
    assert sum(int(tasks) for _, _, tasks in rows) == 64


def test_compute_without_a_client_uses_the_cluster(dask_runner: DaskRunner) -> None:
    ended = dask_runner("-n", 2, EXAMPLES / "no_client.py", timeout=120)

    # A client's own process would be one, and dask.bag's default pool one a CPU.
    assert "counted in 2 processes" in ended.stdout, ended


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
