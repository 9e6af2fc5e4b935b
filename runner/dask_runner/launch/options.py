"""Every option, declared once: its name, default, meaning and valid values.

:mod:`dask_runner.launch.settings` finds the values.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dask_runner.launch.numbers import MOST_DIGITS, MOST_RANKS, parse_limit
from dask_runner.launch.plan import LAYOUTS
from dask_runner.launch.table import LAUNCHERS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PREFIX = "DASK_RUNNER__"

#: A cluster's name is a part of a file's name, and is typed in a shell.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
NAME_IN_WORDS = "1 to 64 letters, digits, dots, - and _, the first a letter or digit"


def _needs(words: str) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
    """Have a function that reads a value say what is valid, whatever is wrong."""

    def give(parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
        @functools.wraps(parse)
        def read(value: Any) -> Any:
            try:
                return parse(value)
            except (ValueError, TypeError, OverflowError):
                raise ValueError(words) from None

        return read

    return give


_NUMBER = f"a whole number from 1 to {MOST_RANKS}"


@_needs(_NUMBER)
def _positive(text: str | float) -> int:
    # int() raises an error of another wording for a text of thousands of digits.
    number = int(text) if len(str(text)) <= MOST_DIGITS else 0
    if not 1 <= number <= MOST_RANKS or number != float(text):
        raise ValueError
    return number


@_needs("a number of seconds above 0")
def _seconds(text: str | float) -> float:
    number = float(text)
    if not 0 < number < 10 * 365 * 86400:
        raise ValueError
    return number


@_needs(f"auto, or {_NUMBER}")
def _nworkers(text: str | int) -> Any:
    return text if text == "auto" else _positive(text)


def _limit(value: Any) -> Any:
    if value != "auto":
        parse_limit(value)
    return value


@_needs("true or false")
def _flag(value: str | bool) -> bool:
    flags = {"true": True, "1": True, "false": False, "0": False}
    found = flags.get(str(value).lower())
    if found is None:
        raise ValueError
    return found


def _choice(*names: str) -> Callable[[Any], str]:
    @_needs(f"one of {', '.join(names)}")
    def parse(value: Any) -> str:
        if value not in names:
            raise ValueError
        return str(value)

    return parse


@_needs("names and numbers, such as GPU=2 MEM=10e9")
def _resources(value: str | Mapping[str, float]) -> dict[str, float]:
    # dask worker's own form: "GPU=2 MEM=10e9"
    if not isinstance(value, str):
        return dict(value)
    pairs = [item.partition("=") for item in value.replace(",", " ").split()]
    if not all(name and number for name, _, number in pairs):
        raise ValueError
    return {name: float(number) for name, _, number in pairs}


@_needs("a name, or a list of names")
def _strings(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [str(item) for item in value]


@_needs(NAME_IN_WORDS)
def _cluster_name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise ValueError
    return text


@_needs("names of modules, such as numpy,pandas")
def _names(value: Any) -> list[str]:
    names = value.split(",") if isinstance(value, str) else value
    found = [str(name).strip() for name in names if str(name).strip()]
    if not all(part.isidentifier() for name in found for part in name.split(".")):
        raise ValueError
    return found


@_needs("HOST:PORT, :PORT or PORT, such as 127.0.0.1:8787")
def _address(value: Any) -> str:
    host, colon, port = str(value).rpartition(":")
    named = colon or port.isdigit()
    # A host alone gets a port of the system's choice.
    if named and not (port.isascii() and port.isdigit() and int(port) < 1 << 16):
        raise ValueError
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ValueError
    return str(value)


@dataclass(frozen=True, slots=True)
class Option:
    """One option.

    Attributes
    ----------
    name : str
        Its name on the command line, without the leading dashes, and below
        ``runner:`` in Dask's configuration.
    help : str
    default : Any
    parse : callable
        Turns a text (or a configured value) into the value; its ValueError says what
        is valid.
    metavar : str
        What ``--help`` shows for the value; empty for a flag.
    short : str
        A short form, such as "-n".
    multiple : bool
        Whether it may be given several times.
    verb : str
        The one verb that has it; empty for all that start ranks.
    """

    name: str
    help: str
    default: Any
    parse: Callable[[Any], Any] = str
    metavar: str = "TEXT"
    short: str = ""
    multiple: bool = False
    verb: str = ""

    @property
    def key(self) -> str:
        """The name as a Python identifier."""
        return self.name.replace("-", "_")

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return PREFIX + self.key.upper()


SECURITY = ("tls", "none")

OPTIONS: tuple[Option, ...] = (
    Option(
        "nranks",
        "Local ranks to start where no launcher does.",
        None,
        _positive,
        "N",
        "-n",
    ),
    Option(
        "launcher",
        "Who started the ranks: auto, none, or a name that `dask-runner info` lists.",
        "auto",
        _choice("auto", "none", *(row.name for row in LAUNCHERS)),
        "NAME",
    ),
    Option(
        "name",
        "Name of the cluster, by which list, stop, connect and Cluster.from_name find "
        "it; default: the job's.",
        None,
        _cluster_name,
        "NAME",
    ),
    Option(
        "layout",
        "; ".join(f"{name}: {layout.meaning}" for name, layout in LAYOUTS.items())
        + ".",
        "shared",
        _choice(*LAYOUTS),
        "|".join(LAYOUTS),
    ),
    Option(
        "min-workers",
        "Workers needed to start, and to go on; default: all of them to start, one "
        "to go on.",
        None,
        _positive,
        "N",
    ),
    Option(
        "timeout",
        "Seconds for all ranks and workers to arrive.",
        60.0,
        _seconds,
        "SECONDS",
    ),
    Option(
        "grace",
        "Seconds that the script has to end itself after SIGTERM or SIGINT.",
        5.0,
        _seconds,
        "SECONDS",
    ),
    Option(
        "stop-before",
        "Send the script SIGTERM this many seconds before the Slurm job's time limit; "
        "a cluster without a script ends then.",
        None,
        _seconds,
        "SECONDS",
    ),
    Option(
        "idle-timeout",
        "End the cluster when no task has run for so long.",
        None,
        _seconds,
        "SECONDS",
        verb="serve",
    ),
    Option(
        "no-client-timeout",
        "End the cluster when no client has been connected for so long.",
        None,
        _seconds,
        "SECONDS",
        verb="serve",
    ),
    Option(
        "silence",
        "Seconds without a sign of life after which a rank counts as lost.",
        30.0,
        _seconds,
        "SECONDS",
    ),
    Option(
        "security",
        "tls: encrypt and authenticate all connections with keys made for this "
        "cluster; none: anyone who reaches the scheduler runs code as you.",
        "tls",
        _choice(*SECURITY),
        "|".join(SECURITY),
    ),
    Option(
        "report",
        "Write a Dask performance report to FILE.",
        None,
        str,
        "FILE.html",
        verb="run",
    ),
    Option("quiet", "Print errors only.", False, _flag, ""),
    Option(
        "nworkers",
        "Workers a rank; auto follows `dask worker --nworkers auto`; default: one, or "
        "one a GPU.",
        None,
        _nworkers,
        "N|auto",
    ),
    Option(
        "nthreads", "Threads a worker; default: all its CPUs.", None, _positive, "N"
    ),
    Option(
        "memory-limit",
        "Memory a worker: bytes with a unit, a fraction of its share, auto, or 0 for "
        "no limit.",
        "auto",
        _limit,
        "BYTES",
    ),
    Option(
        "nanny", "Restart workers that die or outgrow their memory.", True, _flag, ""
    ),
    Option(
        "mpi-tasks",
        "Let tasks use MPI: each rank's worker is the launcher's rank in "
        "MPI_COMM_WORLD, and has no nanny.",
        False,
        _flag,
        "",
    ),
    Option(
        "worker-class",
        "The class of the workers.",
        "dask.distributed.Worker",
        str,
        "CLASS",
    ),
    Option(
        "local-directory",
        "Node-local directory for spilled data; a private one is made in it.",
        None,
        str,
        "DIR",
    ),
    Option(
        "interface",
        "Network interface for all connections, such as ib0.",
        None,
        str,
        "NAME",
    ),
    Option(
        "protocol",
        "Protocol of Dask's connections: tls (default) or wss; with --security none "
        "any that Dask has, default tcp.",
        None,
        str,
        "NAME",
    ),
    Option(
        "preload",
        "Module that each worker loads first; may be repeated.",
        (),
        _strings,
        "MODULE",
        multiple=True,
    ),
    Option(
        "preload-modules",
        "Modules that the workers of a node share, such as numpy,pandas: imported "
        "once, before the workers are forked.",
        (),
        _names,
        "NAME,...",
    ),
    Option(
        "resources",
        'Resources of each worker, such as "GPU=2 MEM=10e9".',
        None,
        _resources,
        "NAME=N ...",
    ),
    Option(
        "dashboard-address",
        "Open a port for the dashboard, which anyone who reaches it can read; default: "
        "a Unix socket that only you can open.",
        None,
        _address,
        "HOST:PORT",
    ),
    Option(
        "dashboard",
        "Serve Dask's dashboard (needs bokeh).",
        True,
        _flag,
        "",
    ),
    Option(
        "scheduler-file",
        "File by which the ranks meet, on a file system that all nodes share, and by "
        "which Dask clients find the scheduler; {job_id} is replaced.",
        None,
        str,
        "FILE",
    ),
)

BY_KEY: Mapping[str, Option] = {option.key: option for option in OPTIONS}
