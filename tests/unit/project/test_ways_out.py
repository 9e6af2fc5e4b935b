"""What a message tells its reader to do: something that can be done, in each one.

Every place that makes an error, or hands on what to do, is found in the package's
source. What is put together when the program runs is followed to where it is written.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import dask_runner
from dask_runner.launch.detect import LAUNCHERS
from dask_runner.mpi.abi.fabrics import FABRICS
from dask_runner.mpi.abi.rules import RULES, UNKNOWN
from dask_runner.node import system_errors

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(dask_runner.__file__).parent

#: Where the way out is among the arguments of what has one, by the class's name.
CLASSES = {
    "RunnerError": 2,
    "UsageError": 2,
    "ConfigError": 2,
    "AssemblyError": 2,
    "LostError": 2,
    "SubmitError": 2,
    "Failed": 2,
    "_Trap": 3,
    "Finding": 3,
    "Rule": 4,
    "Fabric": 4,
}

#: With what a sentence begins that says what to do.
VERBS = frozenset(
    (
        *("add", "ask", "begin", "bind", "bring", "build", "change"),
        *("check", "choose", "correct", "end", "give", "install", "leave", "let"),
        *("list", "look", "make", "mend", "move", "name", "pipe", "put"),
        *("raise", "remove", "run", "save", "see", "set", "start", "submit", "take"),
        *("try", "unset", "use", "write"),
    )
)

#: With what a line begins that is typed.
COMMANDS = frozenset(
    (
        *("apptainer", "dask-runner", "docker", "ln", "module", "mpiexec"),
        *("pip", "prterun", "python", "srun"),
    )
)

#: Expressions that hand on what is written elsewhere, and is checked there.
HANDED_ON = re.compile(
    r"(\w+\.)*(do|hint)|do|(rule|trap)\.do\.format\(.*\)|message\.do or .*|''"
    r"|'; '\.join\(\(?fabric\.way_out for fabric in lacking\)?\)"
)


@dataclass(frozen=True)
class Place:
    path: Path
    line: int
    source: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(PACKAGE)}:{self.line}: {self.source[:80]}"


class Module:
    """A module's source, and what is written where its messages are made."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tree = ast.parse(path.read_text())
        self.above = {
            child: node
            for node in ast.walk(self.tree)
            for child in ast.iter_child_nodes(node)
        }

    def ways_out(self, positions: dict[str, int]) -> Iterator[tuple[Place, str]]:
        for node in ast.walk(self.tree):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func).rpartition(".")[2]
            way_out = self._argument(node, positions.get(name))
            if way_out is not None:
                place = Place(self.path, node.lineno, ast.unparse(way_out))
                yield from ((place, text) for text in self.texts(way_out))

    @staticmethod
    def _argument(call: ast.Call, at: int | None) -> ast.expr | None:
        if at is None or any(isinstance(one, ast.Starred) for one in call.args):
            return None  # what is unpacked is a tuple of a table's: below
        for keyword in call.keywords:
            if keyword.arg in {"do", "way_out"}:
                return keyword.value
        return call.args[at] if len(call.args) > at else None

    def texts(self, node: ast.expr) -> Iterator[str]:
        """Yield each text that an expression may be, with {} for what is filled in."""
        match node:
            case _ if HANDED_ON.fullmatch(ast.unparse(node)) and not self._local(node):
                return
            case ast.Constant(value=str(text)):
                yield text
            case ast.JoinedStr(values=values):
                yield from self._joined(values)
            case ast.IfExp(body=one, orelse=other):
                yield from self.texts(one)
                yield from self.texts(other)
            case ast.BoolOp(values=values):
                for value in values:
                    yield from self.texts(value)
            case ast.BinOp(left=left, op=ast.Add()):
                yield from self.texts(left)
            case ast.Name(id=name):
                yield from self._named(name, node)
            case _:
                pytest.fail(f"{self.path}: cannot follow {ast.unparse(node)!r}")

    def _joined(self, values: list[ast.expr]) -> Iterator[str]:
        """Fill in what the text begins with, if that is written here."""
        first, *rest = values
        tail = "".join(
            one.value if isinstance(one, ast.Constant) else "{}" for one in rest
        )
        if isinstance(first, ast.Constant):
            yield first.value + tail
            return
        assert isinstance(first, ast.FormattedValue)
        begin = ast.unparse(first.value)
        if begin.startswith("srun_line("):
            yield f"srun {tail}"
        else:
            yield from (text + tail for text in self.texts(first.value))

    def _local(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Name) and any(
            self._assigned(node.id, self._function(node))
        )

    def _function(self, node: ast.AST) -> ast.AST:
        while node in self.above:
            node = self.above[node]
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                return node
        return self.tree

    def _named(self, name: str, node: ast.AST) -> Iterator[str]:
        found = [*self._assigned(name, self._function(node))]
        for value in found or [*self._assigned(name, self.tree)]:
            yield from self.texts(value)
        assert found or any(self._assigned(name, self.tree)), (self.path, name)

    def _assigned(self, name: str, scope: ast.AST) -> Iterator[ast.expr]:
        for node in ast.walk(scope):
            if not isinstance(node, ast.Assign):
                continue
            (target,) = node.targets
            if isinstance(target, ast.Name) and target.id == name:
                yield node.value
            elif isinstance(target, ast.Tuple):
                names = [ast.unparse(one) for one in target.elts]
                if name in names:
                    yield from self._element(node.value, names.index(name))

    def _element(self, value: ast.expr, at: int) -> Iterator[ast.expr]:
        if isinstance(value, ast.Tuple):
            yield value.elts[at]
            return
        # Of what a function of this module returns.
        assert isinstance(value, ast.Call), ast.unparse(value)
        called = ast.unparse(value.func)
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef) and node.name == called:
                for one in ast.walk(node):
                    if isinstance(one, ast.Return):
                        assert isinstance(one.value, ast.Tuple)
                        yield one.value.elts[at]


