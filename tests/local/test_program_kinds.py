"""Where the user's program may come from: whatever Python runs, as Python runs it."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import zipapp
from typing import TYPE_CHECKING, Any

import pytest

from tests.programs import clean, script
from tests.running import DASK_RUNNER, Run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import DaskRunner

#: Prints what a program can see of how it was started.
SHOW = """\
import json, sys
import __main__ as main
spec, loader = main.__spec__, main.__loader__
print(json.dumps({
    "argv": sys.argv,
    "path": sys.path[0],
    "names": [main.__name__, main.__package__, __name__],
    "file": getattr(main, "__file__", None),
    "spec": spec and [spec.name, spec.origin, spec.parent],
    "loader": loader.__name__ if isinstance(loader, type) else type(loader).__name__,
    "stdin": sys.stdin.read(),
}))
"""

#: Computes on the cluster by a module that lies beside it.
WORK = """\
import sys
from distributed import Client
import beside

if __name__ == "__main__":
    print(Client().submit(beside.twice, 21).result(), *sys.argv[1:])
"""
BESIDE = "def twice(x):\n    return 2 * x\n"

#: By kind: how a shell starts it, RUN being Python or dask-runner.
KINDS = {
    "a file": "RUN show.py a 'b c' </dev/null",
    "a path": "RUN ./sub/../show.py a </dev/null",
    "a link": "RUN links/link.py a </dev/null",
    "a directory": "RUN app a b </dev/null",
    "this directory": "cd app && RUN . a </dev/null",
    "an archive": "RUN app.pyz a </dev/null",
    "a link to an archive": "RUN links/link.pyz a </dev/null",
    "standard input, piped": "cat show.py | RUN - a",
    "standard input, redirected": "RUN - a < show.py",
    "/dev/stdin, piped": "cat show.py | RUN /dev/stdin a",
    "/dev/stdin, redirected": "RUN /dev/stdin a < show.py",
    "a here document": "RUN /dev/stdin a <<END\n$(cat show.py)\nEND",
    "a process substitution": "RUN <(cat show.py) a </dev/null",
    "a descriptor": "RUN /proc/self/fd/9 a 9< show.py </dev/null",
    "a fifo": "(cat show.py > fifo) & RUN fifo a </dev/null; wait",
    "a module": "RUN -m show a </dev/null",
    "code": 'RUN -c "$(cat show.py)" a - -- </dev/null',
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    script(tmp_path, SHOW, "show.py")
    for name in ("app", "sub", "links"):
        (tmp_path / name).mkdir()
    script(tmp_path / "app", SHOW, "__main__.py")
    zipapp.create_archive(tmp_path / "app", tmp_path / "app.pyz")
    (tmp_path / "links" / "link.py").symlink_to("../show.py")
    (tmp_path / "links" / "link.pyz").symlink_to("../app.pyz")
    os.mkfifo(tmp_path / "fifo")
    return tmp_path


def shown(line: str, *command: object, cwd: Path) -> Any:
    words = " ".join(shlex.quote(str(word)) for word in command)
    args = ("bash", "-c", line.replace("RUN", words))
    with Run(args, cwd=cwd) as run:
        ended = run.wait(stray=".*")
    assert (ended.status, ended.stderr) == (0, ""), ended
    return json.loads(ended.stdout)


@pytest.mark.parametrize(
    ("kind", "ranks"),
    [
        *((kind, 1) for kind in KINDS),
        # Handed on, to the rank that has the client.
        ("a process substitution", 3),
        ("a descriptor", 3),
    ],
)
def test_a_program_sees_what_it_sees_below_python(
    folder: Path, kind: str, ranks: int
) -> None:
    options = ("--quiet", "-n", ranks)
    if ranks > 1:
        options += ("--layout", "dedicated")
    python = shown(KINDS[kind], sys.executable, cwd=folder)
    ours = shown(KINDS[kind], DASK_RUNNER, *options, cwd=folder)
    assert ours == python


@pytest.mark.parametrize("kind", ["directory", "archive", "standard input", "fifo"])
def test_workers_find_what_lies_beside_or_in_it(
    dask_runner: DaskRunner, tmp_path: Path, kind: str
) -> None:
    app = tmp_path / "app"
    app.mkdir()
    name = "__main__.py" if kind in {"directory", "archive"} else "program.py"
    path = script(app, WORK, name)
    script(app, BESIDE, "beside.py")
    if kind == "directory":
        ended = dask_runner("-n", 2, app, "x", cwd=tmp_path)
    elif kind == "archive":
        zipapp.create_archive(app, tmp_path / "app.pyz")
        shutil.rmtree(app)
        ended = dask_runner("-n", 2, "app.pyz", "x", cwd=tmp_path)
    elif kind == "standard input":
        ended = dask_runner("-n", 2, "-", "x", cwd=app, stdin=path.read_text())
    else:
        os.mkfifo(app / "fifo")
        with subprocess.Popen(["cp", path, app / "fifo"]):
            ended = dask_runner("-n", 2, app / "fifo", "x", cwd=tmp_path)
    assert clean(ended).stdout == "42 x\n"


@pytest.mark.parametrize("program", ["app", "app.pyz", "- < app/__main__.py"])
def test_python_below_a_command_runs_what_python_runs(
    tmp_path: Path, program: str
) -> None:
    (tmp_path / "app").mkdir()
    script(tmp_path / "app", WORK, "__main__.py")
    script(tmp_path, BESIDE, "beside.py")
    zipapp.create_archive(tmp_path / "app", tmp_path / "app.pyz")
    python = shlex.quote(sys.executable)
    line = f"PYTHONPATH={tmp_path} {DASK_RUNNER} --quiet -n 2 -- {python} {program}"
    with Run(("bash", "-c", line), cwd=tmp_path) as run:
        assert clean(run.wait()).stdout == "42\n"


@pytest.mark.parametrize("layout", ["shared", "dedicated"])
def test_arguments_may_be_process_substitutions(tmp_path: Path, layout: str) -> None:
    path = script(
        tmp_path,
        """
        import sys
        print(*(open(word.partition("=")[2] or word).read() for word in sys.argv[1:]))
        """,
    )
    options = f"--quiet -n 3 --layout {layout}"
    line = (
        f"{DASK_RUNNER} {options} {path} <(printf one) --in=<(printf two);"
        f"{DASK_RUNNER} {options} -- cat <(printf three) /dev/fd/9 9< <(printf four)"
    )
    with Run(("bash", "-c", line)) as run:
        assert clean(run.wait()).stdout == "one two\nthreefour"


def test_who_writes_to_an_argument_sees_that_nobody_reads(tmp_path: Path) -> None:
    path = script(tmp_path, "import sys; print(open(sys.argv[1]).readline(), end='')")
    # yes(1) ends by SIGPIPE, or never.
    line = f'{DASK_RUNNER} --quiet -n 2 {path} <(yes; echo "ended" > "$0")'
    with Run(("bash", "-c", line, str(tmp_path / "said"))) as run:
        ended = run.wait(stray=".*")
    assert (ended.status, ended.stdout) == (0, "y\n"), ended


@pytest.mark.parametrize("kind", ["syntax", "runtime"])
@pytest.mark.parametrize("program", ["-", "app", "app.pyz"])
def test_a_traceback_shows_the_users_frames_alone(
    dask_runner: DaskRunner, tmp_path: Path, program: str, kind: str
) -> None:
    text = {"syntax": "def f(:\n", "runtime": "def f():\n    1/0\nf()\n"}[kind]
    (tmp_path / "app").mkdir()
    script(tmp_path / "app", text, "__main__.py")
    zipapp.create_archive(tmp_path / "app", tmp_path / "app.pyz")
    stdin = text if program == "-" else None
    ended = dask_runner("--quiet", program, cwd=tmp_path, stdin=stdin, stray=".*")
    assert ended.status == 1
    name = {"-": "<stdin>"}.get(program, f"{tmp_path / program}/__main__.py")
    assert f'File "{name}", line ' in ended.stderr, ended
    assert "dask_runner" not in ended.stderr
    assert ended.stderr.count("Traceback") == (kind == "runtime")
    assert ended.stderr.splitlines()[-1].startswith(("SyntaxError", "ZeroDivision"))


# ------------------------------------------------------------ what cannot be run


def refused(line: str, cwd: Path, status: int) -> str:
    with Run(("bash", "-c", line), cwd=cwd) as run:
        ended = run.wait()
    assert ended.status == status, ended
    assert ended.stderr.count(": error: ") == 1, ended
    assert ended.stderr.count("  you can: ") == 1, ended
    return ended.stderr


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("RUN - </dev/null", "from standard input is empty"),
        (": | RUN /dev/stdin", "from standard input is empty"),
        ("RUN <(:)", "'/dev/fd/63' is empty"),
        ("RUN /dev/fd/77", "save the program in a file"),
        ("yes '#' | RUN -", "longer than 4 MiB"),
        ("RUN -n 3 --layout dedicated - < show.py", "add --layout shared"),
        ("RUN sub", "no __main__.py"),
        ("script -qec 'RUN -' /dev/null </dev/null >&2", "a terminal"),
    ],
)
def test_a_program_that_is_none_is_refused(folder: Path, line: str, words: str) -> None:
    command = f"{DASK_RUNNER} --quiet"
    if line.startswith("script") and shutil.which("script") is None:
        pytest.skip("needs script(1)")
    if line.startswith("script"):
        with Run(("bash", "-c", line.replace("RUN", command)), cwd=folder) as run:
            assert words in run.wait(stray=".*").stderr
        return
    assert words in refused(line.replace("RUN", command), folder, 78)


def test_an_archive_without_a_main_is_refused_as_by_python(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    shutil.make_archive(str(tmp_path / "none"), "zip", tmp_path)
    ended = dask_runner(tmp_path / "none.zip")
    assert ended.status == 1
    assert "can't find '__main__' module in" in ended.stderr


@pytest.mark.parametrize("ranks", [1, 3])
def test_a_fifo_that_nobody_writes_to_is_given_up(folder: Path, ranks: int) -> None:
    # A busy machine needs seconds for workers, which are missed by the same deadline.
    line = f"{DASK_RUNNER} --quiet -n {ranks} --timeout 8 fifo"
    assert "'fifo' has not come within 8 s" in refused(line, folder, 75)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("ranks", [1, 3])
@pytest.mark.parametrize("ready", [False, True])
def test_a_signal_ends_the_wait_for_a_fifo(
    folder: Path, ranks: int, number: int, *, ready: bool
) -> None:
    args = (str(DASK_RUNNER), "-n", str(ranks), "fifo")
    with Run(args, cwd=folder) as run:
        run.wait_for(": ready after" if ready else "local: ")
        run.signal(number)
        began = time.monotonic()
        ended = run.wait()
    assert ended.status == 128 + number, ended
    # The promise is 10 s; a machine at work has some more.
    assert time.monotonic() - began < 30
