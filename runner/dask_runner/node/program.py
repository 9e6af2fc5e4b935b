"""Check the program before the client runs it, and read it if it comes from a pipe.

Any path may lead to a file server that does not answer. So the rank checks the program
in a thread, with a deadline, and does not wait for the thread after that. A pipe can be
read only once: the rank reads it and hands the text over to the client.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from dask_runner.errors import AssemblyError, ConfigError, RunnerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from dask_runner.launch.launch import Program

#: The target that means standard input, as for Python.
STDIN = "-"

#: Bytes of a program that is handed over. A message may have twice as many.
LARGEST_PROGRAM = 4 << 20

#: Other names of standard input.
_STDINS = (STDIN, "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0")

# How a shell writes <(...), alone or in an option.
_DESCRIPTOR = re.compile(r"/(?:dev|proc/self)/fd/([0-9]{1,7})(?![0-9])")


def descriptors(words: Iterable[str]) -> tuple[int, ...]:
    """Return the descriptors that a shell has left open, and that these words name."""
    named = {int(one) for word in words for one in _DESCRIPTOR.findall(word)}
    return tuple(sorted(filter(_is_a_shells, named)))


def _is_a_shells(number: int) -> bool:
    try:
        # Files that Python opens are not inheritable.
        return number > 2 and os.get_inheritable(number)  # noqa: PLR2004  not standard
    except OSError:
        return False


async def read(
    program: Program, environ: Mapping[str, str], seconds: float, rank: int = 0
) -> bytes | None:
    """Check that a program can be run; read it if it can be read only once.

    Parameters
    ----------
    program : Program
    environ : mapping
    seconds : float
        The time for it to arrive (``--timeout``).
    rank : int
        The rank whose client runs it.

    Returns
    -------
    bytes or None
        The program's text, if only one process can read it.

    Raises
    ------
    ConfigError
        If the program cannot be run.
    AssemblyError
        If it has not arrived within ``--timeout``.
    """
    looks = {"script": _script, "command": _command}
    if program.kind not in looks:
        return None
    look = looks[program.kind]
    try:
        async with asyncio.timeout(seconds):
            text = await _aside(lambda: look(program.target, environ))
    except TimeoutError:
        do = "start what writes it, or give the name of a file"
        if program.target in _STDINS:
            # srun sends it to all tasks, and stops at those that do not read it.
            do = "end what is piped in, or give a file's name; add --input=0 to srun"
        raise AssemblyError(
            f"the program {program.target!r} has not come within {seconds:g} s: its "
            "writer, or the file server that it is on, does not answer",
            "a program that can be read to its end",
            f"{do}; give more time with --timeout",
        ) from None
    if text == b"":
        raise _empty(program.target, rank)
    return text


async def _aside(look: Callable[[], bytes | None]) -> bytes | None:
    """Call a function in a thread that does not keep the process from ending."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[bytes | None] = loop.create_future()

    def tell(result: bytes | None, error: Exception | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(result)
        else:
            done.set_exception(error)

    def play() -> None:
        result, wrong = None, None
        try:
            result = look()
        except (RunnerError, OSError, ValueError) as error:
            wrong = error
        try:
            loop.call_soon_threadsafe(tell, result, wrong)
        except RuntimeError:
            return  # the rank has ended meanwhile

    threading.Thread(target=play, name="look at the program", daemon=True).start()
    return await done


def _command(target: str, environ: Mapping[str, str]) -> None:
    if shutil.which(target, path=environ.get("PATH")) is not None:
        return
    needed = f"a command that {socket.gethostname()} has"
    if os.path.isfile(target):  # noqa: PTH113  a path may be no Path: "a\0"
        raise ConfigError(
            f"the command {target!r} is a file, which is not executable or not on the "
            "PATH",
            needed,
            "leave out the --, if it is a Python script; or make it executable "
            "(chmod +x), and write ./ before its name",
        )
    raise ConfigError(
        f"the command {target!r} does not exist, or is not on the PATH",
        needed,
        "check its name, and that it is in the image",
    )


def _script(target: str, environ: Mapping[str, str]) -> bytes | None:
    try:
        if target == STDIN:
            return _all_of(os.dup(0), target)
        mode = os.stat(target).st_mode  # noqa: PTH116  a path may be no Path: "a\0"
        if stat.S_ISDIR(mode):
            _refuse_without_main(Path(target))
            return None
        descriptor = os.open(target, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
        if not stat.S_ISREG(mode):
            return _all_of(descriptor, target)
        with os.fdopen(descriptor, "rb") as file:
            file.read(1)
    except (OSError, ValueError) as error:
        raise _unreadable(target, error, environ) from None
    return None


def _refuse_without_main(path: Path) -> None:
    # Python runs the file of that name in a directory or an archive.
    if not any((path / name).is_file() for name in ("__main__.py", "__main__.pyc")):
        raise ConfigError(
            f"the script {str(path)!r} is a directory that has no __main__.py",
            "a Python file, or a directory or an archive with a __main__.py",
            "give the name of the script in it",
        )


def _all_of(descriptor: int, target: str) -> bytes:
    with os.fdopen(descriptor, "rb") as file:
        if file.isatty():
            raise ConfigError(
                f"the program is to come from {_name(target)}, which is a terminal",
                "the text of a Python program",
                "pipe it in (dask-runner - < script.py), or give the name of a file",
            )
        text = file.read(LARGEST_PROGRAM + 1)
    if len(text) > LARGEST_PROGRAM:
        raise ConfigError(
            f"the program from {_name(target)} is longer than "
            f"{LARGEST_PROGRAM >> 20} MiB",
            "a program that fits into a message",
            "save it in a file, and give its name",
        )
    return text


def _empty(target: str, rank: int) -> ConfigError:
    do = "check what writes it, or give the name of a file"
    if rank and target in _STDINS:
        do = (
            "add --layout shared, with which the client is on rank 0, or give the name "
            "of a file"
        )
    return ConfigError(
        f"the program from {_name(target)} is empty",
        "the text of a Python program",
        do,
    )


def _unreadable(
    target: str, error: OSError | ValueError, environ: Mapping[str, str]
) -> ConfigError:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    do = (
        "check the path; in a container, bind the directory that it is in "
        "(apptainer run --bind DIR)"
    )
    if isinstance(error, FileNotFoundError) and shutil.which(
        target, path=environ.get("PATH")
    ):
        do = (
            "leave out the command, if a script of Python's follows; or write -- "
            "before it, to run the command"
        )
    if _DESCRIPTOR.fullmatch(target):
        do = (
            "save the program in a file, and give its name: what a shell writes as "
            "<(...) reaches processes of its own machine only"
        )
    return ConfigError(
        f"the script {target!r}: {reason}",
        f"a Python file that {socket.gethostname()} can read (working directory "
        f"{Path.cwd()})",
        do,
    )


def _name(target: str) -> str:
    return "standard input" if target in _STDINS else repr(target)
