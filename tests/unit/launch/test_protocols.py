"""What may be spoken by a cluster that has keys."""

from __future__ import annotations

from typing import Any

import pytest

from dask_runner.errors import ConfigError
from dask_runner.launch import protocols
from dask_runner.launch.settings import Setting, settle

OPEN = ["ws", "ucx", "tcp", "inproc", "pigeon", "ws://", "TLS"]


def refused(**given: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        protocols.check(settle({}, {}), **given)
    assert caught.value.status == 78
    assert "--security none" in caught.value.do
    return caught.value


@pytest.mark.parametrize("name", OPEN)
def test_a_protocol_that_does_not_check_is_refused_wherever_it_comes_from(
    name: str,
) -> None:
    with pytest.raises(ConfigError) as flag:
        settle({"protocol": name}, {})
    with pytest.raises(ConfigError) as file:
        settle({}, {"protocol": Setting(name, "DASK_RUNNER__PROTOCOL")})

    assert f"--protocol = {name!r}" in flag.value.saw
    assert f"DASK_RUNNER__PROTOCOL = {name!r}" in file.value.saw
    for error in (flag.value, file.value):
        assert error.status == 78
        assert error.needed.endswith("tls or wss")
        assert "--security none" in error.do


@pytest.mark.parametrize("name", [None, "tls", "wss", "tls://"])
def test_one_that_checks_is_taken(name: str | None) -> None:
    assert settle({"protocol": name}, {}).protocol == name


@pytest.mark.parametrize("name", ["ws", "tcp", "ucx"])
def test_without_security_any_is_taken(name: str) -> None:
    settings = settle({"protocol": name, "security": "none"}, {})

    protocols.check(settings, {"protocol": name}, {"security": {}}, f"{name}://c1:1")


@pytest.mark.parametrize("options", ["scheduler_options", "worker_options"])
@pytest.mark.parametrize(
    ("key", "value", "word"),
    [
        ("protocol", "ws", "'ws'"),
        ("protocol", ["tls", "tcp"], "'tcp'"),
        ("host", "ws://10.0.0.1", "'ws://10.0.0.1'"),
        ("host", ["10.0.0.1", "tcp://10.0.0.2:0"], "'tcp://10.0.0.2:0'"),
        ("contact_address", "ws://10.0.0.1:1", "'ws://10.0.0.1:1'"),
        ("security", {"require_encryption": False}, "security in"),
    ],
)
def test_options_for_dasks_classes_open_nothing(
    options: str, key: str, value: object, word: str
) -> None:
    error = refused(**{options: {key: value}})

    assert f"{key} in {options}" in error.saw
    assert word in error.saw


def test_a_scheduler_elsewhere_has_to_check_as_well() -> None:
    assert "tcp://c1:8786" in refused(scheduler_address="tcp://c1:8786").saw

    protocols.check(settle({}, {}), scheduler_address="tls://c1:8786")


def test_dasks_jupyter_server_is_on_no_port() -> None:
    at = {"jupyter": True, "dashboard_address": ":8787"}

    assert "jupyter" in refused(scheduler_options=at).saw

    settings = settle({"dashboard_address": "127.0.0.1:8787"}, {})
    with pytest.raises(ConfigError):
        protocols.check(settings, {"jupyter": True})
    protocols.check(settings, {"jupyter": True, "dashboard_address": None})
    protocols.check(settle({}, {}), {"jupyter": True})


def test_other_options_are_none_of_its_business() -> None:
    options = {"host": "10.0.0.1", "interface": "ib0", "dashboard_address": ":0"}

    protocols.check(settle({}, {}), options, {**options, "resources": {"A": 1}})
