"""Every error that ends a rank, each with its exit status.

::

    RunnerError
    ├── UsageError        2   wrong options or arguments
    ├── ConfigError      78   the environment cannot work (EX_CONFIG)
    ├── AssemblyError    75   ranks or workers did not arrive in time (EX_TEMPFAIL)
    ├── LostError        69   the hub or the scheduler is gone (EX_UNAVAILABLE)
    └── SignalledError  128 + number of the signal

Each message has three parts: what was seen, what was needed, and what the
reader can do about it. The statuses follow ``sysexits.h``.
"""

from __future__ import annotations

import signal


class RunnerError(Exception):
    """A failure that ends the cluster with one message and one exit status.

    Parameters
    ----------
    saw : str
        What was found, with names and values.
    needed : str
        What would have been right.
    do : str
        What the reader can do about it: a sentence that begins with a verb, or a
        command line.

    Attributes
    ----------
    said : bool
        Whether the user has read it: a leader's error is its followers' as well.
    """

    status = 70

    def __init__(self, saw: str, needed: str = "", do: str = "") -> None:
        super().__init__(saw, needed, do)
        self.saw = saw
        self.needed = needed
        self.do = do
        self.said = False

    def __str__(self) -> str:
        lines = [self.saw]
        if self.needed:
            lines.append(f"  needed: {self.needed}")
        if self.do:
            lines.append(f"  you can: {self.do}")
        return "\n".join(lines)


class UsageError(RunnerError):
    """Options or arguments that make no sense, alone or together."""

    status = 2


class ConfigError(RunnerError):
    """An environment, a file or a setting with which no cluster can start."""

    status = 78


class AssemblyError(RunnerError):
    """Ranks or workers that did not arrive before the deadline."""

    status = 75


class SignalledError(RunnerError):
    """A rank was asked to end, before there was a script to be asked.

    Parameters
    ----------
    who : str
        The rank.
    number : int
        The signal.
    when : str
        How far the launch had come.
    """

    def __init__(self, who: str, number: int, when: str) -> None:
        super().__init__(f"{who} got {signal.Signals(number).name} {when}")
        self.status = 128 + number


class LostError(RunnerError):
    """The hub or the scheduler went away while the cluster was needed."""

    status = 69
