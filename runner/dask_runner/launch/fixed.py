"""What a site has fixed: the options below ``runner.fixed`` in its own files.

They guard a user against mistakes, and not the site against the user: who runs another
image, or this one without the site's files, is not asked. So the files count that only
root can have written, in the site's directory and nowhere else; a variable or a file
that seems to fix something else is an error.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dask_runner.errors import ConfigError
from dask_runner.launch import config_files
from dask_runner.launch.numbers import quoted
from dask_runner.linux import is_hidden

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: The key below ``runner:`` with the options that are fixed.
KEY = "fixed"


def read(files: Iterable[tuple[Path, Any]]) -> dict[str, tuple[Any, str]]:
    """Return what is fixed: for each option its value, and where that stands.

    Parameters
    ----------
    files : iterable of pairs
        Paths and what is in them, the site's last: what counts most.

    Raises
    ------
    ConfigError
        If a file fixes something that is not the site's, or that others can write.
    """
    found: dict[str, tuple[Any, str]] = {}
    for path, content in files:
        section = content.get("runner") if isinstance(content, dict) else None
        if not isinstance(section, dict) or KEY not in section:
            continue
        where = f"{path}, runner.{KEY}"
        if why := doubt(path):
            raise _not_the_sites(f"{where}: {why}", path)
        options = section[KEY] or {}
        if not isinstance(options, dict):
            raise ConfigError(
                f"{where} = {quoted(options)}",
                "options below it, such as `fixed: {security: tls}`",
                "ask those who look after this machine to correct it",
            )
        for name, value in options.items():
            found[str(name).replace("-", "_")] = value, f"{where}.{name}"
    return found


def refuse_variables(environ: Mapping[str, str], prefix: str) -> None:
    """Refuse variables that seem to fix something.

    Raises
    ------
    ConfigError
    """
    own = f"{prefix}{KEY.upper()}"
    for name in environ:
        if name == own or name.startswith(f"{own}__"):
            raise _not_the_sites(f"the variable {name}", None)


def doubt(path: Path) -> str:
    """Return why a file does not fix anything; empty if it does."""
    site = Path(config_files.SITE)
    if path.parent != site:
        return f"it is no file of {site}"
    for one in (site, path):
        try:
            found = one.stat()
        except OSError as error:
            return f"{one}: {os.strerror(error.errno or 0)}"
        if found.st_uid and not is_hidden(found.st_uid):
            return f"{one} belongs to uid {found.st_uid}"
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return f"{one} can be written by others (mode {found.st_mode & 0o7777:04o})"
    return ""


def _not_the_sites(saw: str, path: Path | None) -> ConfigError:
    own = path is None or path.parent != Path(config_files.SITE)
    return ConfigError(
        saw,
        f"for runner.{KEY}, a file in {config_files.SITE} that only root can write",
        "remove it, and set the option itself (below `runner:`, or as its variable)"
        if own
        else "ask those who look after this machine to give it to root, mode 0644",
    )
