"""Where an option's value comes from, and what is refused with which words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask.config
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_runner.errors import ConfigError, UsageError
from dask_runner.launch.hosts import Host
from dask_runner.launch.options import BY_KEY, OPTIONS, PREFIX, Option
from dask_runner.launch.settings import Setting, Settings, configured, settle

if TYPE_CHECKING:
    from pathlib import Path

#: For each option a value that is not its default, as the command line has it,
#: and what becomes of it.
OTHER: dict[str, tuple[Any, Any]] = {
    "nranks": ("4", 4),
    "hosts": ("a,b:2", [Host("a"), Host("b", 2)]),
    "hostfile": ("hosts", "hosts"),
    "image": ("/x.sif", "/x.sif"),
    "launcher": ("none", "none"),
    "name": ("lab", "lab"),
    "size": ("3", 3),
    "meet": ("tcp://[::1]:7700", ("::1", 7700)),
    "secret_file": ("secret", "secret"),
    "layout": ("dedicated", "dedicated"),
    "min_workers": ("2", 2),
    "spare": ("1", 1),
    "timeout": ("7.5", 7.5),
    "grace": ("1", 1.0),
    "stop_before": ("60", 60.0),
    "requeue_before": ("120", 120.0),
    "idle_timeout": ("600", 600.0),
    "no_client_timeout": ("90", 90.0),
    "silence": ("8", 8.0),
    "security": ("none", "none"),
    "report": ("r.html", ["r.html"]),
    "label": (False, False),
    "log_directory": ("logs", "logs"),
    "progress": (False, False),
    "quiet": (True, True),
    "nworkers": ("auto", "auto"),
    "nthreads": ("3", 3),
    "memory_limit": ("2GB", "2GB"),
    "nanny": (False, False),
    "mpi_tasks": (True, True),
    "worker_class": ("a.B", "a.B"),
    "local_directory": ("/x", "/x"),
    "interface": ("ib0", "ib0"),
    "ports": ("20000-20099", "20000-20099"),
    "protocol": ("wss", "wss"),
    "preload": (("a", "b"), ["a", "b"]),
    "preload_modules": ("numpy, pandas", ["numpy", "pandas"]),
    "resources": ("GPU=2 MEM=1e9", {"GPU": 2.0, "MEM": 1e9}),
    "dashboard_address": (":0", ":0"),
    "dashboard": (False, False),
    "with": (("a", "b>=1,<2, c"), ["a", "b>=1,<2", "c"]),
    "with_requirements": (("a.txt", "b.txt"), ["a.txt", "b.txt"]),
    "package_cache": ("/shared/packages", "/shared/packages"),
    "scheduler_file": ("s-{job_id}.json", "s-{job_id}.json"),
}

every_option = pytest.mark.parametrize("option", OPTIONS, ids=lambda o: o.name)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home without any configuration; also for Dask's own places."""
    home = tmp_path / "home"
    (home / ".config" / "dask").mkdir(parents=True)
    return home


def environ(home: Path, **more: str) -> dict[str, str]:
    return {"HOME": str(home), "DASK_ROOT_CONFIG": "/nowhere", **more}


def test_every_option_is_tried_here() -> None:
    assert OTHER.keys() == BY_KEY.keys()


@every_option
def test_an_option_comes_from_the_command_line(option: Option) -> None:
    given, value = OTHER[option.key]
    setting = dict(settle({option.key: given}, {}))[option.key]
    assert setting == Setting(value, f"--{option.name}")


@every_option
def test_an_option_comes_from_its_variable(option: Option, home: Path) -> None:
    given, value = OTHER[option.key]
    text = str(given)
    found = configured(environ(home, **{option.variable: text}))
    assert dict(settle({}, found))[option.key] == Setting(value, option.variable)


@every_option
def test_the_command_line_comes_before_the_configuration(option: Option) -> None:
    given, value = OTHER[option.key]
    other = {option.key: Setting(option.default, "elsewhere")}
    assert getattr(settle({option.key: given}, other), option.key) == value


