"""Where an image comes from, for its labels: the commit, its date, the repository.

What git does not say is left out and not guessed: an image of a checkout without git
has no such labels, and neither has one of a checkout with changes of its own.
"""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from containers.entry import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from docker.models.images import Image

PREFIX = "org.opencontainers.image."
SECONDS = 30
#: Addresses that somebody else can use; a path of this machine is none.
SCHEMES = ("https", "http", "ssh", "git")


def provenance(paths: Sequence[str], checkout: Path = ROOT) -> dict[str, str]:
    """Return the labels (OCI's names) that git has for files of a checkout.

    Parameters
    ----------
    paths : sequence of str
        The files and folders that the image is made of. The revision is that of the
        last commit that changed one, so a commit that changes others alone leaves the
        image as it is.
    checkout : pathlib.Path, optional
        The folder with these files.

    Returns
    -------
    dict of str to str
        ``revision``, ``created`` (the commit's date, so that one commit makes one
        image) and ``source``; empty if the files are not just those of a commit.
    """
    if _git(checkout, "status", "--porcelain", "--", *paths) != "":
        return {}
    told = _git(checkout, "log", "-1", "--format=%H %cI", "--", *paths)
    if not told:
        return {}
    revision, created = told.split()
    remote = _git(checkout, "remote", "get-url", "origin")
    found = {"revision": revision, "created": created, "source": address(remote or "")}
    return {f"{PREFIX}{name}": value for name, value in found.items() if value}


def _git(checkout: Path, *words: str) -> str | None:
    """Return what git prints; None without git, without a repository or in another's.

    A checkout that was unpacked inside some repository is not that one's.
    """
    if not (checkout / ".git").exists():
        return None
    try:
        done = subprocess.run(
            # Paths may be inside a container, as another user than their owner.
            ["git", "-c", f"safe.directory={checkout}", *words],
            cwd=checkout,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def address(remote: str) -> str:
    """Return a remote's address for everybody: no login, no path of this machine.

    Examples
    --------
    >>> address("https://me:secret@example.org/group/dask-runner.git")
    'https://example.org/group/dask-runner.git'
    >>> address("git@example.org:group/dask-runner.git")
    'ssh://example.org/group/dask-runner.git'
    >>> address("/home/me/dask-runner")
    ''
    """
    if "://" not in remote:
        host, colon, path = remote.partition(":")
        if not colon or "/" in host:
            return ""
        remote = f"ssh://{host}/{path}"
    parts = urlsplit(remote)
    if parts.scheme not in SCHEMES or not parts.hostname:
        return ""
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def digest(base: Image) -> dict[str, str]:
    """Return the label of a base image's digest, if it came from a registry.

    One that was made of Debian's packages has none. The site's settings on top
    (:mod:`containers.site`) are no part of it.
    """
    found = base.attrs.get("RepoDigests") or []
    return {f"{PREFIX}base.digest": each.partition("@")[2] for each in found[:1]}
