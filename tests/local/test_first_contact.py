"""What somebody meets who brings a script that was written for a cluster of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.pages import STATUS, get, path_in
from tests.programs import BEGIN, clean, script

if TYPE_CHECKING:
    from tests.conftest import DaskRunner
    from tests.running import Ended

ROOT = Path(__file__).resolve().parents[2]

OWN_WORKERS = """
from dask.distributed import Client
if __name__ == "__main__":
    client = Client(n_workers=4, threads_per_worker=1, memory_limit="1GiB")
"""

OWN_CLUSTER = """
from dask.distributed import Client, LocalCluster
if __name__ == "__main__":
    for _ in range(2):
        with LocalCluster(n_workers=1, dashboard_address=":0") as mine:
            with Client(mine) as client:
                print(client.submit(abs, -1).result(), client.cluster is mine)
"""

#: Prints the link in the program, in Pythons that it starts, and in a task.
LINKS = """
import multiprocessing, subprocess, sys
from dask.distributed import Client, get_client

def link():
    print(Client().dashboard_link, flush=True)

def tasks():
    return get_client().dashboard_link

if __name__ == "__main__":
    client = Client()
    link()
    subprocess.run([sys.executable, "-c",
        "from distributed import Client; print(Client().dashboard_link)"], check=True)
    for kind in ("spawn", "forkserver"):
        process = multiprocessing.get_context(kind).Process(target=link)
        process.start()
        process.join()
    print(repr(client.submit(tasks).result()))
"""


@pytest.fixture(params=["script", "below a command", "module"])
def way(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The arguments before a program."""
    ways = {
        "script": ("script.py",),
        "below a command": ("--", sys.executable, "script.py"),
        "module": ("-m", "script"),
    }
    return ways[request.param]


def test_options_for_a_cluster_of_its_own_are_answered_with_what_to_write(
    dask_runner: DaskRunner, tmp_path: Path, way: tuple[str, ...]
) -> None:
    script(tmp_path, OWN_WORKERS)

    ended = dask_runner("--quiet", "-n", 2, *way, cwd=tmp_path, stray=".*")

    assert ended.status == 1
    *trace, error, ours = ended.stderr.splitlines()
    assert not any(line.startswith("dask-runner:") for line in trace)
    assert error.startswith("ValueError: Unexpected keyword arguments")
    assert ours.startswith("dask-runner: your cluster runs already")
    assert "'memory_limit', 'n_workers', 'threads_per_worker': write Client()" in ours