@every_option
def test_an_option_has_a_default_and_a_help(option: Option) -> None:
    settings = settle({}, {})
    assert getattr(settings, option.key) == option.default
    assert dict(settings)[option.key].source == "default"
    assert option.help.endswith((".", '".'))


@every_option
def test_null_in_the_configuration_is_the_default(option: Option) -> None:
    settings = settle({}, {option.key: Setting(None, "a file")})
    assert getattr(settings, option.key) == option.default


@every_option
@given(
    value=st.text() | st.floats() | st.integers() | st.booleans() | st.lists(st.none())
)
def test_no_value_trips_more_than_an_error_of_ours(option: Option, value: Any) -> None:
    try:
        settle({}, {option.key: Setting(value, "a file")})
    except ConfigError as error:
        assert "a file" in error.saw  # noqa: PT017  where it is raised at all
        assert error.needed  # noqa: PT017
        assert error.do  # noqa: PT017


BAD = {
    "nranks": ["0", "-1", "x", "", "1.5", "1e9999"],
    "layout": ["Shared", ""],
    "timeout": ["0", "-1", "nan", "inf", "soon"],
    "grace": ["-0"],
    "security": ["TLS", "yes"],
    "nworkers": ["0", "many", "-2"],
    "nthreads": ["0", "two"],
    "ports": ["80-90", "20000-", "30000-20000", "1024-65536", "http", "20000:20099"],
    "resources": ["GPU", "GPU=", "GPU=x", "=2"],
}


@pytest.mark.parametrize(
    ("key", "text"), [(key, text) for key, texts in BAD.items() for text in texts]
)
def test_a_bad_value_is_a_usage_error_on_the_command_line_and_else_a_config_error(
    key: str, text: str
) -> None:
    with pytest.raises(UsageError) as usage:
        settle({key: text}, {})
    with pytest.raises(ConfigError) as config:
        settle({}, {key: Setting(text, PREFIX + key.upper())})
    assert f"--{BY_KEY[key].name}" in usage.value.saw
    assert PREFIX + key.upper() in config.value.saw
    for error in (usage.value, config.value):
        assert repr(text) in error.saw
        assert error.needed
        assert error.do


def test_an_unknown_key_is_refused_with_all_that_there_are(home: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        settle({}, configured(environ(home, DASK_RUNNER__TIMOUT="3")))
    assert "DASK_RUNNER__TIMOUT" in caught.value.saw
    assert "timeout" in caught.value.needed


def test_a_settings_object_has_options_and_nothing_else() -> None:
    settings = Settings({"timeout": Setting(1.0, "x")})
    assert settings.timeout == 1.0
    assert settings.plain() == {"timeout": 1.0}
    with pytest.raises(AttributeError):
        _ = settings.tiemout


def test_a_home_that_cannot_be_read_has_no_files(tmp_path: Path) -> None:
    (tmp_path / "home").touch()
    assert configured(environ(tmp_path / "home")) == {}


def test_without_a_home_in_the_environment_that_of_the_user_is_looked_at(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(home))
    assert configured({"DASK_ROOT_CONFIG": "/nowhere"}) == {}

    # Dask has been imported; that it is asked shows that the file was seen.
    (home / ".config/dask/my.yaml").write_text("runner: {}\n")
    with dask.config.set({"runner": {"timeout": 3}}):
        (found,) = configured({"DASK_ROOT_CONFIG": "/nowhere"}).items()
    assert found == ("timeout", Setting(3, "Dask's configuration, runner.timeout"))


def test_deeply_nested_text_in_a_variable_is_text(home: Path) -> None:
    found = configured(environ(home, DASK_RUNNER__SCHEDULER_FILE="(" * 5000))
    assert settle({}, found).scheduler_file == "(" * 5000


def test_a_cluster_ends_before_its_job_in_one_way() -> None:
    with pytest.raises(ConfigError, match="--stop-before and --requeue-before"):
        settle({"stop_before": 60, "requeue_before": 120}, {})
