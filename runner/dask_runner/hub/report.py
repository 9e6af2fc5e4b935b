"""What a run prints: a few lines on stderr, all from rank 0.

In a clean run no other process prints, and there are at most seven lines.
"""

from __future__ import annotations

import getpass
import os
import shutil
import sys
from typing import TYPE_CHECKING, TextIO

from dask_runner.resources.amounts import in_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dask_runner.errors import RunnerError
    from dask_runner.hub import messages as m
    from dask_runner.hub.members import Member
    from dask_runner.hub.messages import SchedulerUp
    from dask_runner.launch.world import World

NAME = "dask-runner"
#: Begins a terminal's line anew.
CLEAR = "\r\x1b[2K"


def marked(text: object) -> str:
    """Return a message with the name of this program before each line."""
    return "\n".join(f"{NAME}: {line}" for line in str(text).splitlines())


def say(text: object, stream: TextIO | None = None) -> None:
    """Print a message to stderr, with this program's name before each line.

    The message is one write, so that lines of several processes do not mix.
    """
    _write(f"{marked(text)}\n", stream)


def _write(text: str, stream: TextIO | None = None) -> None:
    own = sys.__stderr__
    stream = stream or sys.stderr
    if stream is None:  # started with a closed stderr
        return
    try:
        if own is not None and stream is own:
            # Past the stream: the handler of a signal that prints as well would find
            # it in use, which is an error (JupyterLab's has).
            _write_all(own.fileno(), text.encode(errors="backslashreplace"))
        else:
            stream.write(text)
            stream.flush()
    except OSError:
        # The reader has gone, or the disk is full: the job goes on.
        return


def _write_all(descriptor: int, text: bytes) -> None:
    while text:
        text = text[os.write(descriptor, text) :]


class Reporter:
    """Prints what happens, for the user.

    Parameters
    ----------
    quiet : bool
        Print errors and warnings only.

    Attributes
    ----------
    name : str
        The cluster's.
    given : Given or None
        The memory of the scheduler's rank, once that has told it.
    shares_terminal : bool
        Whether a program draws on the terminal itself, as a prompt does.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._bar: _Bar | None = None
        self._line = False
        self._launched = False
        self.name = ""
        self.given: m.Given | None = None
        self.shares_terminal = False

    def start(self, world: World, layout: str, spare: int) -> None:
        """Print the launcher, the job, the number of ranks and the layout.

        *spare* nodes will wait for what is lost.
        """
        self._launched = world.launcher != "local"
        job = f" job {world.job_id}" if self._launched and world.job_id else ""
        self.note(
            f"{world.launcher}{job}: {_many(world.size, 'rank')}, layout {layout}"
            f"{_spare(spare)}"
        )

    @property
    def has_terminal(self) -> bool:
        """Whether what is printed is seen on a terminal."""
        return sys.stderr is not None and sys.stderr.isatty()

    def named(self, name: str) -> None:
        """Use the cluster's name in what is printed from now on."""
        self.name = name

    def progress(self, up: int, planned: int) -> None:
        """Move the bar, if stderr is a terminal."""
        if self._quiet or not self.has_terminal:
            return
        self._bar = self._bar or _Bar(planned)
        self._bar.move(up, planned)

    def bar(self, line: str) -> None:
        """Show a line in the place of the last one, on a terminal; none if empty."""
        drawn = line if not self.shares_terminal else ""
        if self._quiet or not (drawn or self._line):
            return
        if line:
            room = shutil.get_terminal_size().columns - 1
            line = f"{NAME}: {line}"[: max(room, 0)]
        # The cursor stays at its begin, where the next line is printed over it.
        _write(f"{CLEAR}{line}\r")
        self._line = bool(line)

    def ready(
        self,
        seconds: float,
        workers: int,
        members: Sequence[Member],
        scheduler: SchedulerUp,
        node: str,
        spare: int,
    ) -> str:
        """Print that the cluster is ready; return the dashboard's link, or "".

        *node* is the scheduler's node, and *spare* the number of those that wait.
        """
        self._end_bar()
        memory = sum(member.memory for member in members)
        limited = all(member.memory for member in members)
        self.note(
            f"ready after {seconds:.1f} s: {_many(workers, 'worker')} with "
            f"{_many(sum(member.nthreads for member in members), 'thread')} and "
            f"{f'{memory / 2**30:.1f} GiB' if limited else 'no memory limit'} on "
            f"{_many(len({member.node.name for member in members}), 'node')}"
            f"{_spare(spare)}"
        )
        if self._launched and limited and self.given is not None:
            self.note(memory_in_words(self.given, members))
        from dask_runner.hub.dashboard import told  # noqa: PLC0415  on rank 0 alone

        place = f"{_user()}@{node}"
        link, line = told(scheduler, place, self.name, launched=self._launched)
        if line:
            self.note(line)
        return link

    def ended(self, status: int, seconds: float) -> None:
        """Print the status and the duration of the job."""
        self.note(f"ended with status {status} after {seconds:.1f} s")

    def note(self, text: str) -> None:
        """Print a line of information."""
        if not self._quiet:
            self._end_bar()
            say(text)

    def warn(self, text: str) -> None:
        """Print a line about trouble that does not end the job."""
        self._end_bar()
        say(f"warning: {text}")

    def error(self, error: RunnerError | str) -> None:
        """Print the error that ends the job."""
        self._end_bar()
        say(f"error: {error}")

    def _end_bar(self) -> None:
        self.bar("")
        if self._bar:
            self._bar.end()
            self._bar = None


def memory_in_words(given: m.Given, members: Sequence[Member]) -> str:
    """Say what becomes of the memory that the launcher has given."""
    each = [one.memory // max(len(one.workers), 1) for one in members]
    least, most = in_words(min(each)), in_words(max(each))
    workers = least if least == most else f"{least} to {most}"
    taken = f", {in_words(given.taken)} of rank 0's for scheduler and client"
    return (
        f"memory: {in_words(given.memory)} a rank ({given.source})"
        f"{taken if given.taken else ''}: {workers} a worker"
    )


def _many(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _spare(number: int) -> str:
    return f", {number} spare" if number else ""


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        # No variable and no entry in the user database: docker --user 12345.
        return "you"


class _Bar:
    """A progress bar while workers arrive."""

    def __init__(self, planned: int) -> None:
        from rich.console import Console  # noqa: PLC0415  only where it is shown
        from rich.progress import Progress  # noqa: PLC0415

        self._progress = Progress(console=Console(stderr=True), transient=True)
        self._task = self._progress.add_task("workers", total=planned)
        self._progress.start()

    def move(self, up: int, planned: int) -> None:
        self._progress.update(self._task, completed=up, total=planned)

    def end(self) -> None:
        self._progress.stop()
