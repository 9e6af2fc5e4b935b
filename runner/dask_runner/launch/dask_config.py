"""Dask's configuration as Dask reads it, which takes long enough to be put off."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dask_runner.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def runner_section() -> Mapping[str, Any]:
    """Return what Dask's configuration has below ``runner:``.

    Raises
    ------
    ConfigError
        If it cannot be read, or has a value there.
    """
    # The import takes 250 ms, so it is only done where there are files.
    try:
        import dask.config  # noqa: PLC0415
    except (ValueError, TypeError) as error:
        # Dask reads its files when it is imported.
        raise _unreadable(error) from error
    found = dask.config.get("runner", {}) or {}
    if not isinstance(found, dict):
        raise ConfigError(
            f"Dask's configuration, runner = {found!r}",
            "options below it, such as `runner: {timeout: 120}`",
            "correct or remove it",
        )
    return found


def _unreadable(error: Exception) -> ConfigError:
    # Dask's error names the file.
    return ConfigError(
        f"Dask cannot read its configuration: {str(error).partition(', orig')[0]}",
        "YAML files that Dask can read",
        "correct or remove the file; see the whole error: python -c 'import dask'",
    )


def files(places: Sequence[str] | None = None) -> list[tuple[Path, Any]]:
    """Return the files of some directories, and what is in them; default: Dask's own.

    Raises
    ------
    ConfigError
        If one cannot be read.
    """
    from dask import config  # noqa: PLC0415  as above

    try:
        return list(config.collect_yaml(places or config.paths, return_paths=True))
    except (ValueError, TypeError) as error:
        raise _unreadable(error) from error
