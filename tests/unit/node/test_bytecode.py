"""Importing from one file what a start needs."""

from __future__ import annotations

import collections
import dataclasses
import importlib
import inspect
import os
import pkgutil
import py_compile
import re
import sys
from typing import TYPE_CHECKING, Any

import pytest

from dask_runner.node import bytecode, compiled_texts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Anew = Callable[[str], Any]

#: Names of modules that nothing else has.
PACKAGE = "gathered"
#: A library, and modules that compile texts.
OTHERS = LIBRARY, *_ = "_ssl", "dataclasses", "collections", "re._compiler"
COMPILER: Any = importlib.import_module("re._compiler")
#: Patterns and flags, whose results the file has.
PATTERNS = [
    ("a(?P<name>[b-z]+)|(x)", 0),
    ("a(?P<name>[b-z]+)|(x)", int(re.IGNORECASE | re.VERBOSE)),
    (b"a(?P<name>[b-z]+)|(x)", 0),
    ("[\u0400-\u04ff]{2,}(?=x)", int(re.ASCII)),
]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory with a package on the path, whose bytecode was gathered."""
    place = tmp_path / "site"
    (place / PACKAGE / "below").mkdir(parents=True)
    (place / PACKAGE / "__init__.py").write_text("said = 'first'\n")
    (place / PACKAGE / "below/__init__.py").write_text("")
    (place / PACKAGE / "below/deep.py").write_text("def name(): return __name__\n")
    for source in place.rglob("*.py"):
        py_compile.compile(str(source))
    monkeypatch.syspath_prepend(str(place))
    monkeypatch.setattr(bytecode, "of_this_python", lambda: str(tmp_path / "bytecode"))
    modules = [
        importlib.import_module(name)
        for name in (PACKAGE, f"{PACKAGE}.below", f"{PACKAGE}.below.deep", *OTHERS)
    ]
    recorder = compiled_texts.Recorder()
    made(dataclasses)
    collections.namedtuple("Named", "x y", defaults=[1])  # noqa: PYI024  as of old
    for pattern, flags in PATTERNS:
        COMPILER.compile(pattern, flags)
    bytecode.write(str(tmp_path / "bytecode"), modules, recorder.noted())
    forget()
    yield place
    bytecode.leave()
    forget()


def made(module: Any) -> Any:
    """Return a class that a module ``dataclasses`` has made."""

    class Point:
        x: int
        y: float = 0.5

    Point.__annotations__ = {"x": int, "y": float}
    return module.dataclass(frozen=True, slots=True)(Point)


def forget() -> None:
    for name in [one for one in sys.modules if one.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


def change(directory: Path) -> None:
    """Let a directory be changed later than the file says."""
    os.utime(directory, (0, os.stat(directory).st_mtime + 5))  # noqa: PTH116


def write_unnoticed(file: Path, text: str) -> None:
    """Write a file, and let its directory look as before."""
    before = file.parent.stat()
    file.write_text(text)
    os.utime(file.parent, ns=(before.st_atime_ns, before.st_mtime_ns))


def said() -> str:
    return str(importlib.import_module(PACKAGE).said)


def test_a_module_comes_from_the_file_and_says_where_it_is(place: Path) -> None:
    source = place / PACKAGE / "__init__.py"
    write_unnoticed(source, "said = 'read anew'\n")
    bytecode.use()
    assert said() == "first"
    package = sys.modules[PACKAGE]
    assert package.__file__ == str(source)
    assert package.__path__ == [str(source.parent)]
    deep = importlib.import_module(f"{PACKAGE}.below.deep")
    assert deep.name() == f"{PACKAGE}.below.deep"
    assert deep.name.__code__.co_filename == str(place / PACKAGE / "below/deep.py")


def test_a_directory_that_has_changed_is_read(place: Path) -> None:
    (place / PACKAGE / "__init__.py").write_text("said = 'the second'\n")
    change(place)
    bytecode.use()
    assert said() == "the second"


@pytest.mark.parametrize("changed", ["", "__pycache__"])
def test_a_directory_below_is_read_if_it_has_changed(place: Path, changed: str) -> None:
    below = place / PACKAGE / "below"
    (below / "deep.py").write_text("name = 2\n")
    change(below / changed)
    bytecode.use()
    assert said() == "first"
    assert importlib.import_module(f"{PACKAGE}.below.deep").name == 2


def test_a_package_before_it_on_the_path_wins(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del place
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / f"{PACKAGE}.py").write_text("said = 'of the user'\n")
    monkeypatch.syspath_prepend(str(tmp_path / "first"))
    bytecode.use()
    assert said() == "of the user"


def test_what_the_file_does_not_have_is_found_as_ever(place: Path) -> None:
    write_unnoticed(place / PACKAGE / "later.py", "said = 'later'\n")
    bytecode.use()
    assert said() == "first"
    assert importlib.import_module(f"{PACKAGE}.later").said == "later"
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(f"{PACKAGE}.never")


def test_tools_see_all_modules_of_a_directory(place: Path) -> None:
    write_unnoticed(place / "another.py", "")
    bytecode.use()
    said()
    found = {one.name for one in pkgutil.iter_modules([str(place)])}
    assert found == {PACKAGE, "another"}


@pytest.mark.parametrize("how", ["leave", "invalidate"])
def test_it_can_be_left(place: Path, how: str) -> None:
    write_unnoticed(place / PACKAGE / "__init__.py", "said = 'read anew, and longer'\n")
    hooks = list(sys.path_hooks)
    bytecode.use()
    assert said() == "first"
    forget()
    if how == "leave":
        bytecode.leave()
        assert sys.path_hooks == hooks
    else:
        importlib.invalidate_caches()
    assert said() == "read anew, and longer"


def test_a_module_that_was_loaded_from_it_can_be_loaded_again(place: Path) -> None:
    bytecode.use()
    said()
    bytecode.leave()
    (place / PACKAGE / "__init__.py").write_text("said = 'after an edit'\n")
    assert importlib.reload(sys.modules[PACKAGE]).said == "after an edit"


def test_the_file_of_another_python_is_left_alone(place: Path, tmp_path: Path) -> None:
    file = tmp_path / "bytecode"
    had = file.read_bytes()
    number = importlib.util.MAGIC_NUMBER
    file.write_bytes(had.replace(number, b"\0\0\0\0", 1))
    (place / PACKAGE / "__init__.py").write_text("said = 'by this Python'\n")
    bytecode.use()
    assert said() == "by this Python"


@pytest.mark.parametrize("left", [0, 5, 30, 100, -1])
def test_a_part_of_a_file_is_left_alone(place: Path, tmp_path: Path, left: int) -> None:
    file = tmp_path / "bytecode"
    file.write_bytes(file.read_bytes()[:left])
    (place / PACKAGE / "__init__.py").write_text("said = 'by this Python'\n")
    bytecode.use()
    assert said() == "by this Python"


def test_without_a_file_all_is_as_ever(place: Path, tmp_path: Path) -> None:
    del place
    (tmp_path / "bytecode").unlink()
    hooks = list(sys.path_hooks)
    bytecode.use()
    assert sys.path_hooks == hooks
    assert said() == "first"


def test_a_library_is_loaded_from_where_it_is(place: Path) -> None:
    del place
    bytecode.use()
    spec = importlib.util.find_spec(LIBRARY)
    assert spec is not None
    assert spec.origin == sys.modules[LIBRARY].__file__


@pytest.fixture
def anew(place: Path, monkeypatch: pytest.MonkeyPatch) -> Anew:
    """Loads a module of Python while the file is in use."""
    del place

    def load(name: str) -> Any:
        package, _, own = name.rpartition(".")
        bytecode.use()
        # The tests themselves keep Python's.
        with monkeypatch.context() as loading:
            if package:
                loading.setattr(sys.modules[package], own, sys.modules[name])
            loading.delitem(sys.modules, name)
            return importlib.import_module(name)

    return load


@pytest.fixture
def only_known(anew: Anew, monkeypatch: pytest.MonkeyPatch) -> Anew:
    """Loads a module of Python that may compile no text then."""

    def compiled(text: str, run: Any) -> None:
        raise AssertionError(text, run)

    monkeypatch.setattr(compiled_texts, "_compiled", compiled)
    return anew


def test_the_methods_of_a_dataclass_come_from_the_file(only_known: Anew) -> None:
    own = only_known("dataclasses")
    point, pythons = made(own), made(dataclasses)
    assert (point(1).x, point(1).y, point(1) == point(1)) == (1, 0.5, True)
    assert inspect.signature(point) == inspect.signature(pythons)
    assert repr(point(2)) == repr(pythons(2))
    with pytest.raises(AssertionError, match="other"):
        own.make_dataclass("Other", [("other", int)])


def test_a_dataclass_that_the_file_does_not_have_is_made_as_ever(anew: Anew) -> None:
    fields = [("x", int), ("other", "str", "there")]
    other = anew("dataclasses").make_dataclass("Other", fields)
    pythons = dataclasses.make_dataclass("Other", fields)
    assert (other(1).x, other(1).other) == (1, "there")
    assert inspect.signature(other) == inspect.signature(pythons)


def test_the_methods_of_a_named_tuple_come_from_the_file(only_known: Anew) -> None:
    own = only_known("collections")
    named = own.namedtuple("Named", "x y", defaults=[1])
    assert repr(named(2)) == "Named(x=2, y=1)"
    with pytest.raises(AssertionError, match="other"):
        own.namedtuple("Named", "other")


@pytest.mark.parametrize(("pattern", "flags"), PATTERNS)
def test_a_pattern_comes_from_the_file_and_is_as_ever(
    anew: Anew, monkeypatch: pytest.MonkeyPatch, pattern: Any, flags: int
) -> None:
    pythons = COMPILER.compile(pattern, flags)
    own = anew("re._compiler")
    monkeypatch.setattr(own, "_code", None)
    known = own.compile(pattern, flags)
    assert known == pythons
    assert (known.pattern, known.groupindex) == (pattern, pythons.groupindex)
    with pytest.raises(TypeError, match="not callable"):
        own.compile(pattern, flags ^ re.DOTALL)


def test_a_pattern_that_the_file_does_not_have_is_made_as_ever(anew: Anew) -> None:
    own = anew("re._compiler")
    assert own.compile("other+", 0) == COMPILER.compile("other+", 0)
    parsed = importlib.import_module("re._parser").parse("(other)+", 0)
    assert own.compile(parsed).match("otherother").end() == len("otherother")
    with pytest.raises(re.error, match="unterminated"):
        own.compile("(", 0)


@pytest.mark.parametrize(
    ("module", "name"), [("dataclasses", "exec"), ("collections", "eval")]
)
def test_once_it_is_left_modules_compile_by_themselves(
    anew: Anew, module: str, name: str
) -> None:
    own = anew(module)
    assert name in vars(own)
    bytecode.leave()
    assert name not in vars(own)


def test_once_it_is_left_patterns_are_compiled_by_python(anew: Anew) -> None:
    own = anew("re._compiler")
    bytecode.leave()
    assert own.compile.__module__ == own.__name__


def test_nothing_is_noted_after_the_file_is_written(place: Path) -> None:
    del place
    assert "exec" not in vars(dataclasses)
    assert "eval" not in vars(collections)
    assert COMPILER.compile.__module__ == "re._compiler"
    assert inspect.isbuiltin(importlib.import_module("_sre").compile)
