"""Every option, declared once: its name, its meaning and where its value came from.

A value is looked for on the command line (or in the call), in Dask's
configuration under ``runner:``, then here. Dask's configuration is its YAML
files and the variables ``DASK_RUNNER__*``; a thin rank does not import Dask to
read two variables, so the variables are read here and the files only where
there are any.
"""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dask_runner.errors import ConfigError, UsageError
from dask_runner.roles import LAYOUTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

PREFIX = "DASK_RUNNER__"


def _positive(text: str | float) -> int:
    number = int(text)
    if number < 1 or number != float(text):
        raise ValueError("a whole number of at least 1")
    return number


def _seconds(text: str | float) -> float:
    number = float(text)
    if not 0 < number < 10 * 365 * 86400:
        raise ValueError("a number of seconds above 0")
    return number


def _nworkers(text: str | int) -> str | int:
    return text if text == "auto" else _positive(text)


def _flag(value: str | bool) -> bool:
    flags = {"true": True, "1": True, "false": False, "0": False}
    found = flags.get(str(value).lower())
    if found is None:
        raise ValueError("true or false")
    return found


def _choice(*names: str) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        if value not in names:
            raise ValueError(f"one of {', '.join(names)}")
        return str(value)

    return parse


def _resources(value: str | Mapping[str, float]) -> dict[str, float]:
    # dask worker's own form: "GPU=2 MEM=10e9"
    if not isinstance(value, str):
        return dict(value)
    pairs = [item.partition("=") for item in value.replace(",", " ").split()]
    if not all(name and number for name, _, number in pairs):
        raise ValueError("names and numbers, as GPU=2 MEM=10e9")
    return {name: float(number) for name, _, number in pairs}


def _strings(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [str(item) for item in value]


def _names(value: Any) -> list[str]:
    names = value.split(",") if isinstance(value, str) else value
    found = [str(name).strip() for name in names if str(name).strip()]
    if not all(part.isidentifier() for name in found for part in name.split(".")):
        raise ValueError("names of modules, as numpy,pandas")
    return found


@dataclass(frozen=True, slots=True)
class Option:
    """One option.

    Attributes
    ----------
    name : str
        As on the command line without dashes, and in ``runner:`` in Dask's
        configuration.
    help : str
    default : Any
    parse : callable
        From text (or a configured value) to the value; ValueError says what
        was needed.
    metavar : str
        What ``--help`` shows for the value; empty for a flag.
    short : str
        A short form, as "-n".
    multiple : bool
        May be given several times.
    """

    name: str
    help: str
    default: Any
    parse: Callable[[Any], Any] = str
    metavar: str = "TEXT"
    short: str = ""
    multiple: bool = False

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
        str,
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
        "Begin (and go on) with so many workers; default: all that were planned "
        "to begin, one to go on.",
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
        "Seconds that the script has to end after SIGTERM or SIGINT.",
        5.0,
        _seconds,
        "SECONDS",
    ),
    Option(
        "stop-before",
        "Send the script SIGTERM so many seconds before the Slurm job's time is over.",
        None,
        _seconds,
        "SECONDS",
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
        "report", "Write a Dask performance report to FILE.", None, str, "FILE.html"
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
        str,
        "BYTES",
    ),
    Option(
        "nanny", "Restart workers that die or outgrow their memory.", True, _flag, ""
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
        "Node-local directory for spilled data; a private one is made inside.",
        None,
        str,
        "DIR",
    ),
    Option(
        "interface",
        "Network interface for all connections, as ib0.",
        None,
        str,
        "NAME",
    ),
    Option(
        "protocol",
        "Protocol of Dask's connections; default: tls, or tcp without security.",
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
        "Modules that all workers of a node share, as numpy,pandas: imported once, "
        "before the workers are forked.",
        (),
        _names,
        "NAME,...",
    ),
    Option(
        "resources",
        'Resources of each worker, as "GPU=2 MEM=10e9".',
        None,
        _resources,
        "NAME=N ...",
    ),
    Option(
        "dashboard-address",
        "Where the dashboard listens.",
        "127.0.0.1:8787",
        str,
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
        "File by which the ranks meet, on a file system that all share; {job_id} is "
        "replaced.",
        None,
        str,
        "FILE",
    ),
)

BY_KEY: Mapping[str, Option] = {option.key: option for option in OPTIONS}


@dataclass(frozen=True, slots=True)
class Setting:
    """A value and where it came from: "default", a variable, a file, a flag."""

    value: Any
    source: str


