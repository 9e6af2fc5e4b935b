"""What a run tells at its end, compared with what was planted."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.docs.blocks import DOCS
from tests.docs.report_keys import keys
from tests.programs import BEGIN, BURN, UNTIL_TOLD
from tests.reports import valid
from tests.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.running import DaskRunner

MIB = 2**20

#: One worker holds memory and computes, the other one holds a result, dies once of
#: its memory and then is idle.
PLANTED = f"""
import os, time
from distributed import Client, wait
{BURN}
def grow():
    if os.path.exists("grown"):
        return 1
    open("grown", "w").close()
    held = []
    while True:
        held.append(b"x" * (8 << 20))
        time.sleep(0.02)

def fail():
    1 / 0

client = Client()
held = client.submit(bytes, 20_000_000, workers=1, allow_other_workers=True)
wait(held)
wait(client.submit(fail))
grown = client.submit(grow, workers=1, allow_other_workers=True)
assert grown.result() == 1
client.submit(len, held, workers=0).result()
client.submit(burn, 4, 200, workers="0").result()
"""


def test_the_report_agrees_with_what_was_planted(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    file = tmp_path / "report-{job_id}.json"
    ended = dask_runner(
        *("-n", 2, "--nthreads", 1, "--memory-limit", "400MiB", "--name", "planted"),
        *("--report", file, "-c", PLANTED),
        makes=("grown",),
    )

    assert ended.status == 0, ended
    (written,) = tmp_path.iterdir()
    assert written.name.startswith("report-")
    assert "{" not in written.name
    told = valid(written.read_text())
    page = (DOCS / "reference/report-schema.md").read_text()
    assert not [key for key in keys(told) if f"| `{key}` |" not in page]
    assert told["final"]
    assert told["status"] == 0
    assert told["cause"] is None
    assert told["unknown"] == []
    assert told["cluster"]["name"] == "planted"
    busy, hog = told["workers"]
    assert (busy["name"], hog["name"]) == ("0", "1")
    assert busy["memory_limit"] == hog["memory_limit"] == 400 * MIB
    assert 200 * MIB < busy["memory_peak"] < 360 * MIB
    # Dask kills it at 95 %.
    assert 380 * MIB <= hog["memory_peak"] < 440 * MIB
    assert (busy["deaths"], hog["deaths"]) == (0, 1)
    (loss,) = told["losses"]
    assert (loss["what"], loss["name"], loss["then"]) == (
        "worker",
        "1",
        "started again",
    )
    assert "it used" in loss["cause"]
    assert 0 < loss["after"] < told["seconds"]["total"]
    work = told["work"]
    assert work["tasks_erred"] == 1
    assert (work["tasks_computed_again"], work["tasks_broken_off"]) == (1, 1)
    assert work["tasks_done"] == 5  # one of them twice
    assert work["thread_seconds"] >= 4
    assert 0.4 < work["idle"] < 0.95
    (node,) = told["nodes"]
    assert 4 < node["cpu_seconds"] < node["cpu_seconds_allotted"] * 1.1
    assert node["memory_peak"] >= hog["memory_peak"]
    block = [line for line in ended.stderr.splitlines() if "started again" not in line]
    assert "ended with status 0" in block[-5]
    assert " CPU time), ran for " in block[-4]
    assert "idle for " in block[-4]
    assert "worker 1 had " in block[-3]
    assert " of its 400 MiB" in block[-3]
    assert "tasks: 5 done, 1 failed, 1 computed again, 1 broken off" in block[-2]
    assert "lost: worker 1 on " in block[-1]
    assert "it used " in block[-1]


def test_a_short_run_without_trouble_tells_nothing_at_its_end(
    dask_runner: DaskRunner,
) -> None:
    ended = dask_runner("-n", 2, "-c", "print(1)")
    assert "ended with status 0" in ended.stderr.splitlines()[-1], ended


@pytest.mark.parametrize(
    ("what", "status"), [("scheduler", 69), ("term", 143), ("script", 3)]
)
def test_the_report_is_written_however_the_run_ends(
    dask_runner: DaskRunner, tmp_path: Path, what: str, status: int
) -> None:
    script = f"{BEGIN}\nfrom distributed import wait\nwait(client.map(abs, range(9)))"
    file = tmp_path / "report.json"
    run = dask_runner.start(
        *("-n", 2, "--report", file, "-c", f"{script}{UNTIL_TOLD}\nraise SystemExit(3)")
    )
    run.wait_for("begun")
    if what == "scheduler":
        # Until it has told something.
        until(lambda: file.exists() and valid(file.read_text())["work"] is not None)
        (pid,) = run.named("dask-scheduler")
        os.kill(pid, signal.SIGKILL)
    elif what == "term":
        run.signal(signal.SIGTERM)
    else:
        (run.cwd / "go").touch()
    ended = run.wait(stray=".*", makes=("go",))

    assert ended.status == status, ended
    told = valid(file.read_text())
    assert told["final"]
    assert told["status"] == status
    assert told["work"]["tasks_done"] == 9
    if what == "scheduler":
        assert "the scheduler" in told["cause"]
        assert "the scheduler was gone" in told["unknown"][0]
        assert not told["work"]["final"]
    else:
        assert told["unknown"] == []
    assert [one.name for one in tmp_path.iterdir()] == ["report.json"]


def test_a_file_is_left_where_rank_0_is_killed(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    file = tmp_path / "report.json"
    run = dask_runner.start("--report", file, "-c", f"{BEGIN}{UNTIL_TOLD}")
    run.wait_for("begun")
    until(file.exists)
    run.signal(signal.SIGKILL)
    run.wait(stray=".*", makes=("go",))

    told = valid(file.read_text())
    assert not told["final"]
    assert told["status"] is None
    assert "it was running when this was written" in told["unknown"][-1]


def test_a_report_that_cannot_be_written_is_told_before_the_script_begins(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    ended = dask_runner(
        *("-n", 2, "--report", tmp_path / "no" / "report.json", "-c", "print('ran')")
    )
    assert (ended.status, ended.stdout) == (78, ""), ended
    assert "report.json cannot be written: No such file or directory" in ended.stderr


def test_dasks_report_is_written_beside_ours(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    pytest.importorskip("bokeh")
    ours, dasks = tmp_path / "r.json", tmp_path / "r.html"
    ended = dask_runner("--report", ours, "--report", dasks, "-c", "pass")
    assert ended.status == 0, ended
    valid(ours.read_text())
    assert "<html" in dasks.read_text().lower()


def test_a_cluster_without_a_script_has_no_report_of_dasks(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    ended = dask_runner("serve", "--report", tmp_path / "r.html")
    assert ended.status == 78, ended
    assert "you can: name such a file" in ended.stderr
