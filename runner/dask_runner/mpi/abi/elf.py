"""What the loader finds in a file, read without loading it."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

T = TypeVar("T")

MAGIC = b"\x7fELF"

# e_machine as `uname -m` calls it (elf.h).
_MACHINES = {
    "EM_386": "i686",
    "EM_X86_64": "x86_64",
    "EM_AARCH64": "aarch64",
    "EM_PPC64": "ppc64le",
    "EM_RISCV": "riscv64",
}

# Bounds, each some ten times what the largest MPI libraries have, so that a file made
# for it cannot fill the memory.
_MOST_TAGS = 10_000
_MOST_SYMBOLS = 500_000
_MOST_CHARACTERS = 16 << 20


@dataclass(frozen=True, slots=True)
class ELF:
    """The dynamic part of a shared library or program.

    Attributes
    ----------
    arch : str
        As ``uname -m`` has it.
    soname : str
        Empty for a program.
    needed : tuple of str
        Libraries it is linked to.
    runpath : tuple of str
        Where the loader looks for these first; ``$ORIGIN`` is not replaced.
    glibc : tuple of int
        The newest symbol version of the C library that it needs; empty for none.
    """

    arch: str = ""
    soname: str = ""
    needed: tuple[str, ...] = ()
    runpath: tuple[str, ...] = ()
    glibc: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Symbols:
    """What a file offers to others, and what others have to offer to it.

    Weak references, which may stay open, are in neither.
    """

    exports: frozenset[str] = frozenset()
    imports: frozenset[str] = frozenset()


class NotELFError(Exception):
    """The file cannot be read as ELF; the text says why."""


def numbers(text: str) -> tuple[int, ...]:
    """Return the leading numbers of a version: ``5.0.7a1`` is ``(5, 0, 7)``."""
    # Nine digits, because more are no version, and int() takes no more than 4300.
    match = re.match(r"\D*(\d{1,9}(?:\.\d{1,9})*)", text)
    return tuple(map(int, match[1].split("."))) if match else ()


def read(stream: BinaryIO, name: str) -> ELF:
    """Read a file's dynamic section and version needs.

    Parameters
    ----------
    stream : binary file
    name : str
        Of the file, for the error.

    Raises
    ------
    NotELFError
        Where it is no ELF file, or is damaged.
    """
    with _opened(stream, name) as elf:
        return _dynamic(elf)


def symbols(stream: BinaryIO, name: str) -> Symbols:
    """Read a file's dynamic symbols, which takes longer.

    Raises
    ------
    NotELFError
        As :func:`read`.
    """
    with _opened(stream, name) as elf:
        return _symbols(elf)


@contextmanager
def _opened(stream: BinaryIO, name: str) -> Iterator[Any]:
    # Only `check` needs the package.
    from elftools.common.exceptions import ELFError  # noqa: PLC0415
    from elftools.construct.core import ConstructError  # noqa: PLC0415
    from elftools.elf.elffile import ELFFile  # noqa: PLC0415

    try:
        yield ELFFile(stream)
    # What pyelftools raises where offsets or names of a cut file lead nowhere.
    except (
        ELFError,
        ConstructError,
        ArithmeticError,
        AttributeError,
        LookupError,
        MemoryError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        raise NotELFError(f"{name}: no whole ELF file ({error})") from error


def _bounded(found: Iterable[T], most: int, what: str) -> Iterator[T]:
    for number, each in enumerate(found):
        if number >= most:
            raise ValueError(f"more than {most} {what}")
        yield each


class _Names:
    """Lets names through until they are more than a file has."""

    def __init__(self) -> None:
        self._left = _MOST_CHARACTERS

    def __call__(self, name: str) -> str:
        self._left -= len(name)
        if self._left < 0:
            raise ValueError(f"more than {_MOST_CHARACTERS} characters of names")
        return name


def _dynamic(elf: Any) -> ELF:
    soname, needed, runpath = "", [], []
    short = _Names()
    glibc: tuple[int, ...] = ()
    tags = (
        tag
        for segment in elf.iter_segments("PT_DYNAMIC")
        for tag in segment.iter_tags()
    )
    for tag in _bounded(tags, _MOST_TAGS, "entries in the dynamic section"):
        if tag.entry.d_tag == "DT_SONAME":
            soname = short(tag.soname)
        elif tag.entry.d_tag == "DT_NEEDED":
            needed.append(short(tag.needed))
        elif tag.entry.d_tag == "DT_RUNPATH":
            runpath += short(tag.runpath).split(":")
        elif tag.entry.d_tag == "DT_RPATH":
            runpath += short(tag.rpath).split(":")
    section = elf.get_section_by_name(".gnu.version_r")
    versions = (
        version
        for _, group in (section.iter_versions() if section else ())
        for version in group
    )
    for version in _bounded(versions, _MOST_TAGS, "versions of symbols"):
        if version.name.startswith("GLIBC_2"):
            glibc = max(glibc, numbers(version.name))
    arch = _MACHINES.get(elf["e_machine"], str(elf["e_machine"]))
    return ELF(arch, soname, tuple(needed), tuple(filter(None, runpath)), glibc)


def _symbols(elf: Any) -> Symbols:
    exports, imports = set(), set()
    short = _Names()
    table = elf.get_section_by_name(".dynsym")
    found = table.iter_symbols() if table else ()
    for symbol in _bounded(found, _MOST_SYMBOLS, "symbols"):
        binding = symbol["st_info"]["bind"]
        name = short(symbol.name)
        if symbol["st_shndx"] != "SHN_UNDEF":
            exports.add(name)
        elif binding == "STB_GLOBAL":
            imports.add(name)
    return Symbols(frozenset(exports), frozenset(imports))