def test_a_script_that_catches_the_error_goes_on_as_it_was_written(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    code = """
    from dask.distributed import Client
    try:
        client = Client(n_workers=4)
    except ValueError:
        client = Client()
    print(client.submit(abs, -1).result())
    """
    assert clean(dask_runner(script(tmp_path, code))).stdout == "1\n"


def test_a_cluster_of_its_own_works_and_is_told_once(
    dask_runner: DaskRunner, tmp_path: Path, way: tuple[str, ...]
) -> None:
    script(tmp_path, OWN_CLUSTER)

    ended = dask_runner("--quiet", "-n", 2, *way, cwd=tmp_path, stray=".*")

    assert (ended.status, ended.stdout) == (0, "1 True\n1 True\n"), ended
    told = [line for line in ended.stderr.splitlines() if "dask-runner" in line]
    assert len(told) == 1, ended
    assert told[0].startswith("dask-runner: warning: LocalCluster() makes another")
    assert told[0].endswith("write Client() in its place")


@pytest.mark.parametrize("nanny", ["--nanny", "--no-nanny"])
def test_no_link_to_the_dashboard_leads_nowhere(
    dask_runner: DaskRunner, tmp_path: Path, nanny: str
) -> None:
    ended = clean(dask_runner(nanny, script(tmp_path, LINKS)))

    *links, tasks = ended.stdout.splitlines()
    assert len(links) == 4
    assert set(links) == {links[0]}
    assert links[0].startswith(f"unix:{path_in(ended.stderr)} ")
    assert tasks == "''"


def test_a_dashboard_that_is_announced_answers_whoever_is_early(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    run = dask_runner.start(script(tmp_path, BEGIN + "time.sleep(600)"))
    run.wait_for("ready after")
    run.wait_for("dashboard")
    path = path_in(run.stderr)

    # Nobody knows of the socket earlier, and the script may not have begun.
    status, page = get(path, STATUS)

    assert status == 200
    assert "bokeh" in page
    assert get(path, "/no-such-page")[0] == 404


#: Waits until a file is there.
UNTIL_THERE = """
import os, sys, time

def wait_for(file):
    while not os.path.exists(file):
        time.sleep(0.05)

def loaded():
    return "bokeh" in sys.modules

"""


@pytest.mark.parametrize("page", [STATUS, "/individual-plots.json"])
def test_bokeh_is_loaded_for_a_reader_only(
    dask_runner: DaskRunner, tmp_path: Path, page: str
) -> None:
    go = tmp_path / "go"
    code = f"""
print("before:", client.run_on_scheduler(loaded), flush=True)
wait_for({str(go)!r})
print("after:", client.run_on_scheduler(loaded))
"""
    run = dask_runner.start(script(tmp_path, UNTIL_THERE + BEGIN + code))
    run.wait_for("dashboard")
    run.wait_for("before:")
    path = path_in(run.stderr)
    status, text = get(path, page)
    assert status == 200
    assert "individual" in text or "<html" in text, text
    assert get(path, page)[0] == 200
    go.touch()
    assert run.wait().stdout == "before: False\nafter: True\n"


def test_a_dashboard_that_cannot_be_loaded_says_why_and_the_job_goes_on(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    broken, go = tmp_path / "broken" / "bokeh", tmp_path / "go"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('too old')")
    code = f"wait_for({str(go)!r})\nprint(client.submit(pow, 2, 3).result())"
    run = dask_runner.start(
        script(tmp_path, UNTIL_THERE + BEGIN + code),
        env={"PYTHONPATH": str(broken.parent)},
    )
    run.wait_for("dashboard")

    path = path_in(run.stderr)
    first, again = get(path, STATUS), get(path, STATUS)

    assert first == again
    assert first[0] == 503
    assert "ImportError: too old" in first[1]
    assert get(path, "/health") == (200, "ok")
    go.touch()
    ended = run.wait()
    assert (ended.status, ended.stdout) == (0, "8\n")


#: A process as srun starts it.
SLURM = {
    "SLURM_JOB_ID": "4711",
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "0",
    "SLURM_STEP_NUM_TASKS": "1",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
}


def told(ended: Ended) -> list[str]:
    assert ended.status == 0, ended
    return [line for line in ended.stderr.splitlines() if "warning" in line]


@pytest.mark.parametrize(
    ("args", "env", "told_of"),
    [
        (("-n", 4), {}, 1),
        (("-n", 1), {}, 0),
        ((), {"DASK_RUNNER__NRANKS": "4"}, 0),
        (("-n", 2, "--launcher", "none"), {}, 0),
    ],
)
def test_a_number_of_ranks_is_told_where_a_launcher_has_started_others(
    dask_runner: DaskRunner,
    args: tuple[str | int, ...],
    env: dict[str, str],
    told_of: int,
) -> None:
    lines = told(dask_runner(*args, "-c", "1", env={**SLURM, **env}))

    assert len(lines) == told_of
    for line in lines:
        assert "-n 4 has no effect" in line
        assert "srun of Slurm has started 1 rank:" in line


def test_our_option_behind_the_script_is_told_if_it_is_surely_ours(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    plain = script(tmp_path, "print(1)", "plain.py")
    reads = script(tmp_path, "import sys; print(sys.argv[1:])", "reads.py")

    (line,) = told(dask_runner(plain, "-n", "4"))
    assert line.endswith(f"come before it: dask-runner -n 4 {plain}")
    ended = clean(dask_runner(reads, "-n", "4"))
    assert ended.stdout == "['-n', '4']\n"


@pytest.mark.parametrize(
    "recipe", ["job.sbatch", "job.pbs", "jupyter.sbatch", "interactive.sh"]
)
def test_a_recipe_tells_of_a_missing_image_before_it_starts_anything(
    recipe: str, tmp_path: Path
) -> None:
    ended = subprocess.run(
        ["bash", ROOT / "recipes" / recipe, "script.py"],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PBS_O_WORKDIR": "/"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    first, second = ended.stderr.splitlines()
    assert (ended.returncode, ended.stdout) == (78, "")
    assert first.startswith(f"{recipe}: error: ")
    assert re.search(rf"cannot read the image {tmp_path}/dask-runner\S*\.sif$", first)
    assert "you can: copy it there, or " in second
