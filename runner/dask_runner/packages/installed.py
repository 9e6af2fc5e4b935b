"""The packages that this Python has already, and what kind of Python it is."""

from __future__ import annotations

import platform
import re
import sys
import sysconfig
from dataclasses import dataclass
from importlib.metadata import distributions
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

#: What says of a distribution's directory that it stands for one of the image's.
OURS = "dask-runner"


@dataclass(frozen=True, slots=True)
class Installed:
    """One package that is there.

    Attributes
    ----------
    name, version : str
        The name is normalized.
    metadata : str
        The text that says what it requires.
    """

    name: str
    version: str
    metadata: str

    @property
    def pinned(self) -> str:
        """The requirement that only this version meets."""
        return f"{self.name}=={self.version}"


def normalized(name: str) -> str:
    """Return the form of a package's name in which equal names are equal."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed() -> tuple[Installed, ...]:
    """Return the packages that this process could import, by their names."""
    found: dict[str, Installed] = {}
    for one in distributions():
        text = one.read_text("METADATA") or one.read_text("PKG-INFO")
        name = one.metadata["Name"] if text else None
        # The first on the path is imported.
        if text and name and normalized(name) not in found:
            found[normalized(name)] = Installed(normalized(name), one.version, text)
    return tuple(sorted(found.values(), key=lambda one: one.name))


def stand_in(packages: tuple[Installed, ...], directory: Path) -> None:
    """Make a directory in which the resolver finds these packages, and no code."""
    for one in packages:
        name = one.name.replace("-", "_")
        place = directory / f"{name}-{one.version}.dist-info"
        place.mkdir()
        (place / "METADATA").write_text(one.metadata)
        (place / "INSTALLER").write_text(OURS)
        (place / "RECORD").touch()


def binary_interface() -> str:
    """Return the binary interface of this Python, which compiled modules fit."""
    return str(sysconfig.get_config_var("SOABI") or sys.implementation.cache_tag)


def python() -> tuple[str, ...]:
    """Return all of this Python that what is installed for it depends on."""
    return (
        binary_interface(),
        platform.python_version(),
        sysconfig.get_platform(),
        *platform.libc_ver(),
        sys.prefix,  # console scripts name it
    )
