"""Which of the running clusters a user means, by a name or without one."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from dask_runner.errors import ConfigError, UnavailableError
from dask_runner.launch.own_variables import CLUSTER_VARIABLE
from dask_runner.launch.values import NAME, NAME_IN_WORDS
from dask_runner.meeting.cluster_directory import entries, place
from dask_runner.meeting.record_directory import RECORDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dask_runner.meeting.cluster_directory import Entry
    from dask_runner.meeting.named_record import NamedRecord


def choose(
    name: str | None, environ: Mapping[str, str], *, word: str = ""
) -> tuple[Entry, NamedRecord]:
    """Return the entry that the user means, and its record.

    Parameters
    ----------
    name : str or None
        None for the cluster whose program this process is, or else for the one cluster
        that the user has.
    environ : mapping
    word : str
        A word that may have been meant for a name, and is none.

    Raises
    ------
    ConfigError
        If the name is none, or its file cannot be believed, or if no name is given
        and there are several clusters.
    UnavailableError
        If there is no such cluster.
    """
    if name is not None and not NAME.fullmatch(name):
        raise ConfigError(f"the name {name!r}", NAME_IN_WORDS, "correct the name")
    there = entries(environ)
    own = environ.get(CLUSTER_VARIABLE)
    if name is None and own:
        chosen = _own(own, there)
    elif name is not None:
        there_by_name = {one.name: one for one in there}
        if name not in there_by_name:
            raise _none_of(name, there, environ)
        chosen = there_by_name[name]
    elif len(there) == 1:
        chosen = there[0]
    elif there:
        raise ConfigError(
            f"{len(there)} clusters, and {f'none is {word!r}' if word else 'no name'}: "
            f"{_names(there)}",
            "the name of one of them",
            "give the name; see which answer with dask-runner list",
        )
    else:
        raise _none_of(None, there, environ)
    if chosen.found is None:
        raise ConfigError(
            f"{chosen.path} {chosen.trouble}",
            "the record of a cluster of yours, that nobody else can read",
            f"remove it if no cluster of that name runs: rm {chosen.path}",
        )
    return chosen, chosen.found


def _own(nonce: str, there: list[Entry]) -> Entry:
    for one in there:
        if one.found is not None and one.found.record.nonce == nonce:
            return one
    raise UnavailableError(
        f"the cluster of this program is not in ~/{RECORDS} on {socket.gethostname()}: "
        "it has ended, or could not write there",
        f"one of {_names(there)}, by its name" if there else "a cluster that is there",
        f"give a name, see dask-runner list (or unset {CLUSTER_VARIABLE})",
    )


def _none_of(
    name: str | None, there: list[Entry], environ: Mapping[str, str]
) -> UnavailableError:
    at = f"in {place(environ)} on {socket.gethostname()}"
    return UnavailableError(
        f"no cluster named {name!r} {at}" if name is not None else f"no cluster {at}",
        f"one of {_names(there)}" if there else "a cluster of yours that is running",
        "see them with dask-runner list; start one with dask-runner serve --name NAME",
    )


def _names(there: list[Entry]) -> str:
    return ", ".join(one.name for one in there)
