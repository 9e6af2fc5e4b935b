"""`--with` and `--with-requirements`: a job's own packages, on real processes.

uv finds them in a directory of wheels that the tests make, so no network is needed.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dask_runner.packages.archive import manifest
from tests.local.serving import call, serving
from tests.local.test_disks import mounted
from tests.programs import BEGIN
from tests.running import DASK_RUNNER, Run
from tests.waiting import until
from tests.wheels import wheel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Require
    from tests.running import DaskRunner, Ended

#: Where the script and each worker have a package from, and its version.
CODE = f"""{BEGIN}
import os
import extra
def look():
    import extra, more
    return extra.VERSION, more.VERSION, os.path.dirname(extra.__file__)
found = client.run(look)
print(extra.VERSION, *sorted({{one[:2] for one in found.values()}}))
assert all(one[2] == os.path.dirname(extra.__file__) for one in found.values())
# The leader's directory, in which those of the other ranks are.
assert extra.__file__.count("/dask-runner-") == 1, extra.__file__
"""


class Site:
    """A directory of wheels, a package cache, and the variables that name both."""

    def __init__(self, directory: Path) -> None:
        self.wheels = directory / "wheels"
        self.cache = directory / "cache"
        wheel(self.wheels, "extra", requires=("more>=1", "numpy>=1"), program=True)
        wheel(self.wheels, "more", "1.5")
        self.env = {
            "UV_FIND_LINKS": str(self.wheels),
            "UV_NO_INDEX": "1",
            # What this machine tells pip is of no concern here.
            "PIP_CONFIG_FILE": os.devnull,
            "DASK_RUNNER__PACKAGE_CACHE": str(self.cache),
        }

    @property
    def archives(self) -> list[Path]:
        """The archives in the cache; nothing else may be there."""
        found = sorted(self.cache.iterdir()) if self.cache.exists() else []
        assert all(path.suffix == ".tar" for path in found), found
        return found


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A site with two packages."""
    return Site(tmp_path)


def told(ended: Ended) -> str:
    """Return how the packages came about, as the user reads it."""
    found = re.search(r"(\d+) packages? beside the image's, (.*)", ended.stderr)
    assert found, ended
    return re.sub(r"[\d.]+ s", "N s", f"{found[1]} {found[2]}")


def test_script_and_workers_have_them_and_a_later_job_finds_them_made(
    dask_runner: DaskRunner, site: Site
) -> None:
    for how in ("resolved in N s", "from the cache"):
        ended = dask_runner("-n", 3, "--with", "extra", "-c", CODE, env=site.env)
        assert (ended.status, ended.stdout) == (0, "1.0 ('1.0', '1.5')\n"), ended
        assert told(ended) == f"2 {how}"
    (archive,) = site.archives
    # What the image has is not in it: numpy is required, and was there.
    assert manifest(archive).packages == {"extra": "1.0", "more": "1.5"}


def test_a_requirements_file_may_say_where_wheels_are(
    dask_runner: DaskRunner, site: Site, tmp_path: Path
) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text(f"--no-index\n--find-links {site.wheels}\nextra==1.0\n")
    del site.env["UV_FIND_LINKS"], site.env["UV_NO_INDEX"]

    ended = dask_runner("--with-requirements", file, "-c", CODE, env=site.env)

    assert (ended.status, ended.stdout) == (0, "1.0 ('1.0', '1.5')\n"), ended


def test_what_only_pip_was_told_is_heeded(dask_runner: DaskRunner, site: Site) -> None:
    env = {name.replace("UV_", "PIP_"): value for name, value in site.env.items()}
    assert "PIP_FIND_LINKS" in env

    ended = dask_runner("--with", "extra", "-c", CODE, env=env)

    assert (ended.status, ended.stdout) == (0, "1.0 ('1.0', '1.5')\n"), ended


def test_a_new_wheel_in_the_directory_is_found(
    dask_runner: DaskRunner, site: Site
) -> None:
    code = "import more; print(more.VERSION)"
    first = dask_runner("--with", "more", "-c", code, env=site.env)
    wheel(site.wheels, "more", "2.0")
    second = dask_runner("--with", "more", "-c", code, env=site.env)

    assert (first.stdout, second.stdout) == ("1.5\n", "2.0\n"), second


