"""Notices: why a launch is over, for ranks that look for the hub in vain.

A rank that fails before it has met the others cannot tell them over the hub, and a rank
that comes when the hub is gone finds nobody to ask. So a notice stays where the ranks
look for each other (:mod:`dask_runner.meeting.file_notices`), and a rank that finds it
ends at once, with its status. It counts only where there is no hub: one that answers
knows better.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Protocol

from dask_runner.errors import RunnerError

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Exit statuses are below.
_STATUSES = 256


class BadNoticeError(Exception):
    """What was found is no notice to believe; the text says why."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Why the launch is over.

    Attributes
    ----------
    key : str
        The World's: a notice of another launch is not for us.
    rank : int
        Whose it is.
    node : str
        Where that is.
    status : int
        With which all ranks end.
    saw, needed, do : str
        The three parts of an error.
    seconds : float
        How long it counts: as long as ranks would wait for each other.
    said : bool
        Whether the user has been told; otherwise rank 0 does it.
    """

    key: str
    rank: int
    node: str
    status: int
    saw: str
    needed: str
    do: str
    seconds: float
    said: bool = True

    @classmethod
    def of(
        cls,
        error: RunnerError,
        key: str,
        rank: int,
        node: str,
        seconds: float,
        *,
        said: bool = True,
    ) -> Notice:
        """Return the notice of a rank that ends by an error."""
        parts = error.saw, error.needed, error.do
        return cls(key, rank, node, error.status, *parts, float(seconds), said)

    def dump(self) -> str:
        """Write as a line of JSON."""
        return json.dumps(asdict(self)) + "\n"

    @classmethod
    def load(cls, text: str) -> Notice:
        """Read what :meth:`dump` wrote, which may have other lines behind it.

        Raises
        ------
        BadNoticeError
            If the text is anything else.
        """
        line, end, _ = text.partition("\n")
        try:
            notice = cls(**json.loads(line if end else ""))
        except (ValueError, TypeError, RecursionError) as error:
            raise BadNoticeError("is half-written or no notice of ours") from error
        for field in fields(cls):
            if type(getattr(notice, field.name)).__name__ != field.type:
                raise BadNoticeError(f"has a wrong value for {field.name!r}")
        if not 0 <= notice.status < _STATUSES:
            raise BadNoticeError(f"names the status {notice.status}")
        return notice


class OverError(RunnerError):
    """A notice was found, or left by this rank itself.

    Parameters
    ----------
    notice : Notice
    """

    def __init__(self, notice: Notice) -> None:
        super().__init__(notice.saw, notice.needed, notice.do)
        self.status = notice.status
        self.notice = notice


class Notices(Protocol):
    """The place where the ranks of one launch leave notices."""

    @property
    def possible(self) -> bool:
        """Whether there is one."""

    def find(self) -> Notice | None:
        """Return the notice that lies there, if one does."""

    def signed(self) -> frozenset[int]:
        """Return the ranks that know of it."""

    def leave(self, notice: Notice, signed: Iterable[int] = ()) -> bool | None:
        """Leave a notice; where one lies already, sign that.

        Parameters
        ----------
        notice : Notice
        signed : iterable of int
            Ranks that know of it, beside the one whose it is.

        Returns
        -------
        bool or None
            Whether it is the first; None if it can be left nowhere.
        """

    def sign(self, ranks: Iterable[int]) -> None:
        """Note that these ranks know of the notice; remove it if it was the last."""

    async def comes(self) -> None:
        """Wait for a notice that another rank may leave, but not long."""

    async def taken(self) -> None:
        """Wait until all have signed what this rank has signed, but not long."""

    def sweep(self) -> None:
        """Remove notices of other launches that count no more."""


class NoNotices:
    """No such place exists, or none is needed.

    An mpiexec ends all ranks when one fails, at once and by itself.
    """

    possible = False

    def find(self) -> Notice | None:
        """Return None."""
        return None

    def signed(self) -> frozenset[int]:
        """Return nobody."""
        return frozenset()

    def leave(self, notice: Notice, signed: Iterable[int] = ()) -> bool | None:
        """Return None: nobody would read it."""
        del notice, signed
        return None

    def sign(self, ranks: Iterable[int]) -> None:
        """Do nothing."""

    async def comes(self) -> None:
        """Do nothing."""

    async def taken(self) -> None:
        """Do nothing."""

    def sweep(self) -> None:
        """Do nothing."""
