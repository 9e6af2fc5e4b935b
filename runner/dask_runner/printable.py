"""Text of others on a terminal: as characters, never as commands to the terminal."""

from __future__ import annotations


def printable(text: str, most: int = 0) -> str:
    r"""Return text in which all that a terminal might act upon is written out.

    An escape becomes ``\x1b``, a line's end ``\n``, a mark that turns the direction
    of writing around ``\u202e``, a byte that is no UTF-8 ``\udcff``.

    Parameters
    ----------
    text : str
    most : int, optional
        Characters after which the rest is left out; 0 for all.
    """
    cut = text[:most] + " …" if most and len(text) > most else text
    return "".join(
        each
        if each.isprintable()
        else each.encode("unicode_escape", "surrogatepass").decode("ascii")
        for each in cut
    )
