"""A value and where it comes from, as ``dask-runner info`` prints it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sourced(Generic[T]):
    """A value, where it comes from in words, and what was ignored on the way."""

    value: T
    source: str
    warnings: tuple[str, ...] = ()
