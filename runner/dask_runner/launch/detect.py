"""Find the launcher and this process's :class:`~dask_runner.launch.world.World`.

The functions here are pure: they take a mapping and never look at ``os.environ``, so
that a captured environment is a test case. The facts about each launcher are in
:mod:`dask_runner.launch.table`. Every rank loads this module, so it uses the standard
library alone and imports little.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dask_runner.errors import ConfigError, UsageError
from dask_runner.launch.key import launch_key
from dask_runner.launch.numbers import number_in
from dask_runner.launch.slurm import in_step, refuse_forgotten_srun
from dask_runner.launch.sourced import Sourced
from dask_runner.launch.table import LAUNCHERS, Launcher
from dask_runner.launch.world import World

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Environ = Mapping[str, str]

__all__ = [
    "LAUNCHERS",
    "Launcher",
    "detect",
    "explain",
    "is_started",
    "local_world",
    "may_be_outlived",
    "prints_shared_errors",
]

#: Values of ``--launcher``.
CHOICES = ("auto", "none", *(row.name for row in LAUNCHERS))

(_LOCAL,) = (row for row in LAUNCHERS if row.name == "local")
_UNKNOWN: Sourced[None] = Sourced(None, "")


def detect(
    environ: Environ, choice: str = "auto", argv: Sequence[str] = ()
) -> World | None:
    """Find the innermost launcher, and this process's place in its launch.

    Parameters
    ----------
    environ : Mapping
        The environment of the process.
    choice : str
        The name of a row: that launcher and no other. ``"auto"``: the innermost
        one. ``"none"`` or ``"local"``: no launcher, even if the variables of one
        are set; only ranks that ``dask-runner -n`` started are still ranks.
    argv : Sequence of str
        The arguments of ``dask-runner``, for the command in a message.

    Returns
    -------
    World or None
        None when no launcher started this process; the caller then starts local
        ranks, or is the only rank.

    Raises
    ------
    ConfigError
        When variables of the launcher are wrong or missing, when ``srun`` was
        forgotten, or when the chosen launcher did not start this process.
    UsageError
        When no launcher has the chosen name.
    """
    row = _row(environ, choice, argv)
    if row is None:
        return None
    return _world(row, environ)


def local_world(environ: Environ) -> World:
    """Return the place of a rank that ``dask-runner -n`` starts, by its variables."""
    return _world(_LOCAL, environ)


def _world(row: Launcher, environ: Environ) -> World:
    return World(**{name: found.value for name, found in _fields(row, environ).items()})


def explain(environ: Environ, choice: str = "auto") -> list[tuple[str, str, str]]:
    """Return where each field of the World comes from, for ``dask-runner info``.

    Returns
    -------
    list of (str, str, str)
        Field, value and source, for each field of the World. Then one line with
        the field ``inherited`` for each outer launcher that gives another rank or
        size.

    Raises
    ------
    ConfigError, UsageError
        As :func:`detect`.
    """
    row = _row(environ, choice, ())
    if row is None:
        return [("launcher", "none", "no launcher's variables are set")]
    lines = [
        (
            name,
            "unknown" if found.value in (None, "") else str(found.value),
            found.source,
        )
        for name, found in _fields(row, environ).items()
    ]
    return lines + [
        ("inherited", other.name, _text(environ, (*other.rank, *other.size)))
        for other in LAUNCHERS
        if other.started(environ) and _disagree(environ, row, other)
    ]


def prints_shared_errors(environ: Environ, choice: str = "auto") -> bool:
    """Return whether this process prints an error that all ranks run into.

    Rank 0 prints it. So does a process whose rank is unknown or wrong: better
    twice than not at all. Never raises.
    """
    rows = [row for row in LAUNCHERS if row.name == choice and row.marked(environ)]
    rows += [row for row in LAUNCHERS if row.started(environ)]
    if not rows or (choice in ("none", "local") and rows[0].name != "local"):
        return True
    try:
        rank = _number(rows[0], environ, "rank", 0)
        _local(rows[0], environ)
    except ConfigError:
        return True
    try:
        return rank == 0 or rank >= _number(rows[0], environ, "size", 1)
    except ConfigError:
        return False


def is_started(environ: Environ) -> bool:
    """Return whether any launcher of the table has started this process."""
    return any(row.started(environ) for row in LAUNCHERS)


def may_be_outlived(name: str) -> bool:
    """Return whether the ranks of that launcher can go on after it is killed.

    Slurm ends a step that has lost its srun. An mpiexec that is killed can leave its
    ranks running.
    """
    return any(row.is_mpiexec for row in LAUNCHERS if row.name == name)


def _row(environ: Environ, choice: str, argv: Sequence[str]) -> Launcher | None:
    """Return the row of the chosen or innermost launcher, or None."""
    if choice == "auto":
        return _innermost(environ, argv)
    rows = {row.name: row for row in LAUNCHERS}
    if choice in ("none", "local"):
        return rows["local"] if rows["local"].marked(environ) else None
    if choice not in rows:
        raise UsageError(
            f"--launcher {choice}: there is no such launcher",
            f"one of {', '.join(CHOICES)}",
            "leave --launcher out: the launcher is then detected",
        )
    if choice == "slurm" and not in_step(environ):
        refuse_forgotten_srun(environ, argv)
    row = rows[choice]
    missing = [name for name in row.marks if name not in environ]
    if missing:
        are = "is" if len(missing) == 1 else "are"
        raise ConfigError(
            f"--launcher {choice}, but {' and '.join(missing)} {are} not set",
            f"a process started by {row.title}",
            f"start the ranks with it ({row.start}), or leave --launcher out "
            "(in Python: Runner)",
        )
    return row


def _innermost(environ: Environ, argv: Sequence[str]) -> Launcher | None:
    rows = [row for row in LAUNCHERS if row.started(environ)]
    if not rows:
        refuse_forgotten_srun(environ, argv)
        return None
    first = rows[0]
    for other in rows[1:]:
        if first.is_mpiexec and other.is_mpiexec and _disagree(environ, first, other):
            raise ConfigError(
                f"{first.title} says {_text(environ, (*first.rank, *first.size))},"
                f" {other.title} says {_text(environ, (*other.rank, *other.size))}",
                "one of them; nothing in the environment tells which started the other",
                f"name the inner one: --launcher {first.name}"
                f" or --launcher {other.name}",
            )
    return first


def _disagree(environ: Environ, one: Launcher, other: Launcher) -> bool:
    """Return whether two rows give this process different ranks or sizes."""
    return any(
        environ.get(_first(environ, mine) or "")
        != environ.get(_first(environ, others) or "")
        for mine, others in ((one.rank, other.rank), (one.size, other.size))
    )


def _fields(row: Launcher, environ: Environ) -> dict[str, Sourced[Any]]:
    """Return every field of the World, with its source."""
    rank = _number(row, environ, "rank", 0)
    size = _number(row, environ, "size", 1)
    if rank >= size:
        raise ConfigError(
            f"rank {rank} of {size}: {_text(environ, (*row.rank, *row.size))}",
            f"a rank from 0 to {size - 1}",
            row.hint,
        )
    job = dict(row.special).get("job_id")
    found = job(environ) if job else _named(environ, row.job_id)
    return {
        "launcher": Sourced(row.name, _text(environ, row.marks)),
        "rank": Sourced(rank, _named(environ, row.rank).source),
        "size": Sourced(size, _named(environ, row.size).source),
        **_local(row, environ),
        "job_id": Sourced(found.value or "", found.source),
        "key": launch_key(row, environ, found.value),
        "meeting": Sourced(row.meeting, f"the default of {row.name}"),
    }


def _local(row: Launcher, environ: Environ) -> dict[str, Sourced[Any]]:
    """Return the fields local_rank and local_size."""
    special = dict(row.special)
    found: dict[str, Sourced[Any]] = {}
    for field, least in (("local_rank", 0), ("local_size", 1)):
        names: tuple[str, ...] = getattr(row, field)
        if field in special:
            found[field] = special[field](environ)
        elif _first(environ, names):
            value = _number(row, environ, field, least)
            found[field] = Sourced(value, _named(environ, names).source)
        else:
            found[field] = _UNKNOWN
    rank, size = found["local_rank"], found["local_size"]
    if None not in (rank.value, size.value) and rank.value >= size.value:
        raise ConfigError(
            f"rank {rank.value} of {size.value} on this node:"
            f" {rank.source} {size.source}",
            f"a local rank from 0 to {size.value - 1}",
            row.hint,
        )
    return found


def _number(row: Launcher, environ: Environ, field: str, least: int) -> int:
    """Return a field's number; ConfigError if it is missing or no number."""
    names: tuple[str, ...] = getattr(row, field)
    name = _first(environ, names)
    if name is None:
        raise ConfigError(
            f"{_text(environ, row.marks)}, but {' and '.join(names)}"
            f" {'is' if len(names) == 1 else 'are'} not set",
            f"the {field} of {row.title}",
            row.hint,
        )
    return number_in(environ, name, least)


def _first(environ: Environ, names: Sequence[str]) -> str | None:
    return next((name for name in names if name in environ), None)


def _named(environ: Environ, names: Sequence[str]) -> Sourced[Any]:
    name = _first(environ, names)
    return Sourced(environ[name], f"{name}={environ[name]}") if name else _UNKNOWN


def _text(environ: Environ, names: Sequence[str]) -> str:
    return " ".join(f"{name}={environ[name]}" for name in names if name in environ)