def test_a_package_that_the_image_has_costs_nothing(
    dask_runner: DaskRunner, site: Site
) -> None:
    ended = dask_runner("--with", "numpy", "-c", "import numpy", env=site.env)

    assert (ended.status, told(ended)) == (0, "0 resolved in N s"), ended


def test_programs_below_a_command_have_them_too(
    dask_runner: DaskRunner, site: Site
) -> None:
    line = f"extra && {sys.executable} -c 'import extra; extra.main()'"
    ended = dask_runner("--with", "extra", "--", "sh", "-c", line, env=site.env)

    assert (ended.status, ended.stdout) == (0, "extra 1.0\n" * 2), ended


def test_a_python_that_a_task_starts_has_them(
    dask_runner: DaskRunner, site: Site
) -> None:
    line = [sys.executable, "-c", "import extra; extra.main()"]
    code = (
        f"{BEGIN}\nimport subprocess\n"
        f"print(client.submit(subprocess.check_output, {line}, text=True).result())"
    )
    ended = dask_runner("--with", "extra", "-c", code, env=site.env)

    assert (ended.status, ended.stdout) == (0, "extra 1.0\n\n"), ended


def test_a_cluster_that_the_script_starts_has_its_own_alone(
    dask_runner: DaskRunner, site: Site
) -> None:
    look = "import importlib.util; print(importlib.util.find_spec('extra'))"
    inner = [str(DASK_RUNNER), "--launcher", "none", "--with", "more", "-c", look]
    code = f"import subprocess; subprocess.run({inner}, check=True)"
    ended = dask_runner("--with", "extra", "-c", code, env=site.env)

    assert (ended.status, ended.stdout) == (0, "None\n"), ended


def test_a_command_may_be_a_program_of_theirs(
    dask_runner: DaskRunner, site: Site
) -> None:
    ended = dask_runner("-n", 2, "--with", "extra", "--", "extra", env=site.env)
    assert (ended.status, ended.stdout) == (0, "extra 1.0\n"), ended

    ended = dask_runner("--with", "extra", "--", "nosuchprogram", env=site.env)
    assert ended.status == 127, ended
    assert "nosuchprogram: No such file or directory" in ended.stderr


def test_another_python_below_a_command_has_not(
    dask_runner: DaskRunner, site: Site, tmp_path: Path
) -> None:
    # A virtual environment's prefix is another.
    other = tmp_path / "other"
    (other / "bin").mkdir(parents=True)
    (other / "bin" / "python").symlink_to(Path(sys.executable).resolve())
    (other / "pyvenv.cfg").write_text(f"home = {Path(sys.executable).resolve().parent}")
    code = "import importlib.util; print(importlib.util.find_spec('extra'))"
    ended = dask_runner(
        "--with", "extra", "--", other / "bin" / "python", "-c", code, env=site.env
    )

    assert (ended.status, ended.stdout) == (0, "None\n"), ended


def test_a_module_to_preload_may_be_among_them(
    dask_runner: DaskRunner, site: Site
) -> None:
    code = f"{BEGIN}\nprint(client.run(lambda: 'more' in __import__('sys').modules))"
    more = ("--with", "extra", "--preload-modules", "numpy,more")
    ended = dask_runner("-n", 2, *more, "-c", code, env=site.env)

    assert ended.stdout.count("True") == 2, ended


def test_none_of_them_is_in_the_place_of_what_our_processes_import(
    dask_runner: DaskRunner, site: Site
) -> None:
    # Modules, not packages: uv does not know that Dask and Python have these names.
    bad = "raise SystemExit('imported')\n"
    wheel(site.wheels, "evil", files={"queue.py": bad, "click.py": bad, "dask.py": bad})
    code = f"{BEGIN}\nimport evil, queue, click\nprint(client.run(lambda: 1))"
    ended = dask_runner("-n", 2, "--with", "evil", "-c", code, env=site.env)

    assert ended.status == 0, ended
    assert "imported" not in ended.stderr


