"""Which dask-runner this is: its version, and the commit where that is known."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING

from dask_runner import __version__
from dask_runner.mpi import image

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Written when the image was built (images/docker_image.py).
FILE = Path(sys.prefix) / "provenance.json"

_PREFIX = "org.opencontainers.image."


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a dask-runner comes from; what is not known is empty.

    Attributes
    ----------
    version : str
    revision, created, source : str
        The commit, its date, and the repository's address.
    base_digest : str
        Of the base image, if this is an image whose base came from a registry.
    packages : dict of str to str
        What an image has, by name.
    """

    version: str
    revision: str = ""
    created: str = ""
    source: str = ""
    base_digest: str = ""
    packages: Mapping[str, str] | None = None


def origin(file: Path = FILE, facts: Path = image.FACTS) -> Origin:
    """Return the origin of what runs, from the image's files or pip's record."""
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Origin(__version__, *installed_from())
    measured = image.facts(facts) or {}
    return Origin(
        __version__,
        told.get(f"{_PREFIX}revision", ""),
        told.get(f"{_PREFIX}created", ""),
        told.get(f"{_PREFIX}source", ""),
        told.get(f"{_PREFIX}base.digest", ""),
        {"Python": measured.get("python", ""), **measured.get("packages", {})},
    )


def installed_from() -> tuple[str, str, str]:
    """Return commit, date and repository as pip wrote them down (PEP 610).

    pip knows them of ``pip install git+https://…`` alone, and no date.
    """
    try:
        text = distribution("dask-runner").read_text("direct_url.json")
    except PackageNotFoundError:
        return "", "", ""
    told = json.loads(text or "{}")
    revision = told.get("vcs_info", {}).get("commit_id", "")
    return revision, "", told["url"] if revision else ""
