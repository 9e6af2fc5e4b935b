"""Make the archive of added packages, unless the cache has it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dask_runner.errors import ConfigError
from dask_runner.packages import archive, installed, key, resolver, settings
from dask_runner.packages.cache import Cache, place

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dask_runner.launch.settings import Requested


@dataclass(frozen=True, slots=True)
class Built:
    """The archive that a job uses.

    Attributes
    ----------
    path, key : str
    packages : dict of str to str
        The versions of the packages in it.
    seconds : float
        How long it took to make; 0 where the cache had it.
    """

    path: str
    key: str
    packages: dict[str, str]
    seconds: float


def build(
    requested: Requested,
    named: str | None,
    scratch: Path,
    environ: Mapping[str, str],
    begins: Callable[[], None],
) -> Built:
    """Return the archive, and make it first if there is none.

    Parameters
    ----------
    requested : Requested
    named : str or None
        The cache that the user has named.
    scratch : Path
        A private directory that does not exist yet, for what is needed meanwhile.
    environ : mapping
    begins : callable
        Is called before packages are resolved.

    Raises
    ------
    RunnerError
        If that is not possible.
    """
    variables = settings.of_uv(environ)
    decisive = settings.decisive(variables)
    image = installed.installed()
    inputs = key.inputs(requested, decisive, Path.cwd())
    its = key.key(inputs, decisive, installed.python(), image)
    cache = Cache(place(named, environ))
    cache.prepare()
    path = str(cache.path_of(its))
    if (found := cache.find(its)) is not None:
        return Built(path, its, found.packages, 0.0)
    began = time.monotonic()
    uv = resolver.find(environ, variables)
    begins()
    try:
        scratch.mkdir(0o700)
        target, packages = uv.install(requested, image, scratch)
    except OSError as error:
        raise ConfigError(
            f"packages cannot be installed in {scratch.parent}: {error.strerror}",
            "a disk of rank 0's node with room for them",
            "name another one with --local-directory DIR",
        ) from error
    its_manifest = archive.Manifest(
        its,
        installed.binary_interface(),
        packages,
        (*requested.lines, *map(os.path.basename, requested.files)),
    )
    cache.tidy()
    with cache.adding(its) as file:
        archive.pack(its_manifest, target, file)
    # What has the name by now may be another job's, or somebody else's.
    kept = cache.find(its)
    if kept is None:
        raise ConfigError(
            f"{path} was removed as soon as it was made",
            "a directory for packages that nothing empties meanwhile",
            "name another one with --package-cache DIR",
        )
    return Built(path, its, kept.packages, time.monotonic() - began)
