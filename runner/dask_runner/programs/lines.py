"""Whole lines of what a process prints, each with the label of the process."""

from __future__ import annotations

from dask_runner.printable import printable

#: Bytes of a line that are kept for its end; a longer one is broken.
LONGEST_LINE = 1 << 16


class Lines:
    """Makes lines of pieces.

    Parameters
    ----------
    label : str
        Stands in brackets before each line; empty for none.
    """

    def __init__(self, label: str) -> None:
        name = printable(label).encode(errors="replace")
        self._before = b"[%s] " % name if label else b""
        self._begun = b""

    def take(self, piece: bytes) -> bytes:
        """Return the lines that end in a piece, without label."""
        text = self._begun + piece
        end = text.rfind(b"\n") + 1
        self._begun = text[end:]
        if len(self._begun) < LONGEST_LINE:
            return text[:end]
        return text[:end] + self.rest()

    def rest(self) -> bytes:
        """Return the line that has begun, with an end; empty if none has."""
        line, self._begun = self._begun, b""
        return line and line + b"\n"

    def labelled(self, lines: bytes) -> bytes:
        """Return whole lines with the label before each."""
        if not self._before or not lines:
            return lines
        return self._before + lines[:-1].replace(b"\n", b"\n" + self._before) + b"\n"


def blocks(lines: bytes, most: int) -> list[bytes]:
    """Divide whole lines into blocks of whole lines, of *most* bytes where they fit."""
    found, at = [], 0
    while at < len(lines):
        end = lines.rfind(b"\n", at, at + most) + 1
        if not end:
            end = lines.find(b"\n", at) + 1 or len(lines)
        found.append(lines[at:end])
        at = end
    return found
