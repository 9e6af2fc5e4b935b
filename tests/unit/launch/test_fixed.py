"""What a site has fixed, what does not count as fixed, and who is told what."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from dask_runner.errors import ConfigError
from dask_runner.launch import config_files, fixed
from dask_runner.launch.options import OPTIONS, PREFIX
from dask_runner.launch.settings import Setting, settle

if TYPE_CHECKING:
    from pathlib import Path

WHERE = "/etc/dask/a.yaml, runner.fixed.security"


def told(value: Any, site: Any, source: str = "~/b.yaml, runner.security") -> Any:
    return {"security": Setting(value, source, Setting(site, WHERE))}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The site's directory, which seems to be root's."""
    directory = tmp_path / "dask"
    directory.mkdir(mode=0o755)
    monkeypatch.setattr(config_files, "SITE", str(directory))
    monkeypatch.setattr(fixed, "is_hidden", lambda uid: uid == os.geteuid())
    (directory / "a.yaml").touch(mode=0o644)
    return directory


def test_what_is_fixed_is_the_value_with_its_file() -> None:
    setting = dict(settle({}, told(None, "tls")))["security"]

    assert (setting.value, setting.source) == ("tls", WHERE)
    assert setting.site


def test_the_same_wish_is_no_error() -> None:
    assert settle({"security": "tls"}, told("tls", "tls")).security == "tls"


@pytest.mark.parametrize(
    ("given", "wish", "source"),
    [
        ("none", None, "--security"),
        ("none", "tls", "--security"),
        (None, "none", "DASK_RUNNER__SECURITY"),
        (None, "none", "~/b.yaml, runner.security"),
    ],
)
def test_another_wish_is_an_error_that_names_the_sites_file(
    given: str | None, wish: str | None, source: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        settle({"security": given}, told(wish, "tls", source))

    assert caught.value.status == 78
    assert caught.value.saw.startswith(f"{source} = 'none', "), caught.value
    assert WHERE in caught.value.needed
    assert source in caught.value.do


def test_null_fixes_the_default() -> None:
    site = {"dashboard_address": Setting(None, WHERE, Setting(None, WHERE))}

    assert settle({}, site).dashboard_address is None
    with pytest.raises(ConfigError, match="--dashboard-address = ':0'"):
        settle({"dashboard_address": ":0"}, site)


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_each_option_can_be_fixed_at_its_default(option: Any) -> None:
    site = Setting(option.default or None, WHERE)
    found = settle({}, {option.key: Setting(None, WHERE, site)})
    assert getattr(found, option.key) == option.default


def test_a_fixed_value_that_is_wrong_names_the_file() -> None:
    with pytest.raises(ConfigError, match=r"runner\.fixed\.security = 'ssl'"):
        settle({}, told(None, "ssl"))


def test_the_sites_files_are_read_the_last_one_counts(site: Path) -> None:
    (site / "b.yaml").touch(mode=0o644)
    files = [
        (site / "a.yaml", {"runner": {"fixed": {"min-workers": 2, "grace": 3}}}),
        (site / "b.yaml", {"runner": {"fixed": {"min_workers": 3}, "timeout": 9}}),
    ]

    assert fixed.read(files) == {
        "min_workers": (3, f"{site}/b.yaml, runner.fixed.min_workers"),
        "grace": (3, f"{site}/a.yaml, runner.fixed.grace"),
    }


@pytest.mark.parametrize("content", [None, [], {"runner": None}, {"runner": {"a": 1}}])
def test_other_files_are_not_looked_at(tmp_path: Path, content: Any) -> None:
    assert fixed.read([(tmp_path / "mine.yaml", content)]) == {}


@pytest.mark.parametrize("options", [{"security": "none"}, {}, None])
def test_a_users_own_file_fixes_nothing(
    site: Path, tmp_path: Path, options: Any
) -> None:
    own = tmp_path / "mine.yaml"
    with pytest.raises(ConfigError, match=rf"{own}, runner\.fixed: it is no file of"):
        fixed.read([(own, {"runner": {"fixed": options}})])
    assert site


@pytest.mark.parametrize("writable", ["directory", "file"])
@pytest.mark.parametrize("mode", [0o775, 0o757])
def test_a_file_that_others_can_write_fixes_nothing(
    site: Path, writable: str, mode: int
) -> None:
    at = {"directory": site, "file": site / "a.yaml"}[writable]
    at.chmod(mode)
    with pytest.raises(ConfigError, match=f"{at} can be written by others"):
        fixed.read([(site / "a.yaml", {"runner": {"fixed": {}}})])


def test_a_file_of_another_account_fixes_nothing(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fixed.doubt(site / "a.yaml") == ""
    monkeypatch.setattr(fixed, "is_hidden", lambda _: False)
    if os.geteuid() == 0:
        os.chown(site / "a.yaml", 12345, -1)
    assert "belongs to uid" in fixed.doubt(site / "a.yaml")


def test_a_file_that_is_gone_fixes_nothing(site: Path) -> None:
    assert fixed.doubt(site / "b.yaml").endswith("No such file or directory")


def test_what_is_fixed_are_options(site: Path) -> None:
    with pytest.raises(ConfigError, match=r"runner\.fixed = 'security'"):
        fixed.read([(site / "a.yaml", {"runner": {"fixed": "security"}})])


@pytest.mark.parametrize("name", ["DASK_RUNNER__FIXED", "DASK_RUNNER__FIXED__GRACE"])
def test_a_variable_fixes_nothing(name: str) -> None:
    with pytest.raises(ConfigError, match=f"the variable {name}"):
        fixed.refuse_variables({name: "{}"}, PREFIX)
    fixed.refuse_variables({"DASK_RUNNER__FIXEDLY": "1"}, PREFIX)
