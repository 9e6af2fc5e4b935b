"""Under which address a node is known."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from pathlib import Path

import pytest

from dask_runner.errors import ConfigError
from dask_runner.launch.world import World
from dask_runner.meeting import addresses
from dask_runner.meeting.addresses import (
    LOOPBACK,
    interfaces,
    of_interface,
    own_address,
)

TWO_NODES = World("slurm", 0, 4, 0, 2, "1", "slurm.1", "file")
ONE_NODE = replace(TWO_NODES, local_size=4)
KNOWN = {
    "lo": "127.0.0.1",
    "eth0": "10.0.0.5",
    "ib0": "10.1.0.5",
    "virbr0": "192.168.122.1",
}


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A node with several interfaces, whose name does not resolve."""
    monkeypatch.setattr(addresses, "interfaces", lambda: KNOWN)
    monkeypatch.setattr(addresses, "_resolved", lambda _: [])
    monkeypatch.setattr(addresses, "_default_route", lambda: "")
    return monkeypatch


def test_the_loopback_of_this_machine_is_found() -> None:
    found = interfaces()
    assert found["lo"] == LOOPBACK
    assert all(ipaddress.ip_address(address) for address in found.values())


def test_an_interface_that_is_not_there_is_an_error_that_lists_those_that_are() -> None:
    with pytest.raises(ConfigError) as caught:
        of_interface("nope0")
    assert "nope0" in caught.value.saw
    assert "lo (127.0.0.1)" in caught.value.saw
    assert caught.value.needed
    assert caught.value.do


def test_a_very_long_name_of_an_interface_is_the_same_error() -> None:
    with pytest.raises(ConfigError):
        of_interface("x" * 1000)


def test_the_interface_that_was_named_counts(node: pytest.MonkeyPatch) -> None:
    del node
    assert own_address(TWO_NODES, "ib0") == "10.1.0.5"
    assert own_address(ONE_NODE, "ib0") == "10.1.0.5"


def test_on_one_node_the_hub_is_not_to_be_reached_from_elsewhere(
    node: pytest.MonkeyPatch,
) -> None:
    del node
    assert own_address(ONE_NODE, None) == LOOPBACK


def test_the_address_of_the_nodes_own_name_comes_first(
    node: pytest.MonkeyPatch,
) -> None:
    node.setattr(addresses, "_resolved", lambda _: ["127.0.1.1", "10.1.0.5"])
    assert own_address(TWO_NODES, None) == "10.1.0.5"


def test_a_name_that_is_some_other_machines_does_not_count(
    node: pytest.MonkeyPatch,
) -> None:
    node.setattr(addresses, "_resolved", lambda _: ["203.0.113.7"])
    node.setattr(addresses, "_default_route", lambda: "ib0")
    assert own_address(TWO_NODES, None) == "10.1.0.5"


def test_else_the_default_route_and_else_any(node: pytest.MonkeyPatch) -> None:
    assert own_address(TWO_NODES, None) == "10.0.0.5"
    node.setattr(addresses, "_default_route", lambda: "virbr0")
    assert own_address(TWO_NODES, None) == "192.168.122.1"


def test_ranks_that_are_likely_on_one_node_have_its_loopback(
    node: pytest.MonkeyPatch,
) -> None:
    node.setattr(addresses, "interfaces", lambda: {"lo": LOOPBACK})
    assert own_address(replace(TWO_NODES, local_size=None), None) == LOOPBACK


def test_a_node_without_a_network_says_so_to_ranks_of_others(
    node: pytest.MonkeyPatch,
) -> None:
    node.setattr(addresses, "interfaces", lambda: {"lo": LOOPBACK, "lo6": "::1"})
    with pytest.raises(ConfigError, match="no address but its loopback's, and only 2"):
        own_address(TWO_NODES, None)


IF_INET6 = """\
00000000000000000000000000000001 01 80 10 80       lo
fe8000000000000000fc00fffe000001 04 40 20 80     eth0
fd000000000000000000000000000002 04 40 00 82     eth0
20010db8000000000000000000000007 05 40 00 80      ib0
fe8000000000000000fc00fffe000002 06 40 20 80     eth1
"""
IPV6_ROUTE = (
    f"{0:032x} 00 {0:032x} 00 {0:032x} ffffffff 00000001 00000000 00200200       lo\n"
    f"{0:032x} 00 {0:032x} 00 {1:032x} 00000400 00000001 00000000 00000003      ib0\n"
)


def test_a_node_of_ipv6_alone_has_an_address_that_is_more_than_a_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "if_inet6").write_text(IF_INET6)
    (tmp_path / "ipv6_route").write_text(IPV6_ROUTE)
    monkeypatch.setattr(addresses, "_interfaces_4", lambda: {"lo": LOOPBACK})
    monkeypatch.setattr(addresses, "_ADDRESSES_6", tmp_path / "if_inet6")
    monkeypatch.setattr(addresses, "_ROUTES", tmp_path / "none")
    monkeypatch.setattr(addresses, "_ROUTES_6", tmp_path / "ipv6_route")
    monkeypatch.setattr(addresses, "_resolved", lambda _: [])
    assert interfaces() == {"lo": LOOPBACK, "eth0": "fd00::2", "ib0": "2001:db8::7"}
    assert own_address(TWO_NODES, None) == "2001:db8::7"
    assert of_interface("eth0") == "fd00::2"


def test_where_no_routes_can_be_read_there_is_no_default_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(addresses, "_ROUTES", Path("/nowhere"))
    monkeypatch.setattr(addresses, "_ROUTES_6", Path("/nowhere"))
    assert addresses._default_route() == ""  # noqa: SLF001
