"""Options from the files of Dask's configuration, which a process reads once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.programs import printed

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home without any configuration; also for Dask's own places."""
    home = tmp_path / "home"
    (home / ".config" / "dask").mkdir(parents=True)
    return home


def environ(home: Path, **more: str) -> dict[str, str]:
    return {"HOME": str(home), "DASK_ROOT_CONFIG": "/nowhere", **more}


def in_a_process(home: Path, yaml: str, **more: str) -> str:
    """Return repr(settings.timeout) or the error, as a new process sees it."""
    (home / ".config" / "dask" / "my.yaml").write_text(yaml)
    code = (
        "import os\n"
        "from dask_runner.errors import RunnerError\n"
        "from dask_runner.launch.settings import configured, settle\n"
        "try:\n"
        "    settings = settle({}, configured(os.environ))\n"
        "    print(settings.timeout, dict(settings)['timeout'].source)\n"
        "except RunnerError as error:\n"
        "    print(error.status, error)\n"
    )
    return printed(code, environ(home, **more))


def test_a_file_of_dasks_configuration_sets_options(home: Path) -> None:
    said = in_a_process(home, "runner: {timeout: 12}\n")
    assert said == f"12.0 {home}/.config/dask/my.yaml, runner.timeout"


def test_the_file_that_counts_is_named(home: Path) -> None:
    own = home / ".config" / "dask"
    (own / "a.yaml").write_text("runner: {timeout: soon, min_workers: 0}\n")

    said = in_a_process(home, "runner: {timeout: 12}\n")

    assert said.startswith(f"78 {own}/a.yaml, runner.min_workers = 0"), said


def test_a_value_that_a_program_sets_is_no_files(home: Path) -> None:
    (home / ".config" / "dask" / "my.yaml").write_text("runner: {timeout: 12}\n")
    code = (
        "import os, dask\n"
        "from dask_runner.launch.settings import configured\n"
        "with dask.config.set({'runner.timeout': 13}):\n"
        "    found = configured(os.environ)['timeout']\n"
        "    print(found.value, found.source)\n"
    )

    said = printed(code, environ(home))

    assert said == "13 Dask's configuration, runner.timeout"


@pytest.mark.parametrize(
    ("mine", "more", "words"),
    [
        (
            "timeout: 12",
            {},
            "my.yaml, runner.timeout = 12.0, which this site",
        ),
        ("fixed: {timeout: 12}", {}, "my.yaml, runner.fixed: it is no file of"),
        ("fixed: null", {"DASK_RUNNER__TIMEOUT": "12"}, "my.yaml, runner.fixed: it is"),
        ("grace: 3", {"DASK_ROOT_CONFIG": "{home}", "DASK_CONFIG": "{home}"}, "7.0 "),
    ],
)
def test_what_a_site_has_fixed_is_not_undone(
    home: Path, tmp_path: Path, mine: str, more: dict[str, str], words: str
) -> None:
    (home / ".config/dask/my.yaml").write_text(f"runner: {{{mine}}}\n")
    site = tmp_path / "dask"
    site.mkdir(mode=0o755)
    (site / "site.yaml").write_text("runner: {fixed: {timeout: 7}}\n")
    code = (
        "import os\n"
        "from dask_runner.errors import RunnerError\n"
        "from dask_runner.launch import config_files, fixed\n"
        "from dask_runner.launch.settings import configured, settle\n"
        f"config_files.SITE = {str(site)!r}\n"
        "fixed.is_hidden = lambda uid: uid == os.geteuid()\n"
        "try:\n"
        "    print(settle({}, configured(os.environ)).timeout, 'counts')\n"
        "except RunnerError as error:\n"
        "    print(error.status, error)\n"
    )

    variables = {name: value.format(home=home) for name, value in more.items()}
    said = printed(code, environ(home, **variables))

    assert words in said, said


def test_a_variable_comes_before_a_file(home: Path) -> None:
    said = in_a_process(home, "runner: {timeout: 12}\n", DASK_RUNNER__TIMEOUT="13")
    assert said == "13.0 DASK_RUNNER__TIMEOUT"


def test_a_name_with_a_dash_is_the_same_option(home: Path) -> None:
    assert in_a_process(home, "runner: {min-workers: 0}\n").startswith("78 ")


@pytest.mark.parametrize(
    ("yaml", "word"),
    [
        ("runner: {timeout: [\n", "my.yaml"),
        ("runner: 5\n", "runner = 5"),
        ("runner: [timeout]\n", "runner = ['timeout']"),
        ("runner: {timeuot: 5}\n", "timeuot"),
        ("runner: {timeout: {a: 1}}\n", "runner.timeout"),
        ("runner: {1: 2}\n", "configuration"),
    ],
)
def test_a_bad_file_is_an_error_that_names_it(home: Path, yaml: str, word: str) -> None:
    said = in_a_process(home, yaml)
    assert said.startswith("78 "), said
    assert word in said
    assert "needed: " in said
    assert "you can: " in said


def test_no_options_below_runner_is_no_error(home: Path) -> None:
    assert in_a_process(home, "runner:\n").endswith(" default")
    assert in_a_process(home, "other: 1\n").endswith(" default")


def test_dask_is_imported_only_where_a_file_says_something(home: Path) -> None:
    code = (
        "import os, sys\n"
        "from dask_runner.launch.settings import configured\n"
        "configured(os.environ)\n"
        "print('dask' in sys.modules)\n"
    )
    for text, wanted in (("# runner:\n#   timeout: 1\n", "False"), ("a: 1\n", "True")):
        (home / ".config" / "dask" / "distributed.yaml").write_text(text)
        assert printed(code, environ(home)) == wanted
