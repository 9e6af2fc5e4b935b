"""The errors of the package, for the page that lists them: read from its source.

Every place that makes an error of :mod:`dask_runner.errors` is a row, with what is
filled in when the program runs as ``…``. A function that is given a part of its error
has a row for each call in its module.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import dask_runner
from dask_runner import errors
from dask_runner.node import system_errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PACKAGE = Path(dask_runner.__file__).parent

#: What is filled in.
GAP = "…"

#: The class of an error, and the status with which it ends.
STATUSES = {
    name: kind.status
    for name, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.RunnerError) and name != "SignalledError"
}
PARTS = ("saw", "needed", "do")

#: That of an error which has no class of its own.
_OF_ITS_CAUSE = errors.RunnerError.status

#: The folders of the package, in the order of the page, and what their errors are of.
TITLES = {
    "cli": "The command line",
    "launch": "Options, launchers and layouts",
    "meeting": "How ranks meet",
    "hub": "The cluster",
    "node": "A node and its processes",
    "programs": "Scheduler, workers and the script",
    "resources": "CPUs, memory, GPUs and scratch",
    "packages": "Added packages",
    "batch": "Job scripts",
    "attach": "Attaching",
    "library": "From Python",
    "proxy": "The dashboard",
    "mpi": "MPI",
    "wire": "Connections",
}

#: A text of which hardly anything is written where the error is made.
_WORDS = re.compile(r"[A-Za-z]{3,}")


@dataclass(frozen=True, order=True)
class Row:
    """One error."""

    status: int
    saw: str
    needed: str
    do: str


class _Function:
    """A function that makes errors, and the texts that its names stand for."""

    def __init__(self, node: ast.AST, tree: ast.Module) -> None:
        self.node = node
        self.tree = tree
        self.parameters: list[str] = []
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            every = (*node.args.posonlyargs, *node.args.args)
            self.parameters = [one.arg for one in every if one.arg not in _OWN]
            self.name = node.name
        else:
            self.name = ""

    def calls(self) -> Iterator[Mapping[str, ast.expr]]:
        """Yield what the function is given, for each call in its module."""
        for node in ast.walk(self.tree):
            if not isinstance(node, ast.Call):
                continue
            if ast.unparse(node.func).rpartition(".")[2] != self.name:
                continue
            given = dict(zip(self.parameters, node.args, strict=False))
            yield given | {one.arg: one.value for one in node.keywords if one.arg}

    def assigned(self, name: str) -> list[ast.expr]:
        """Return what is assigned to a name in it."""
        return [
            node.value
            for scope in (self.node, self.tree)
            for node in ast.walk(scope)
            if isinstance(node, ast.Assign)
            and any(isinstance(to, ast.Name) and to.id == name for to in node.targets)
        ]


_OWN = ("self", "cls")


def _text(
    node: ast.expr | None, function: _Function, given: Mapping[str, ast.expr]
) -> str:
    """Return what an expression says, as far as it is written in the module."""
    found = GAP
    match node:
        case None:
            found = ""
        case ast.Constant(value=str(text)):
            found = text
        case ast.JoinedStr(values=values):
            found = "".join(_text(one, function, given) for one in values)
        case ast.FormattedValue(value=value) if isinstance(value, ast.Name):
            found = _text(value, function, given)
        case ast.IfExp(body=one, orelse=other):
            both = _text(one, function, given), _text(other, function, given)
            found = " / ".join(filter(None, both))
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            found = _text(left, function, given) + _text(right, function, given)
        case ast.Name(id=name):
            value = given.get(name)
            (*_, last) = [None, *function.assigned(name)]
            if isinstance(value, ast.Constant | ast.JoinedStr):
                found = _text(value, function, {})
            elif len(function.assigned(name)) == 1 and not isinstance(last, ast.Name):
                found = _text(last, function, given)
    return found


def _of_module(path: Path) -> Iterator[Row]:
    tree = ast.parse(path.read_text())
    for node, function in _errors(tree):
        if any(isinstance(one, ast.Starred) for one in node.args):
            continue  # handed on: it is a row where it is made
        parts = dict(zip(PARTS, node.args, strict=False))
        parts |= {one.arg: one.value for one in node.keywords if one.arg in PARTS}
        status = STATUSES[ast.unparse(node.func).rpartition(".")[2]]
        names = {
            one.id
            for part in parts.values()
            for one in ast.walk(part)
            if isinstance(one, ast.Name)
        }
        named = names & set(function.parameters)
        for given in [*(function.calls() if named else ())] or [{}]:
            saw, needed, do = (_text(parts.get(n), function, given) for n in PARTS)
            if _WORDS.search(saw):
                yield Row(status, *map(_tidy, (saw, needed, do)))


def _errors(
    node: ast.AST, within: _Function | None = None, tree: ast.Module | None = None
) -> Iterator[tuple[ast.Call, _Function]]:
    """Yield the calls that make errors, and the functions in which they are."""
    if isinstance(node, ast.Module):
        tree, within = node, _Function(node, node)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and tree is not None:
        within = _Function(node, tree)
    if (
        isinstance(node, ast.Call)
        and within is not None
        and ast.unparse(node.func).rpartition(".")[2] in STATUSES
    ):
        yield node, within
    for child in ast.iter_child_nodes(node):
        yield from _errors(child, within, tree)


def _tidy(text: str) -> str:
    text = re.sub(r"\s+", " ", text).strip()
    return re.sub(rf"{GAP}(\W?{GAP})+", GAP, text)


def rows() -> dict[str, list[Row]]:
    """Return the errors by the folders in which they are made."""
    found: dict[str, set[Row]] = defaultdict(set)
    for path in sorted(PACKAGE.rglob("*.py")):
        folder = path.relative_to(PACKAGE).parts[0]
        found[folder if folder in TITLES else "library"] |= set(_of_module(path))
    for refusal in system_errors._REFUSALS.values():  # noqa: SLF001  the table
        needed, do = refusal()
        needed = re.sub(r"(\(ulimit -\w): \w+\)", r"\1)", needed)
        found["node"].add(Row(78, f"{GAP} did not start: {GAP}", needed, do))
    return {name: sorted(found[name]) for name in TITLES if found[name]}


def table() -> str:
    """Return the page's part: a table for each folder."""
    lines: list[str] = []
    for name, each in rows().items():
        lines += [f"## {TITLES[name]}", "", "| status | message | needed | you can |"]
        lines += ["|---|---|---|---|"]
        for row in each:
            texts = map(_cell, (row.saw, row.needed, row.do))
            status = "-" if row.status == _OF_ITS_CAUSE else row.status
            lines.append(f"| {status} | {' | '.join(texts)} |")
        lines.append("")
    return "\n".join(lines).rstrip()


def _cell(text: str) -> str:
    """Return a text as it stands, for a cell of a table in Markdown."""
    for sign in r"\`*_<>[]|~$":
        text = text.replace(sign, "\\" + sign)
    return text
