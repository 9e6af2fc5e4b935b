"""Which page of which cluster a path means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dask_runner.launch.values import NAME
from dask_runner.proxy.access import FIRST_PAGE

if TYPE_CHECKING:
    from collections.abc import Callable

_FIRST = FIRST_PAGE.removeprefix("/")


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a cluster's dashboard.

    Attributes
    ----------
    name : str or None
        The cluster's; None for the one that is served, or the only one.
    target : str
        Path and query at the dashboard.
    prefix : str
        What stands before them in this proxy's paths.
    """

    name: str | None
    target: str
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class Moved:
    """The page is elsewhere; *location* is relative, as a prefix may stand before."""

    location: str


@dataclass(frozen=True, slots=True)
class Index:
    """The list of the clusters."""


def of_one(target: str) -> Page | Moved:
    """Return what a path means where one cluster is served."""
    return Moved(_FIRST) if target.partition("?")[0] == "/" else Page(None, target)


def of_all(target: str, is_one: Callable[[str], bool]) -> Page | Moved | Index:
    """Return what a path means where all clusters are served.

    Parameters
    ----------
    target : str
        Path and query.
    is_one : callable
        Says whether a cluster has a name.
    """
    path, question, query = target.partition("?")
    if path == "/":
        return Index()
    name, slash, rest = path.removeprefix("/").partition("/")
    if not NAME.fullmatch(name) or not is_one(name):
        return Page(None, target)
    if not rest:
        return Moved(_FIRST if slash else f"{name}/{_FIRST}")
    return Page(name, f"/{rest}{question}{query}", f"/{name}")
