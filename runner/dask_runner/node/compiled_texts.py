"""What Python's own modules compile from texts, taken from elsewhere.

``dataclasses`` writes the methods of each class as text, ``collections`` those of each
named tuple, and ``re`` compiles patterns. As it imports, a leader needs 196 texts and
46 patterns, and an agent 237 and 168. A leader's texts alone were a quarter of its
import (docs/bench/costs.md).

This module imports little, as :mod:`dask_runner.node.bytecode` does.
"""

from __future__ import annotations

import marshal
import sys
from importlib.util import source_hash

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, ModuleType
    from typing import Any

    #: What a text's result is kept under: a digest of its code, or a pattern, whether
    #: that is a str, and its flags.
    Key = bytes | tuple[bool, str | bytes, int]

#: What runs the texts of these modules.
_RUN: dict[str, Callable[..., Any]] = {"dataclasses": exec, "collections": eval}
#: The module whose ``compile`` takes a pattern and its flags, and whose last step is
#: ``_sre.compile``, which takes the pattern and what was made of it.
_OF_PATTERNS = "re._compiler"


class _Replaced:
    """Names of modules that have other values for a while."""

    def __init__(self) -> None:
        self._before: list[tuple[dict[str, Any], str, Any]] = []

    def _replace(self, module: ModuleType, name: str, by: Any) -> Any:
        names = vars(module)
        before = names.get(name)
        self._before.append((names, name, before))
        names[name] = by
        return before

    def put_back(self) -> None:
        """Undo all replacements."""
        while self._before:
            names, name, before = self._before.pop()
            names.pop(name)
            if before is not None:  # else it was one of Python's
                names[name] = before


class Known(_Replaced):
    """Lets modules take what was compiled before.

    Parameters
    ----------
    find : callable
        Returns what was noted under a key; None if nothing was.
    """

    def __init__(self, find: Callable[[Key], Any]) -> None:
        super().__init__()
        self._find = find

    def serve(self, module: ModuleType) -> None:
        """Serve a module that has just been loaded, if it compiles texts."""
        if run := _RUN.get(module.__name__):
            self._serve_texts(module, run)
        elif module.__name__ == _OF_PATTERNS:
            self._serve_patterns(module)

    def _serve_texts(self, module: ModuleType, run: Callable[..., Any]) -> None:
        def run_known(text: str, *names: dict[str, Any]) -> Any:
            code = self._find(_key(text))
            return run(_compiled(text, run) if code is None else code, *names)

        self._replace(module, run.__name__, run_known)

    def _serve_patterns(self, module: Any) -> None:
        def compile_known(pattern: Any, flags: int = 0) -> Any:
            key = _key_of_pattern(pattern, flags)
            made = self._find(key) if key else None
            if made is None:
                return by_itself(pattern, flags)
            return module._sre.compile(pattern, *made)  # noqa: SLF001  see _OF_PATTERNS

        by_itself = self._replace(module, "compile", compile_known)


class Recorder(_Replaced):
    """Takes note of what is compiled, until it is asked for that."""

    def __init__(self) -> None:
        super().__init__()
        self._noted: dict[Key, bytes] = {}
        self._pattern: Key | None = None
        for name, run in _RUN.items():
            __import__(name)
            self._note_texts(sys.modules[name], run)
        __import__(_OF_PATTERNS)
        self._note_patterns(sys.modules[_OF_PATTERNS])

    def _note_texts(self, module: ModuleType, run: Callable[..., Any]) -> None:
        def run_noted(text: str, *names: dict[str, Any]) -> Any:
            code = _compiled(text, run)
            self._noted[_key(text)] = marshal.dumps(code)
            return run(code, *names)

        self._replace(module, run.__name__, run_noted)

    def _note_patterns(self, module: Any) -> None:
        def compile_noted(pattern: Any, flags: int = 0) -> Any:
            self._pattern = _key_of_pattern(pattern, flags)
            return by_itself(pattern, flags)

        def last_step(pattern: Any, flags: int, code: list[int], *groups: Any) -> Any:
            if self._pattern:
                # Some numbers are of a class that marshal does not know.
                made = int(flags), list(map(int, code)), *groups
                self._noted[self._pattern] = marshal.dumps(made)
            return its_last_step(pattern, flags, code, *groups)

        by_itself = self._replace(module, "compile", compile_noted)
        its_last_step = self._replace(module._sre, "compile", last_step)  # noqa: SLF001  see _OF_PATTERNS

    def noted(self) -> dict[Key, bytes]:
        """Take no more notes, and return them: marshalled, by their keys."""
        self.put_back()
        return self._noted


def _key(text: str) -> bytes:
    # As Python does for a source that it has compiled.
    return source_hash(text.encode())


def _key_of_pattern(pattern: Any, flags: int) -> Key | None:
    # A str and bytes are told apart before they are compared: python -b warns of that.
    known = type(pattern) in (str, bytes)
    return (type(pattern) is str, pattern, int(flags)) if known else None


def _compiled(text: str, run: Callable[..., Any]) -> CodeType:
    # Without the __future__ of this module.
    return compile(text, "<string>", run.__name__, dont_inherit=True)
