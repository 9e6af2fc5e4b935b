"""The user's program, on local ranks: what it sees, and what it may do."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

from tests.conftest import HOSTILE
from tests.programs import clean, script
from tests.running import Run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import DaskRunner


def test_a_script_is_run_once_as_python_would_on_workers_of_all_ranks(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    script(tmp_path, "def twice(x):\n    return 2 * x\n", "helper.py")
    path = script(
        tmp_path,
        """
        import sys
        from dataclasses import dataclass, fields

        from dask.distributed import Client, get_worker

        import helper


        @dataclass
        class Point:
            x: int


        def nested(number):
            def inner():
                return Point(number)

            return inner


        def where(x):
            print(f"task {x}")
            return get_worker().name


        if __name__ == "__main__":
            first, second = Client(), Client()
            print(sys.argv, __name__, __file__)
            used = first.gather(first.map(where, range(8)))
            workers = first.scheduler_info(n_workers=-1)["workers"].values()
            print("names", sorted(worker["name"] for worker in workers))
            assert set(used) <= {0, 1, 2}
            print("twice", second.submit(helper.twice, 21).result())
            print("point", first.submit(nested(5)).result().x)
            print("annotation", fields(Point)[0].type)
            assert Client().submit(lambda: 1, workers=2).result() == 1
            print("scheme", first.scheduler.address.split(":")[0])
        """,
    )
    ended = clean(dask_runner("-n", 3, path, "a", "b c", "-n", "--help"))
    out = ended.stdout
    assert f"['{path}', 'a', 'b c', '-n', '--help'] __main__ {path}" in out
    assert "names [0, 1, 2]" in out
    assert "twice 42" in out
    assert "point 5" in out
    assert "annotation <class 'int'>" in out
    assert "scheme tls" in out
    # What tasks print is seen as well.
    assert all(f"task {number}\n" in out for number in range(8))


def test_a_module_is_run_as_main(dask_runner: DaskRunner, tmp_path: Path) -> None:
    script(tmp_path, "def f(x):\n    return x + 1\n", "beside.py")
    text = """
        import sys
        from dask.distributed import Client
        import beside

        def own(x):
            return x * 10

        print(__name__, __spec__.name, sys.argv[1:])
        client = Client()
        print(client.submit(beside.f, client.submit(own, 4)).result())
    """
    script(tmp_path, text, "program.py")
    ended = clean(dask_runner("-m", "program", "x", "-c", cwd=tmp_path))
    assert ended.stdout == "__main__ program ['x', '-c']\n41\n"


def test_code_sees_its_arguments_and_computes_without_a_client_on_the_cluster(
    dask_runner: DaskRunner,
) -> None:
    code = (
        "import dask, distributed, sys; print(sys.argv); "
        "print(dask.delayed(lambda: distributed.get_worker().name)().compute())"
    )
    ended = clean(dask_runner("-c", code, "-m", "x"))
    assert ended.stdout == "['-c', '-m', 'x']\n0\n"


def test_dask_knows_the_command_by_its_name() -> None:
    code = "from dask.base import get_scheduler; print(get_scheduler() is not None)"
    words = ("runner", "--quiet", "-n", "1", "-c", code)
    run = Run((sys.executable, "-m", "dask", *words))
    try:
        ended = clean(run.wait())
    finally:
        run.discard()
    assert ended.stdout == "True\n"


def test_a_command_finds_the_cluster(dask_runner: DaskRunner) -> None:
    code = (
        "from distributed import Client; print(Client().submit(sum, [1, 2]).result())"
    )
    import sys  # noqa: PLC0415

    ended = clean(dask_runner("--", sys.executable, "-c", code))
    assert ended.stdout == "3\n"


def test_a_shell_sees_its_arguments_and_the_address(dask_runner: DaskRunner) -> None:
    line = 'echo "$DASK_SCHEDULER_ADDRESS $1"; exit 9'
    ended = dask_runner("--security", "none", "--", "sh", "-c", line, "-", "x  y")
    assert ended.status == 9
    assert ended.stdout.startswith("tcp://127.0.0.1:")
    assert ended.stdout.endswith(" x  y\n")


def test_the_script_reads_what_is_piped_in(dask_runner: DaskRunner) -> None:
    code = "import sys; print(sys.stdin.read().upper())"
    assert dask_runner("-n", 2, "-c", code, stdin="abc").stdout == "ABC\n"


def test_the_script_may_use_multiprocessing(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    path = script(
        tmp_path,
        """
        import multiprocessing

        def square(x):
            return x * x

        if __name__ == "__main__":
            for method in "spawn", "fork":
                with multiprocessing.get_context(method).Pool(2) as pool:
                    print(method, pool.map(square, range(4)))
        """,
    )
    ended = clean(dask_runner(path))
    assert ended.stdout == "spawn [0, 1, 4, 9]\nfork [0, 1, 4, 9]\n"


def test_a_worker_that_dies_is_started_again_and_the_script_goes_on(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    path = script(
        tmp_path,
        """
        import os, sys
        from dask.distributed import Client

        def die_once(path):
            if not os.path.exists(path):
                open(path, "w").close()
                os._exit(1)
            return "again"

        print(Client().submit(die_once, sys.argv[1]).result())
        """,
    )
    ended = dask_runner(path, tmp_path / "died")
    assert ended.status == 0, ended
    assert ended.stdout == "again\n"
    (warning,) = [line for line in ended.stderr.splitlines() if "warning" in line]
    assert re.search(
        r"worker 0 of rank 0 on \S+ ended with status 1; it is started again", warning
    )


def test_any_path_and_argument_will_do(dask_runner: DaskRunner, tmp_path: Path) -> None:
    folder = tmp_path.joinpath(*HOSTILE.values())
    folder.mkdir(parents=True)
    path = script(folder, "import sys; print(sys.argv[1:])", "my 'script'.py")
    odd = ["", " ", "'", '"', "$HOME", "\\", "*", "naïve", *HOSTILE.values()]
    ended = clean(dask_runner(path, *odd, cwd=folder))
    assert ended.stdout == f"{odd}\n"
