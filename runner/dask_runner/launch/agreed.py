"""What all ranks of a launch have to be told alike, and what each may be told alone.

One ``srun`` may give the components of a heterogeneous step options of their own, as
``mpiexec A : B`` does. :mod:`dask_runner.launch.options` says of each option whose
value counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dask_runner.errors import ConfigError
from dask_runner.launch.numbers import quoted
from dask_runner.launch.options import ALL, EACH, OPTIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dask_runner.launch.launch import Launch

#: The key of what runs, among options.
PROGRAM = "program"


def told(launch: Launch) -> dict[str, str]:
    """Return what this rank was told of what has to be alike.

    Options that only count in rank 0 are left out unless they were given to this rank.
    A value that comes from a variable or a file is not: nodes may have files of their
    own, and the user does not see them side by side.
    """
    found = dict(launch.settings)
    told = {
        f"--{option.name}": str(found[option.key].value)
        for option in OPTIONS
        if option.ranks == ALL
        or (option.ranks != EACH and found[option.key].source.startswith("--"))
    }
    return told | {PROGRAM: _program(launch)}


def in_rank_0(launch: Launch) -> dict[str, str]:
    """Return what counts for all, in rank 0's launch."""
    found = dict(launch.settings)
    values = {
        f"--{option.name}": str(found[option.key].value)
        for option in OPTIONS
        if option.ranks != EACH
    }
    return values | {PROGRAM: _program(launch)}


def refuse_others(who: str, theirs: Mapping[str, str], own: Mapping[str, str]) -> None:
    """Raise an error about the first thing in which a rank differs from rank 0.

    Parameters
    ----------
    who : str
        The rank, or its node.
    theirs : mapping
        What :func:`told` returned there.
    own : mapping
        What :func:`in_rank_0` has returned.

    Raises
    ------
    ConfigError
    """
    for name, value in theirs.items():
        if value != own.get(name, value):
            raise _differs(who, name, value, own[name])


def _differs(who: str, name: str, value: str, own: str) -> ConfigError:
    may = ", ".join(f"--{option.name}" for option in OPTIONS if option.ranks == EACH)
    if name == PROGRAM:
        return ConfigError(
            f"{who} is to run {_cut(value)}, and rank 0 {_cut(own)}",
            "one program for a launch, which runs once",
            "give all parts of the launcher's line the same program",
        )
    needed = {f"--{option.name}" for option in OPTIONS if option.ranks == ALL}
    where = "all parts" if name in needed else "the first part alone, or all parts,"
    return ConfigError(
        f"{who} has {name} {_cut(value)}, and rank 0 has {_cut(own)}",
        f"one value for a launch; these may differ: {may}",
        f"give {where} of the launcher's line the same {name}",
    )


def _cut(text: str) -> str:
    return quoted(text).strip("'\"")


def _program(launch: Launch) -> str:
    """Return what runs, as far as ranks have to agree: arguments count in one rank."""
    program = launch.program
    if program is None:
        return "no program" if launch.plan.client is None else "Python"
    # Each rank may have its own descriptor of a pipe, and code its own number in it.
    own = program.kind == "code" or program.target.startswith("/dev/")
    return program.kind if own else f"{program.kind} {program.target}"
