"""Files beside the script: the user's modules for the user's code, and for no other."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from tests.module_names import NAMES
from tests.programs import clean, script

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import DaskRunner

#: Works with all that a cluster has, and asks for the dashboard in the scheduler: it
#: may listen anywhere.
WORK = """\
import asyncio, os, sys, time
from distributed import Client
import helpers

SECONDS = 60

async def text(path, dask_scheduler):
    (server, *_) = dask_scheduler.http_server._sockets.values()
    name = server.getsockname()
    if isinstance(name, tuple):
        reader, writer = await asyncio.open_connection(*name[:2])
    else:
        reader, writer = await asyncio.open_unix_connection(name)
    writer.write(b"GET %s HTTP/1.0\\r\\n\\r\\n" % path.encode())
    told = await reader.read()
    writer.close()
    return told.decode()

def status(path):
    told = client.run_on_scheduler(text, path)
    return told.split()[1] + " " + str("bokeh" in told)

def has_it():
    return "prometheus_client" in sys.modules

def wrong(x):
    raise ValueError(x)

if __name__ == "__main__":
    client = Client()
    print("map", sum(client.gather(client.map(helpers.twice, range(50)))))
    print("by value", client.submit(lambda x: helpers.twice(x), 4).result())
    print("nested", client.submit(helpers.late, 3).result())
    print("failed", type(client.submit(wrong, 1).exception()).__name__)
    print("scheduler", client.run_on_scheduler(helpers.twice, 5))
    print("nannies", *client.run(helpers.twice, 6, nanny=True).values())
    print("versions", sorted(client.get_versions(check=True)))
    client.restart()
    print("again", client.submit(helpers.twice, 21).result())
    deadline = time.monotonic() + SECONDS
    while (page := status("/status")) != "200 True":
        assert time.monotonic() < deadline, page
        time.sleep(0.2)
    print("dashboard", page)
    print("late", client.run_on_scheduler(has_it), *client.run(has_it).values())
    page = client.run_on_scheduler(text, "/metrics")
    print("metrics of", page.count("dask_worker_threads{"))
    first, beside = sys.path[0] or ".", os.path.dirname(helpers.__file__)
    print("first", os.path.samefile(first, beside))
"""

WORKED = [
    "map 2450",
    "by value 8",
    "nested 6",
    "failed ValueError",
    "scheduler 10",
    "nannies 12 12",
    "versions ['client', 'scheduler', 'workers']",
    "again 42",
    "dashboard 200 True",
    "late False False False",
    "metrics of 2",
    "first True",
]

HELPERS = """\
def twice(x):
    return 2 * x

def late(x):
    import more.helpers
    return more.helpers.again(x)
"""

#: Tells where it was found, wherever it runs.
ACCIDENT = "raise RuntimeError(f'{__name__} beside the script was imported')\n"


def lay_accidents(directory: Path) -> None:
    """Lay a file or a package for each name that anybody may ask for."""
    script(directory, HELPERS, "helpers.py")
    (directory / "more").mkdir()
    script(directory / "more", "from helpers import twice as again\n", "helpers.py")
    for number, name in enumerate(NAMES):
        if number % 3:
            script(directory, ACCIDENT, f"{name}.py")
        else:
            (directory / name).mkdir()
            script(directory / name, ACCIDENT, "__init__.py")


@pytest.mark.parametrize("kind", ["script", "module", "code", "archive"])
def test_files_of_any_usual_name_change_nothing_for_our_processes(
    dask_runner: DaskRunner, tmp_path: Path, kind: str
) -> None:
    lay_accidents(tmp_path)
    path = script(tmp_path, WORK, "program.py")
    words: dict[str, tuple[object, ...]] = {
        "script": (path,),
        "module": ("-m", "program"),
        "code": ("-c", WORK),
        "archive": (tmp_path,),
    }
    if kind == "archive":
        path.rename(tmp_path / "__main__.py")
    report = tmp_path / "report.html"
    ended = clean(dask_runner("-n", 2, "--report", report, *words[kind], cwd=tmp_path))
    assert ended.stdout.splitlines() == WORKED
    assert report.stat().st_size > 10_000


def test_a_module_that_shadows_an_installed_one_does_so_in_tasks_as_in_the_script(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    script(tmp_path, "def own():\n    return 'beside'\n", "hypothesis.py")
    script(tmp_path, "import hypothesis\nown = hypothesis.own\n", "helpers.py")
    path = script(
        tmp_path,
        """
        from distributed import Client
        import helpers, hypothesis

        def inside():
            import hypothesis
            return hypothesis.own()

        client = Client()
        print(hypothesis.own(), *client.gather([
            client.submit(hypothesis.own),
            client.submit(helpers.own),
            client.submit(inside),
        ]))
        """,
    )
    assert clean(dask_runner("-n", 2, path)).stdout == "beside beside beside beside\n"


def test_below_a_command_workers_find_what_is_in_a_directory_that_is_the_users(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    lay_accidents(tmp_path)
    text = WORK.replace('    print("first"', "    #")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    path = script(elsewhere, text)
    env = {"PYTHONPATH": str(elsewhere)}
    (tmp_path / "helpers.py").rename(elsewhere / "helpers.py")
    (tmp_path / "more").rename(elsewhere / "more")
    ended = clean(
        dask_runner("-n", 2, "--", sys.executable, path, cwd=tmp_path, env=env)
    )
    assert ended.stdout.splitlines() == WORKED[:-1]


@pytest.mark.parametrize(
    ("mode", "found"), [(0o755, "2"), (0o777, "none"), (0o1777, "none")]
)
def test_below_a_command_the_working_directory_counts_if_nobody_else_can_write_there(
    dask_runner: DaskRunner, tmp_path: Path, mode: int, found: str
) -> None:
    script(tmp_path, "def twice(x):\n    return 2 * x\n", "helpers.py")
    (tmp_path / "sub").mkdir()
    path = script(
        tmp_path / "sub",
        """
        from distributed import Client

        def look():
            try:
                import helpers
            except ModuleNotFoundError:
                return "none"
            return helpers.twice(1)

        print(Client().submit(look).result())
        """,
    )
    os.chmod(tmp_path, mode)  # noqa: PTH101
    ended = clean(dask_runner("--", sys.executable, path, cwd=tmp_path))
    assert ended.stdout == f"{found}\n"