class Settings:
    """The values of all options; ``settings.timeout`` is the value alone."""

    def __init__(self, found: Mapping[str, Setting]) -> None:
        self._found = dict(found)

    def __getattr__(self, key: str) -> Any:
        try:
            return self._found[key].value
        except KeyError:
            raise AttributeError(key) from None

    def __iter__(self) -> Iterator[tuple[str, Setting]]:
        return iter(self._found.items())

    def plain(self) -> dict[str, Any]:
        """Return the values as JSON can carry them."""
        return {key: setting.value for key, setting in self._found.items()}


def settle(given: Mapping[str, Any], configured: Mapping[str, Setting]) -> Settings:
    """Choose each option's value.

    Parameters
    ----------
    given : mapping
        By key, from the command line or a call; None means not given.
    configured : mapping
        By key, from Dask's configuration.

    Raises
    ------
    UsageError
        If a given value makes no sense.
    ConfigError
        If a configured one does not, or no such option exists.
    """
    unknown = sorted(set(configured) - set(BY_KEY))
    if unknown:
        source = configured[unknown[0]].source
        raise ConfigError(
            f"the option {unknown[0]!r} in {source}",
            f"one of {', '.join(sorted(BY_KEY))}",
            "remove it or mend its name",
        )
    found = {}
    for key, option in BY_KEY.items():
        if given.get(key) is not None and given[key] != ():
            found[key] = _parsed(option, given[key], f"--{option.name}", UsageError)
        elif key in configured and configured[key].value is not None:
            setting = configured[key]
            found[key] = _parsed(option, setting.value, setting.source, ConfigError)
        else:
            found[key] = Setting(option.default, "default")
    return Settings(found)


def _parsed(
    option: Option, value: Any, source: str, error: type[UsageError | ConfigError]
) -> Setting:
    try:
        return Setting(option.parse(value), source)
    except (ValueError, TypeError, OverflowError) as wrong:
        needed = str(wrong)
        if "could not convert" in needed or "invalid literal" in needed:
            needed = f"a number ({option.metavar})"
        raise error(
            f"{source} = {value!r}", needed, f"give {option.metavar}: {option.help}"
        ) from None


def configured(environ: Mapping[str, str]) -> dict[str, Setting]:
    """Read what Dask's configuration says under ``runner:``.

    The variables alone are read as :func:`dask.config.collect_env` reads them.
    """
    found: dict[str, Setting] = {}
    if any(map(_says_something, _yaml_files(environ))):
        for name, value in _from_files().items():
            key = str(name).replace("-", "_")
            found[key] = Setting(value, f"Dask's configuration, runner.{name}")
    for name, text in environ.items():
        if name.startswith(PREFIX):
            found[name.removeprefix(PREFIX).lower()] = Setting(_literal(text), name)
    return found


def _from_files() -> Mapping[str, Any]:
    # 250 ms, only where there are files
    try:
        import dask.config  # noqa: PLC0415
    except (ValueError, TypeError) as error:
        # Dask reads its files when it is imported, and says which is wrong.
        raise ConfigError(
            f"Dask cannot read its configuration: {str(error).partition(', orig')[0]}",
            "YAML files that Dask can read",
            "mend or remove the file; `python -c 'import dask'` shows the whole error",
        ) from error
    found = dask.config.get("runner", {}) or {}
    if not isinstance(found, dict):
        raise ConfigError(
            f"Dask's configuration, runner = {found!r}",
            "options below it, as `runner: {timeout: 120}`",
            "mend or remove it",
        )
    return found


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text  # as much too deep as it may be nested, it is no literal


_SUFFIXES = (".yaml", ".yml", ".json")


def _yaml_files(environ: Mapping[str, str]) -> Iterator[Path]:
    # The same places as dask.config.paths.
    places = [
        environ.get("DASK_ROOT_CONFIG", "/etc/dask"),
        f"{sys.prefix}/etc/dask",
        f"{environ.get('HOME') or '~'}/.config/dask",
        *filter(None, [environ.get("DASK_CONFIG")]),
    ]
    for place in map(Path, places):
        if place.suffix in _SUFFIXES:
            yield place
        try:
            found = list(place.expanduser().iterdir())
        except (OSError, RuntimeError):  # RuntimeError: a user without a home
            continue
        yield from (path for path in found if path.suffix in _SUFFIXES)


def _says_something(path: Path) -> bool:
    # Dask itself leaves commented copies of its defaults in every home.
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return False
    return any(line.strip() and not line.lstrip().startswith(b"#") for line in lines)
