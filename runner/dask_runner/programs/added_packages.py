"""The packages that a cluster adds to the image's, in the processes that run its code.

They come after the image's own on the path, so that none of them is in the place of a
module that Dask or this program imports.
"""

from __future__ import annotations

import os
import site
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from dask_runner.launch.own_variables import PACKAGES_FOR_VARIABLE, PACKAGES_VARIABLE
from dask_runner.programs.command import environment

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Where this process looks already.
_used: set[str] = set()


def use(packages: str) -> None:
    """Look for modules in a directory of packages as well, and have children do so.

    Programs that packages have brought are found last, too.
    """
    if packages in _used:
        return
    _used.add(packages)
    # It runs the .pth files there, as those of any directory of packages.
    site.addsitedir(packages)
    # The agent has looked for some packages before its forks, and Dask keeps what it
    # has found.
    for each in vars(sys.modules.get("distributed.versions", object)).values():
        if hasattr(each, "cache_clear"):
            each.cache_clear()
    own = sys.implementation.cache_tag, sys.prefix
    os.environ[PACKAGES_VARIABLE] = packages
    os.environ[PACKAGES_FOR_VARIABLE] = " ".join(map(str, own))
    os.environ |= on_path(packages, os.environ)
    # Pythons that a task starts find them as those below the program do.
    os.environ |= environment(os.environ)


def on_path(packages: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which programs of packages are found, after others."""
    programs = str(Path(packages) / "bin")
    path = environ.get("PATH", os.defpath).split(os.pathsep)
    if not packages or programs in path:
        return dict(environ)
    return {**environ, "PATH": os.pathsep.join([*path, programs])}