MODULES = [Module(path) for path in sorted(PACKAGE.rglob("*.py"))]


def positions() -> dict[str, int]:
    """Return the same of the package's functions that are given what to do."""
    found = dict(CLASSES)
    for module in MODULES:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef):
                names = [one.arg for one in node.args.args if one.arg != "self"]
                if "do" in names:
                    found[node.name] = names.index("do")
    return found


POSITIONS = positions()
WRITTEN = [one for module in MODULES for one in module.ways_out(POSITIONS)]

#: What tables have, which the package fills in.
TABLES = [
    *(row.hint for row in LAUNCHERS),
    *(fabric.way_out for fabric in FABRICS),
    *(rule.do for rule in (*RULES, UNKNOWN) if rule.do),
    *(refusal()[1] for refusal in system_errors._REFUSALS.values()),  # noqa: SLF001
]


def begins_well(clause: str) -> bool:
    word = clause.partition(" ")[0].rstrip(":,")
    filled_in = re.match(r"(\w+=\S+ )?\{way\.command\}|[A-Z]\w+=\S+ \S", clause)
    return word in VERBS | COMMANDS or filled_in is not None


def says_what_to_do(text: str) -> bool:
    """Say whether each part of it is an order, perhaps behind a condition."""
    for clause in re.split(r";\s+|\n\s*", text):
        order = clause.strip().removeprefix("or ").removeprefix("and ")
        # Behind one of these there is a condition, and the order is what follows it.
        conditions = ("as", "from", "if", "in", "of", "where", "with")
        parts = [order]
        if order.partition(" ")[0] in conditions:
            parts = re.split(r", |: ", order)
        if not any(map(begins_well, parts)):
            return False
    return True


@pytest.mark.parametrize(
    ("place", "text"), WRITTEN, ids=[f"{place}" for place, _ in WRITTEN]
)
def test_a_way_out_is_a_verb_or_a_command(place: Place, text: str) -> None:
    assert says_what_to_do(text), f"{place}\nyou can: {text}"


@pytest.mark.parametrize("text", TABLES)
def test_a_way_out_of_a_table_is_a_verb_or_a_command(text: str) -> None:
    assert says_what_to_do(text), f"you can: {text}"


def test_lines_that_are_written_out_say_what_to_do_too() -> None:
    found = [
        (path, text)
        for path in sorted(PACKAGE.rglob("*.py"))
        for text in re.findall(r"you can: ([a-z][^{\"]*)", path.read_text())
    ]
    assert found
    for path, text in found:
        assert begins_well(text), (path, text)


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("--layout shared", False),
        ("an image with Open MPI 5", False),
        ("add --layout shared", True),
        ("dask-runner check IMAGE; or from inside: apptainer run IMAGE check", True),
        ("name another one; more time: --timeout", False),
        ("srun -n 2 x\n    or add --launcher none", True),
        ("srun -n 2 x\n    or, for this machine, --launcher none", False),
        ("check the path; in a container, bind it", True),
        ("PMIX_MCA_gds=hash {way.command}; or use an image with Open MPI 5", True),
    ],
)
def test_the_rule_itself(text: str, good: bool) -> None:
    assert says_what_to_do(text) is good


def test_places_that_make_errors_are_found() -> None:
    # A change of the package's style must not leave this test without work.
    assert len(WRITTEN) > 90
    files = {place.path.name for place, _ in WRITTEN}
    assert {
        "play.py",
        "program.py",
        "rules.py",
        "refusals.py",
        "failures.py",
    } <= files
