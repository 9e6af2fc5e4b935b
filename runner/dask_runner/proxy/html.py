"""The proxy's own pages: the list of clusters, and what went wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING

from dask_runner.printable import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dask_runner.errors import RunnerError

#: Seconds after which a browser looks again for what is not there yet.
AGAIN_SECONDS = 2

_STYLE = (
    "body{font-family:sans-serif;margin:3em;max-width:50em}"
    "td,th{text-align:left;padding:.2em 1.5em .2em 0}"
)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the proxy itself.

    Attributes
    ----------
    code : int
        HTTP's.
    body : str
    headers : dict
        Beside those that each has.
    """

    code: int
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Row:
    """A cluster in the list; *state* is in words, *answers* whether its hub does."""

    name: str
    node: str
    state: str
    answers: bool


#: To those who may not pass: nothing about what is here.
REFUSED = Answer(
    403,
    "Open the link that was printed where this was started.\n",
    {"Content-Type": "text/plain; charset=utf-8"},
)


def moved(location: str, **headers: str) -> Answer:
    """Return an answer that sends the browser to another page."""
    return Answer(302, "", {"Location": location, **headers})


def not_yet(what: str) -> Answer:
    """Return an answer after which the browser asks again by itself."""
    again = {"Refresh": str(AGAIN_SECONDS), "Retry-After": str(AGAIN_SECONDS)}
    return Answer(503, _page(what, "<p>This page looks again by itself.</p>"), again)


def failed(code: int, error: RunnerError) -> Answer:
    """Return an answer with the three parts of an error."""
    parts = [("needed", error.needed), ("you can", error.do)]
    text = "".join(f"<p>{name}: {_plain(part)}</p>" for name, part in parts if part)
    return Answer(code, _page(error.saw, text))


def ended(name: str) -> Answer:
    """Return the answer to requests to a cluster that ends."""
    text = "<p>So has the command that shows its dashboard.</p>"
    return Answer(410, _page(f"The cluster {name} has ended", text))


def index(rows: Sequence[Row]) -> Answer:
    """Return the list of clusters. Its links work below any prefix."""
    if not rows:
        start = "<p>Start one with <code>dask-runner serve --name NAME</code>.</p>"
        return Answer(200, _page("No Dask cluster of yours is running", start))
    lines = "".join(
        f"<tr><td>{_link(row)}</td><td>{_plain(row.node)}</td>"
        f"<td>{_plain(row.state)}</td></tr>"
        for row in rows
    )
    head = "<tr><th>cluster</th><th>node</th><th></th></tr>"
    return Answer(200, _page("Dask clusters", f"<table>{head}{lines}</table>"))


def _link(row: Row) -> str:
    name = _plain(row.name)
    return f'<a href="{name}/status">{name}</a>' if row.answers else name


def _plain(text: str) -> str:
    return escape(printable(text))


def _page(title: str, text: str) -> str:
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{_plain(title)}</title><style>{_STYLE}</style></head>"
        f"<body><h1>{_plain(title)}</h1>{text}</body></html>\n"
    )
