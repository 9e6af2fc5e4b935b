"""Hosts on which ``dask-runner --hosts`` starts ranks, as the user lists them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dask_runner.errors import ConfigError
from dask_runner.launch.numbers import MOST_RANKS, parse_digits_or_none, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

#: What ssh takes for a host, perhaps with a user. A hyphen at the beginning would be an
#: option of ssh.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@%+=:\[\]-]{0,253}", re.ASCII)
WORDS = "names of hosts, each perhaps with a number of ranks, such as a,b:2"


@dataclass(frozen=True, slots=True)
class Host:
    """A host, as ssh is told it, and how many ranks it gets."""

    name: str
    slots: int = 1


def parse_hosts(text: str | Iterable[str]) -> list[Host]:
    """Read ``a,b:2,user@c``; ValueError for anything else."""
    words = text.split(",") if isinstance(text, str) else map(str, text)
    return _merged([_host(word.strip()) for word in words if word.strip()])


def _host(word: str) -> Host:
    name, colon, slots = word.rpartition(":")
    # An IPv6 address has colons of its own, and several.
    if not colon or ":" in name:
        name, slots = word, "1"
    number = parse_digits_or_none(slots)
    if not _NAME.fullmatch(name) or not number or number > MOST_RANKS:
        raise ValueError(WORDS)
    return Host(name, number)


def _merged(hosts: list[Host]) -> list[Host]:
    """Return each host once, with all its ranks, in the order of the first mention."""
    if not hosts:
        raise ValueError(WORDS)
    slots: dict[str, int] = {}
    for host in hosts:
        slots[host.name] = slots.get(host.name, 0) + host.slots
    return [Host(name, number) for name, number in slots.items()]


def read_hostfile(path: Path, read: Callable[[Path], str]) -> list[Host]:
    """Read a file with a host a line: ``host``, ``host slots=2`` or ``host:2``.

    Raises
    ------
    ConfigError
        If it cannot be read, or has no hosts.
    """
    try:
        lines = read(path).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"--hostfile {path}: {getattr(error, 'strerror', None) or 'is no text'}",
            "a file with a host a line",
            "name one that you can read",
        ) from error
    found = []
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        slots = [one.partition("=")[2] for one in words[1:] if one.startswith("slots=")]
        try:
            found.append(_host(":".join([words[0], *slots[:1]])))
        except ValueError as error:
            raise ConfigError(
                f"--hostfile {path}, line {number}: {quoted(line)}",
                "a host, perhaps with its number of ranks: node1 slots=2",
                "correct the line",
            ) from error
    if not found:
        raise ConfigError(
            f"--hostfile {path} has no hosts",
            "a host a line, perhaps with its number of ranks: node1 slots=2",
            "write the hosts into it",
        )
    return _merged(found)
