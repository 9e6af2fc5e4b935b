"""The key of a launch: a name that no other launch has, by which its ranks meet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dask_runner.errors import ConfigError
from dask_runner.launch.sourced import Sourced

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dask_runner.launch.table import Launcher

    Environ = Mapping[str, str]

# A file name may have 255 bytes; the meeting adds suffixes to the key.
_LONGEST_KEY = 160


def launch_key(row: Launcher, environ: Environ, job_id: str | None) -> Sourced[str]:
    """Return a name that this launch has and no other; empty if there is none.

    Parameters
    ----------
    row : Launcher
        The launcher; its ``key`` lists the variables that make up the name.
    environ : Mapping
    job_id : str or None
        The job's name, as the row found it.

    Raises
    ------
    ConfigError
        When a variable that the key needs is not set, or when none is and the ranks
        meet by a file, which needs a name.
    """
    values, names = [row.name], []
    for name, default in row.key:
        value = job_id if name == "job_id" else environ.get(name)
        if value:
            names.append(name)
        elif default is None:
            raise _nameless(row, (name,))
        values.append(spelled(value or default or ""))
    if not names:
        if row.meeting == "file":
            raise _nameless(row, tuple(name for name, _ in row.key))
        return Sourced("", "")
    # Stripping cannot make two keys equal: no part of a key has a dot.
    key = ".".join(values).rstrip(".")
    if len(key) > _LONGEST_KEY:
        import hashlib  # noqa: PLC0415 # rarely needed, and every rank loads this

        key = f"{row.name}.{hashlib.sha256(key.encode()).hexdigest()}"
    return Sourced(key, " ".join(names))


def _nameless(row: Launcher, names: Sequence[str]) -> ConfigError:
    shown = [name.replace("job_id", "the name of the job") for name in names]
    return ConfigError(
        f"{' and '.join(shown)} {'is' if len(names) == 1 else 'are'} not set or empty",
        f"a name that this launch of {row.title} has and no other",
        row.hint,
    )


def spelled(text: str) -> str:
    """Encode a text in letters, digits, ``-`` and ``_``; no two texts get the same."""
    return "".join(
        chr(byte)
        if byte < 0x80 and (chr(byte).isalnum() or chr(byte) == "-")  # noqa: PLR2004 # ASCII
        else f"_{byte:02x}"
        for byte in text.encode("utf-8", "surrogateescape")
    )
