"""Options of dask-runner that somebody has written behind the script's name.

All words there are the script's, and it may have an ``-n`` of its own. So an option is
only taken for ours if the script reads no arguments at all: its text names nothing
that leads to them, and it imports nothing but modules that do not look at them.
"""

from __future__ import annotations

import ast
import itertools
import sys
from typing import TYPE_CHECKING

from dask_runner.launch.options import OPTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dask_runner.launch.options import Option

#: Names by which a program comes to its arguments, or to code that is not in its text.
_WAYS = frozenset(
    {"argv", "orig_argv", "cmdline", "exec", "eval", "compile", "__import__"}
)

#: Modules of Python that read arguments, or load code that may.
_READERS = frozenset(
    (
        *("argparse", "getopt", "optparse", "fileinput", "unittest", "doctest"),
        *("importlib", "imp", "runpy", "pkgutil", "zipimport", "code", "builtins"),
        *("ctypes", "pdb", "bdb", "trace", "profile", "cProfile", "tkinter"),
    )
)

#: Packages that leave the arguments of a program alone.
_OTHERS = frozenset({"dask", "distributed", "numpy", "pandas", "scipy", "xarray"})


def misplaced(source: bytes, args: Sequence[str]) -> str:
    """Return an option of ours among a script's arguments; "" if none surely is.

    Parameters
    ----------
    source : bytes
        The script's text.
    args : sequence of str
    """
    found = next(_ours(args), "")
    return found if found and not _may_read_arguments(source) else ""


def _ours(args: Sequence[str]) -> Iterator[str]:
    names = {name: one for one in OPTIONS for name in _names(one)}
    for word, after in itertools.pairwise([*args, ""]):
        name, equals, value = word.partition("=")
        option = names.get(name)
        if option is None:
            continue
        if not option.metavar:
            yield word
            continue
        if not equals:
            value = after
        try:
            option.parse(value)
        except ValueError:
            continue
        if value:
            yield word if equals else f"{word} {value}"


def _names(option: Option) -> Iterator[str]:
    yield f"--{option.name}"
    if option.short:
        yield option.short
    if not option.metavar:
        yield f"--no-{option.name}"


def _may_read_arguments(source: bytes) -> bool:
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return True  # it cannot run, and says so itself
    return any(_leads_on(node) for node in nodes)


def _leads_on(node: ast.AST) -> bool:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name) if (
            name in _WAYS
        ):
            return True
        case ast.Constant(value=str(text)):
            return any(way in text for way in ("argv", "cmdline"))
        case ast.Import(names=names):
            return not all(_leaves_alone(one.name) for one in names)
        case ast.ImportFrom(module=module, level=level):
            return level > 0 or not _leaves_alone(module or "")
    return False


def _leaves_alone(module: str) -> bool:
    package = module.partition(".")[0]
    if package in _READERS:
        return False
    return package in _OTHERS or package in sys.stdlib_module_names