def test_a_pth_file_of_a_package_counts_in_script_and_workers(
    dask_runner: DaskRunner, site: Site
) -> None:
    line = "import builtins; builtins.BY_PTH = 1\n"
    wheel(site.wheels, "hooked", files={"hooked.pth": line})
    code = f"{BEGIN}\nprint(BY_PTH, client.run(lambda: __import__('builtins').BY_PTH))"
    ended = dask_runner("--with", "hooked", "-c", code, env=site.env)

    assert ended.status == 0, ended
    assert ended.stdout.startswith("1 {"), ended


def at(index: socket.socket, site: Site) -> dict[str, str]:
    """Return variables that name an index at a port, and the site's cache."""
    address = f"http://127.0.0.1:{index.getsockname()[1]}/simple"
    kept = {k: v for k, v in site.env.items() if not k.startswith("UV_")}
    return kept | {"UV_DEFAULT_INDEX": address}


# --- what goes wrong --------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "status", "words"),
    [
        (("--with", "nosuchpkg"), 78, ("nosuchpkg cannot be installed", "you require")),
        (("--with", "extra==9"), 78, ("extra==9", "no version of extra==9")),
        (("--with", "numpy<1"), 78, ("does not go with the image", "keeps: numpy ")),
        (("--with", "not a name!"), 78, ("not a name! cannot be installed",)),
        (("--with-requirements", "nofile"), 78, ("nofile cannot be read",)),
        (("--with", "-r x"), 2, ("('-r x',)", "packages, such as")),
    ],
)
def test_what_cannot_be_resolved_ends_all_ranks_with_the_reason(
    dask_runner: DaskRunner,
    site: Site,
    args: tuple[str, ...],
    status: int,
    words: tuple[str, ...],
) -> None:
    ended = dask_runner("-n", 3, *args, "-c", "pass", env=site.env)

    assert ended.status == status, ended
    assert ended.stderr.count("error:") == 1, ended
    assert all(word in ended.stderr for word in words), ended
    assert "Traceback" not in ended.stderr
    assert site.archives == []


