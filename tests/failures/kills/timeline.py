"""How far a job has come, by what it has printed: told while it runs, and after."""

from __future__ import annotations

import re
import threading
import time
from typing import TYPE_CHECKING

from tests.failures.kills.draw import PHASES

if TYPE_CHECKING:
    from containers.commands import Running

#: What a job has printed when a phase begins; the first begins with the job.
MARKS = {
    "before": "",
    "starting": r"^dask-runner: \S+.*: \d+ ranks?, layout",
    "running": r"^dask-runner: ready after",
    "ending": r"^\d+$",  # the script's result
}
OVER = "over"

#: Seconds between looks.
STEP = 0.005


class Timeline:
    """When each phase of a job began, on the clock of `time.monotonic`.

    Parameters
    ----------
    job : Running
        It has just been started.
    """

    def __init__(self, job: Running) -> None:
        self._job = job
        self.began = {"before": time.monotonic()}
        self._watch = threading.Thread(target=self._look, daemon=True)
        self._watch.start()

    def _look(self) -> None:
        while self._job.running:
            self._note()
            time.sleep(STEP)
        self._note()
        self.began[OVER] = time.monotonic()

    def _note(self) -> None:
        text = f"{self._job.stderr}\n{self._job.stdout}"
        for phase, mark in MARKS.items():
            if phase not in self.began and re.search(mark, text, re.MULTILINE):
                self.began[phase] = time.monotonic()

    @property
    def phase(self) -> str:
        """In which it is, as far as it was seen to be."""
        if OVER in self.began:
            return OVER
        return next(phase for phase in reversed(PHASES) if phase in self.began)

    def wait_for(self, phase: str, deadline: float) -> bool:
        """Wait for a phase; return whether it came, before the end and in time."""
        while phase not in self.began:
            if OVER in self.began or time.monotonic() > deadline:
                return False
            time.sleep(STEP)
        return True

    def wait(self, seconds: float) -> bool:
        """Wait for the end; return whether it came in time."""
        self._watch.join(seconds)
        return OVER in self.began

    def length(self, phase: str) -> float:
        """Return the seconds of a phase of a job that is over."""
        following = [*PHASES, OVER][[*PHASES].index(phase) + 1]
        return self.began[following] - self.began[phase]
