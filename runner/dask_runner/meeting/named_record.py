"""The record of a running cluster under its name, for those who come later.

A record at a meeting is for the ranks of one launch. This one is for the user: it also
says which job the cluster belongs to, since when, and which versions it has. It lies
in the cluster directory (:mod:`dask_runner.meeting.cluster_directory`).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from dask_runner.launch.values import NAME
from dask_runner.meeting.record import BadRecordError, Record

#: Raised when a field changes its meaning, or one is added that readers need.
FORMAT = 1


@dataclass(frozen=True, slots=True)
class NamedRecord:
    """The record of a running cluster under its name.

    Attributes
    ----------
    name : str
    job_id : str
        The job's name as the user knows it; empty where there is none.
    launcher : str
    began : float
        When the cluster began, in seconds since 1970.
    python, distributed : str
        Versions in the cluster, such as "3.13.5" and "2026.8.0".
    record : Record
    """

    name: str
    job_id: str
    launcher: str
    began: float
    python: str
    distributed: str
    record: Record

    def at(self, address: str) -> NamedRecord:
        """Return it completed with the scheduler's address."""
        return replace(self, record=replace(self.record, address=address))

    def dump(self) -> str:
        """Write as JSON that is also a Dask scheduler file."""
        of_cluster = {"format": FORMAT} | {
            key: value for key, value in asdict(self).items() if key != "record"
        }
        return json.dumps(
            {**json.loads(self.record.dump()), "cluster": of_cluster}, indent=1
        )

    @classmethod
    def load(cls, text: str) -> NamedRecord:
        """Read what :meth:`dump` wrote.

        Raises
        ------
        BadRecordError
            If the text is anything else; it says what.
        """
        record = Record.load(text)
        of_cluster = _of_cluster(text)
        found = of_cluster.pop("format", None)
        if found != FORMAT:
            raise BadRecordError(
                f"is of another version of dask-runner (format {found}, this one reads "
                f"{FORMAT})"
            )
        try:
            named = cls(**of_cluster, record=record)
        except TypeError as error:
            raise BadRecordError("is half-written or no record of ours") from error
        for field in fields(cls):
            if type(getattr(named, field.name)).__name__ != field.type:
                raise BadRecordError(f"has a wrong value for {field.name!r}")
        if not NAME.fullmatch(named.name):
            raise BadRecordError("has a wrong value for 'name'")
        return named


def _of_cluster(text: str) -> dict[str, Any]:
    # Record.load has read it before.
    found = json.loads(text).get("cluster")
    if not isinstance(found, dict):
        raise BadRecordError("is the record of a launch, and not of a named cluster")
    return found
