"""Importing from one file what a start needs."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import os
import pkgutil
import py_compile
import sys
from typing import TYPE_CHECKING, Any

import pytest

from dask_runner.node import bytecode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Names of modules that nothing else has.
PACKAGE = "gathered"
#: A library, and what compiles the methods of dataclasses.
OTHERS = LIBRARY, _ = "_ssl", "dataclasses"


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
    recorder = bytecode.Recorder()
    made(dataclasses)
    bytecode.write(str(tmp_path / "bytecode"), modules, recorder.texts())
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
def anew(place: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Python's ``dataclasses``, loaded while the file is in use."""
    del place
    monkeypatch.delitem(sys.modules, "dataclasses")
    bytecode.use()
    return importlib.import_module("dataclasses")


def test_the_methods_of_a_dataclass_come_from_the_file(
    anew: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compiled(text: str) -> None:
        raise AssertionError(text)

    monkeypatch.setattr(bytecode, "_compiled", compiled)
    point, pythons = made(anew), made(dataclasses)
    assert anew is not dataclasses
    assert (point(1).x, point(1).y, point(1) == point(1)) == (1, 0.5, True)
    assert inspect.signature(point) == inspect.signature(pythons)
    assert repr(point(2)) == repr(pythons(2))
    with pytest.raises(AssertionError, match="other"):
        anew.make_dataclass("Other", [("other", int)])


def test_a_dataclass_that_the_file_does_not_have_is_made_as_ever(anew: Any) -> None:
    fields = [("x", int), ("other", "str", "there")]
    other = anew.make_dataclass("Other", fields)
    pythons = dataclasses.make_dataclass("Other", fields)
    assert (other(1).x, other(1).other) == (1, "there")
    assert inspect.signature(other) == inspect.signature(pythons)


def test_once_it_is_left_dataclasses_compile_by_themselves(anew: Any) -> None:
    assert "exec" in vars(anew)
    bytecode.leave()
    assert "exec" not in vars(anew)
    assert made(anew)(1).x == 1


def test_nothing_is_noted_after_the_file_is_written(place: Path) -> None:
    del place
    assert "exec" not in vars(dataclasses)
