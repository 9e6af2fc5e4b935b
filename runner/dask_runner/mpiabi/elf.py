"""What the loader would know of a file, read without loading it."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAGIC = b"\x7fELF"

# e_machine as `uname -m` calls it (elf.h).
_MACHINES = {
    "EM_386": "i686",
    "EM_X86_64": "x86_64",
    "EM_AARCH64": "aarch64",
    "EM_PPC64": "ppc64le",
    "EM_RISCV": "riscv64",
}


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
    match = re.match(r"\D*(\d+(?:\.\d+)*)", text)
    return tuple(map(int, match[1].split("."))) if match else ()


def is_elf(path: Path) -> bool:
    """Tell from the first bytes; a file that cannot be read is none."""
    try:
        with path.open("rb") as stream:
            return stream.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


@lru_cache(maxsize=512)
def read(path: Path) -> ELF:
    """Read a file's dynamic section and version needs.

    Raises
    ------
    NotELFError
        Where it is no ELF file, is damaged, or may not be read.
    """
    with _opened(path) as elf:
        return _dynamic(elf)


@lru_cache(maxsize=64)
def symbols(path: Path) -> Symbols:
    """Read a file's dynamic symbols, which takes longer.

    Raises
    ------
    NotELFError
        As :func:`read`.
    """
    with _opened(path) as elf:
        return _symbols(elf)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    # Only `check` needs the package.
    from elftools.common.exceptions import ELFError  # noqa: PLC0415
    from elftools.construct.core import ConstructError  # noqa: PLC0415
    from elftools.elf.elffile import ELFFile  # noqa: PLC0415

    try:
        with path.open("rb") as stream:
            yield ELFFile(stream)
    except OSError as error:
        raise NotELFError(f"{path}: {os.strerror(error.errno or 0)}") from error
    # What pyelftools lets through where offsets or names of a cut file lead astray.
    except (
        ELFError,
        ConstructError,
        ArithmeticError,
        AttributeError,
        LookupError,
        MemoryError,
        TypeError,
        ValueError,
    ) as error:
        raise NotELFError(f"{path}: no whole ELF file ({error})") from error


def _dynamic(elf: Any) -> ELF:
    soname, needed, runpath = "", [], []
    glibc: tuple[int, ...] = ()
    for segment in elf.iter_segments("PT_DYNAMIC"):
        for tag in segment.iter_tags():
            if tag.entry.d_tag == "DT_SONAME":
                soname = tag.soname
            elif tag.entry.d_tag == "DT_NEEDED":
                needed.append(tag.needed)
            elif tag.entry.d_tag == "DT_RUNPATH":
                runpath += tag.runpath.split(":")
            elif tag.entry.d_tag == "DT_RPATH":
                runpath += tag.rpath.split(":")
    section = elf.get_section_by_name(".gnu.version_r")
    for _, versions in section.iter_versions() if section else ():
        for version in versions:
            if version.name.startswith("GLIBC_2"):
                glibc = max(glibc, numbers(version.name))
    arch = _MACHINES.get(elf["e_machine"], str(elf["e_machine"]))
    return ELF(arch, soname, tuple(needed), tuple(filter(None, runpath)), glibc)


def _symbols(elf: Any) -> Symbols:
    exports, imports = set(), set()
    table = elf.get_section_by_name(".dynsym")
    for symbol in table.iter_symbols() if table else ():
        binding = symbol["st_info"]["bind"]
        if symbol["st_shndx"] != "SHN_UNDEF":
            exports.add(symbol.name)
        elif binding == "STB_GLOBAL":
            imports.add(symbol.name)
    return Symbols(frozenset(exports), frozenset(imports))
