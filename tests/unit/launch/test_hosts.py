"""Hosts, as users list them."""

from __future__ import annotations

from pathlib import Path

import pytest

from dask_runner.errors import ConfigError
from dask_runner.launch.hosts import Host, parse_hosts, read_hostfile

FILE = Path("hosts")


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("a", [Host("a")]),
        ("a,b:2", [Host("a"), Host("b", 2)]),
        (" a , user@b.site ,", [Host("a"), Host("user@b.site")]),
        ("a,b,a:3", [Host("a", 4), Host("b")]),
        ("fe80::1", [Host("fe80::1")]),
        ("192.0.2.1:2", [Host("192.0.2.1", 2)]),
    ],
)
def test_a_list_has_each_host_once(text: str, hosts: list[Host]) -> None:
    assert parse_hosts(text) == hosts
    assert parse_hosts(text.split(",")) == hosts


@pytest.mark.parametrize(
    "text",
    ["", ",", "-oProxyCommand=x", "a b", "a:0", "a:x", "a;b", "$(x)", "a:9999999999"],
)
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="names of hosts"):
        parse_hosts(text)


def test_a_file_has_a_host_a_line() -> None:
    text = "# mine\na slots=2\nb:3 # the second\n\nc max_slots=4\na\n"
    found = read_hostfile(FILE, lambda _: text)
    assert found == [Host("a", 3), Host("b", 3), Host("c")]


@pytest.mark.parametrize(
    ("text", "saw"),
    [
        ("", "--hostfile hosts has no hosts"),
        ("a\n-x\n", "--hostfile hosts, line 2: '-x'"),
        ("a slots=no\n", "--hostfile hosts, line 1: 'a slots=no'"),
    ],
)
def test_a_wrong_file_is_refused_with_the_line(text: str, saw: str) -> None:
    with pytest.raises(ConfigError) as failure:
        read_hostfile(FILE, lambda _: text)
    assert failure.value.saw == saw


def test_a_file_that_is_not_there_is_refused() -> None:
    def read(path: Path) -> str:
        del path
        raise FileNotFoundError(2, "No such file or directory")

    with pytest.raises(ConfigError, match="--hostfile hosts: No such file"):
        read_hostfile(FILE, read)
