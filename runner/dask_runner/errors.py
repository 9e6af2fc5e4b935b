"""Every error that can end a rank, each with its exit status.

::

    RunnerError
    ├── UsageError        2   wrong options or arguments
    ├── ConfigError      78   the environment cannot work (EX_CONFIG)
    ├── AssemblyError    75   ranks or workers did not arrive in time (EX_TEMPFAIL)
    ├── SubmitError      75   the batch system took no job (EX_TEMPFAIL)
    ├── LostError        69   the hub or the scheduler is gone (EX_UNAVAILABLE)
    ├── UnavailableError 69   no such cluster, or none that answers
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
    printed : bool
        Whether the user has seen it already: a leader's error ends its followers too,
        and is printed once.
    """

    status = 70

    def __init__(self, saw: str, needed: str = "", do: str = "") -> None:
        super().__init__(saw, needed, do)
        self.saw = saw
        self.needed = needed
        self.do = do
        self.printed = False

    def __str__(self) -> str:
        lines = [self.saw]
        if self.needed:
            lines.append(f"  needed: {self.needed}")
        if self.do:
            lines.append(f"  you can: {self.do}")
        return "\n".join(lines)


class UsageError(RunnerError):
    """Options or arguments are wrong, alone or together."""

    status = 2


class ConfigError(RunnerError):
    """No cluster can start with this environment, file or setting."""

    status = 78


class AssemblyError(RunnerError):
    """Ranks or workers did not arrive before the deadline."""

    status = 75


class SubmitError(RunnerError):
    """The command that submits a job failed, or did not end in time."""

    status = 75


class SignalledError(RunnerError):
    """A signal ended a rank before the script ran.

    Parameters
    ----------
    who : str
        The rank, as messages name it.
    number : int
        The number of the signal.
    when : str
        How far the launch had come.
    """

    def __init__(self, who: str, number: int, when: str) -> None:
        super().__init__(f"{who} got {signal.Signals(number).name} {when}")
        self.status = 128 + number


class LostError(RunnerError):
    """The hub or the scheduler was lost while the cluster was in use."""

    status = 69


class UnavailableError(RunnerError):
    """There is no cluster of that name, or it does not answer."""

    status = 69