def test_an_index_that_does_not_answer_is_unavailable(
    dask_runner: DaskRunner, site: Site
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and does not listen
        env = at(closed, site) | {"UV_HTTP_RETRIES": "0"}
        ended = dask_runner("-n", 2, "--with", "extra", "-c", "pass", env=env)

    assert ended.status == 69, ended
    assert "the index of packages cannot be reached for extra" in ended.stderr
    assert ended.stderr.count("error:") == 1, ended


def test_no_file_of_uv_above_the_working_directory_counts(
    dask_runner: DaskRunner, site: Site, tmp_path: Path
) -> None:
    (tmp_path / "uv.toml").write_text("no-index = true\nfind-links = ['/nowhere']\n")
    (tmp_path / "below").mkdir()

    ended = dask_runner(
        "--with", "extra", "-c", CODE, env=site.env, cwd=tmp_path / "below"
    )

    assert ended.status == 0, ended


def test_a_cache_that_cannot_be_written_is_told(
    dask_runner: DaskRunner, site: Site
) -> None:
    site.cache.write_text("a file")

    ended = dask_runner("-n", 2, "--with", "extra", "-c", "pass", env=site.env)

    assert ended.status == 78, ended
    assert f"the package cache {site.cache}" in ended.stderr
    assert "--package-cache DIR" in ended.stderr


def test_a_cache_on_a_full_disk_is_told(
    dask_runner: DaskRunner, site: Site, tmp_path: Path, require: Require
) -> None:
    with mounted(tmp_path / "disk", require, "size=12k") as disk:
        ended = dask_runner(
            *("-n", 2, "--with", "extra", "--package-cache", disk / "own"),
            *("-c", "pass"),
            env=site.env,
        )
        assert [*(disk / "own").iterdir()] == []

    assert ended.status == 78, ended
    assert "the packages do not fit into" in ended.stderr
    assert "No space left on device" in ended.stderr


@pytest.mark.parametrize("layout", ["shared", "dedicated"])
def test_half_an_archive_is_told_once_in_each_layout(
    dask_runner: DaskRunner, site: Site, tmp_path: Path, layout: str
) -> None:
    dask_runner("--with", "extra", "-c", "pass", env=site.env)
    (archive,) = site.archives
    # The manifest, which rank 0 looks at first, is whole.
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    line = ("--layout", layout, "--with", "extra", "-c", "pass")

    ended = dask_runner("-n", 3, *line, env=site.env)

    assert ended.status == 78, ended
    assert ended.stderr.count("error:") == 1, ended
    assert "members are there" in ended.stderr or "is damaged" in ended.stderr
    assert tmp_path in archive.parents


def test_a_node_whose_scratch_is_full_is_told(
    dask_runner: DaskRunner, site: Site, tmp_path: Path, require: Require
) -> None:
    wheel(site.wheels, "big", files={"big/data": "x" * (4 << 20)})
    dask_runner("--with", "big", "-c", "pass", env=site.env)
    with mounted(tmp_path / "disk", require, "size=2m") as disk:
        line = ("--with", "big", "--local-directory", disk, "-c", "pass")
        ended = dask_runner(*line, env=site.env)

    assert ended.status == 78, ended
    assert "No space left on device" in ended.stderr
    assert "--local-directory DIR" in ended.stderr


def test_an_archive_that_is_damaged_is_told_and_not_used(
    dask_runner: DaskRunner, site: Site
) -> None:
    dask_runner("--with", "extra", "-c", "pass", env=site.env)
    (archive,) = site.archives
    archive.write_bytes(archive.read_bytes()[:6000])

    ended = dask_runner("-n", 2, "--with", "extra", "-c", "pass", env=site.env)

    assert ended.status == 78, ended
    assert f"{archive} is damaged" in ended.stderr
    assert "remove it" in ended.stderr


# --- ends while packages are resolved ---------------------------------------------


@pytest.fixture
def slow(site: Site) -> Iterator[dict[str, str]]:
    """Variables that name an index which does not answer, and the site's cache."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield at(server, site) | {"UV_HTTP_TIMEOUT": "600"}


def resolving(dask_runner: DaskRunner, env: dict[str, str], *args: Any) -> Run:
    """Start a job, and wait until uv runs."""
    run = dask_runner.start(*args, "--with", "extra", "-c", "print(1)", env=env)
    run.wait_for("resolving 1 requirement")
    until(lambda: run.named("uv"), context=lambda: run.stderr)
    return run


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_a_signal_ends_a_resolution_with_all_ranks(
    dask_runner: DaskRunner,
    site: Site,
    slow: dict[str, str],
    number: int,
    status: int,
) -> None:
    run = resolving(dask_runner, slow, "-n", 3)
    run.signal(number)
    ended = run.wait()

    assert ended.status == status, ended
    assert "Traceback" not in ended.stderr
    assert site.archives == []


def test_a_signal_to_all_processes_is_no_error_of_the_resolution(
    dask_runner: DaskRunner, slow: dict[str, str]
) -> None:
    # As Slurm sends it to a step.
    run = resolving(dask_runner, slow, "-n", 2)
    for pid in run.pids:
        # One may have ended, as those before it have got the signal.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    ended = run.wait()

    assert ended.status == 143, ended
    assert "packages" not in ended.stderr, ended


def test_a_resolver_that_is_killed_is_told(
    dask_runner: DaskRunner, slow: dict[str, str]
) -> None:
    run = resolving(dask_runner, slow, "-n", 2)
    (uv,) = run.named("uv")
    os.kill(uv, signal.SIGKILL)
    ended = run.wait()

    assert ended.status == 69, ended
    assert "uv was killed by SIGKILL while it installed extra" in ended.stderr


def test_a_process_that_prepares_them_and_is_killed_is_told(
    dask_runner: DaskRunner, slow: dict[str, str]
) -> None:
    run = resolving(dask_runner, slow, "-n", 2)
    (uv,) = run.named("uv")
    os.kill(_parent(uv), signal.SIGKILL)
    ended = run.wait()

    assert ended.status == 69, ended
    assert "the process that prepares packages was killed by SIGKILL" in ended.stderr


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().split()[3])


def test_rank_0_that_is_killed_takes_the_resolution_with_it(
    dask_runner: DaskRunner, site: Site, slow: dict[str, str]
) -> None:
    run = resolving(dask_runner, slow, "-n", 2)
    (uv,) = run.named("uv")
    os.kill(_parent(_parent(uv)), signal.SIGKILL)
    ended = run.wait()

    assert ended.status != 0, ended
    assert "SIGKILL" in ended.stderr or "rank 0" in ended.stderr, ended
    assert site.archives == []


def test_the_time_for_ranks_does_not_run_while_packages_are_resolved(
    dask_runner: DaskRunner, slow: dict[str, str]
) -> None:
    run = resolving(dask_runner, slow, "-n", 2, "--timeout", "3")
    # Past that time, which nothing announces.
    with pytest.raises(pytest.fail.Exception, match="not printed"):
        run.wait_for("error", timeout=6)
    run.signal(signal.SIGTERM)

    assert run.wait().status == 143


def test_two_jobs_at_once_do_not_disturb_each_other(
    dask_runner: DaskRunner, site: Site
) -> None:
    runs = [
        dask_runner.start("-n", 2, "--with", "extra", "-c", CODE, env=site.env)
        for _ in range(3)
    ]
    for run in runs:
        ended = run.wait()
        assert (ended.status, ended.stdout) == (0, "1.0 ('1.0', '1.5')\n"), ended
    assert len(site.archives) == 1


def test_info_says_what_the_cache_has(dask_runner: DaskRunner, site: Site) -> None:
    dask_runner("--with", "extra", "-c", "pass", env=site.env)

    ended = dask_runner("info", env=site.env)

    assert f"cache     {site.cache}  (--package-cache; " in ended.stdout, ended
    assert "extra 1.0, more 1.5  (" in ended.stdout, ended


def test_a_runner_in_python_has_them_too(site: Site, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from dask.distributed import Client\n"
        "from dask_runner import Runner\n"
        "with Runner(layout='shared', with_requirements=['more.txt']) as runner:\n"
        "    with Client(runner) as client:\n"
        "        import extra\n"
        "        print(extra.VERSION, client.run(lambda: __import__('more').VERSION))\n"
    )
    (tmp_path / "more.txt").write_text("extra\n")
    with Run((sys.executable, str(script)), env=site.env, cwd=tmp_path) as run:
        ended = run.wait()

    assert ended.status == 0, ended
    assert ended.stdout.startswith("1.0 {"), ended


# --- others that use the cluster ---------------------------------------------------


@pytest.fixture
def served(site: Site) -> Iterator[Run]:
    """A served cluster with a package."""
    with serving("--name", "lab", "--with", "extra", env=site.env) as run:
        yield run


#: Prints the version of a package of each worker, in the order of their names.
VERSIONS = f"""{BEGIN}
def look(dask_worker):
    import extra
    return str(dask_worker.name), extra.VERSION
print(*sorted(client.run(look).values()))
"""


def test_ranks_that_join_have_the_packages_of_their_cluster(served: Run) -> None:
    env = {"HOME": str(served.home)}
    with Run((str(DASK_RUNNER), "join", "-n", "2", "lab"), env=env) as join:
        until(lambda: call(served.home, "list").stdout.split()[-7] == "4")
        told = call(served.home, "connect", "lab", "-c", VERSIONS)
        names = re.findall(r"\('([\w.]+)', '1\.0'\)", told.stdout)
        assert names == ["0", "1", "j1.0", "j1.1"], told
        assert call(served.home, "stop", "lab").returncode == 0
        assert join.wait().status == 0
    assert served.wait().status == 0


def test_a_program_that_connects_has_them_and_leaves_none(served: Run) -> None:
    code = "import extra; extra.main(); print(extra.__file__)"
    for args in (("-c", code), ("--", sys.executable, "-c", code)):
        told = call(served.home, "connect", "lab", *args)
        assert told.returncode == 0, told
        said, file = told.stdout.splitlines()
        assert said == "extra 1.0"
        assert not Path(file).exists()
    # An installed program as well.
    told = call(served.home, "connect", "lab", "--", "extra")
    assert (told.returncode, told.stdout) == (0, "extra 1.0\n"), told
    assert call(served.home, "stop", "lab").returncode == 0
    assert served.wait().status == 0
