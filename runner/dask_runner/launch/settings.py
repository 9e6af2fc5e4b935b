"""The options' values, and where each comes from.

A value comes from the command line (or the call), else from ``runner:`` in Dask's
configuration, else from the table of options. Dask's configuration is its YAML files
and the variables ``DASK_RUNNER__*``. This module reads the variables itself and loads
Dask only where there are files, because a rank's top process does without Dask.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dask_runner.errors import ConfigError, RunnerError, UsageError
from dask_runner.launch import config_files, protocols
from dask_runner.launch.numbers import quoted
from dask_runner.launch.options import BY_KEY, PREFIX
from dask_runner.launch.own_variables import VARIABLE_OF_SECRET

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from dask_runner.launch.options import Option


#: The key below ``runner:`` that has no option of a run, but what jobs are made of.
JOB = "job"
_JOB_PREFIX = f"{PREFIX}{JOB.upper()}__"

# Where a value is from that no file has, because a program has set it.
_DASKS = "Dask's configuration"


@dataclass(frozen=True, slots=True)
class Setting:
    """A value and where it comes from: "default", a variable, a file or a flag."""

    value: Any
    source: str


@dataclass(frozen=True, slots=True)
class Requested:
    """Packages that were asked for: as lines of text, and as files of lines."""

    lines: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Return whether any were."""
        return bool(self.lines or self.files)


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

    @property
    def needs_all_ranks(self) -> bool:
        """Whether the cluster can only begin with each of its ranks."""
        return self.min_workers is None and not self.spare

    @property
    def packages(self) -> Requested:
        """The packages that the cluster has beside the image's."""
        found = self._found
        return Requested(
            tuple(found["with"].value), tuple(found["with_requirements"].value)
        )

    def plain(self) -> dict[str, Any]:
        """Return the values without their sources."""
        return {key: setting.value for key, setting in self._found.items()}


def settle(given: Mapping[str, Any], configured: Mapping[str, Setting]) -> Settings:
    """Return the value of each option.

    Parameters
    ----------
    given : mapping
        By key, from the command line or a call; None means not given.
    configured : mapping
        By key, from Dask's configuration.

    Raises
    ------
    UsageError
        If a given value is invalid.
    ConfigError
        If a configured value is invalid, if there is no such option, or if two values
        exclude each other.
    """
    unknown = sorted(set(configured) - set(BY_KEY))
    if unknown:
        source = configured[unknown[0]].source
        raise ConfigError(
            f"the option {unknown[0]!r} in {source}",
            f"one of {', '.join(sorted(BY_KEY))}",
            "remove it or correct its name",
        )
    found = {}
    for key, option in BY_KEY.items():
        if given.get(key) is not None and given[key] != ():
            found[key] = parsed(option, given[key], f"--{option.name}", UsageError)
        elif key in configured and configured[key].value is not None:
            setting = configured[key]
            found[key] = parsed(option, setting.value, setting.source, ConfigError)
        else:
            found[key] = Setting(option.default, "default")
    settings = Settings(found)
    protocols.check(settings)
    if None not in (settings.stop_before, settings.requeue_before):
        raise ConfigError(
            "--stop-before and --requeue-before",
            "one of them: before the job's end the cluster ends, or is queued again",
            "leave out --stop-before: the script gets SIGTERM with both",
        )
    return settings


def parsed(
    option: Option, value: Any, source: str, error: type[UsageError | ConfigError]
) -> Setting:
    """Return an option's value; an *error* if it is not valid."""
    try:
        return Setting(option.parse(value), source)
    except ValueError as wrong:
        typed = f"{source} ({option.short})" if option.short else source
        raise error(
            f"{typed if error is UsageError else source} = {quoted(value)}",
            str(wrong),
            _advice(option, source, error),
        ) from None


def _advice(option: Option, source: str, error: type[RunnerError]) -> str:
    value = option.metavar or "true or false"
    if error is UsageError:
        return f"write {source} {value}; it means: {option.help}"
    return f"set it to {value}, or remove it; it means: {option.help}"


def configured(environ: Mapping[str, str]) -> dict[str, Setting]:
    """Return the values below ``runner:`` in Dask's configuration.

    Variables are read as :func:`dask.config.collect_env` reads them.
    """
    found: dict[str, Setting] = {}
    if any(config_files.with_content(environ)):
        said = _from_dask()
        files = _from_files() if said else []
        for name, value in said.items():
            if name == JOB:
                continue
            path = config_files.setter(str(name), value, files)
            source = f"{path or _DASKS}, runner.{name}"
            found[str(name).replace("-", "_")] = Setting(value, source)
    if VARIABLE_OF_SECRET in environ:
        found.pop("secret", None)  # Dask has read the variable, which is no option
    for name, text in environ.items():
        if name.startswith(_JOB_PREFIX) or name == VARIABLE_OF_SECRET:
            continue
        if name.startswith(PREFIX):
            found[name.removeprefix(PREFIX).lower()] = Setting(_literal(text), name)
    return found


def of_verb(verb: str, found: Mapping[str, Setting]) -> dict[str, Setting]:
    """Return the configured values without those of options that a verb lacks."""
    return {
        key: setting
        for key, setting in found.items()
        if key not in BY_KEY or verb in BY_KEY[key].verbs
    }


def for_jobs(environ: Mapping[str, str]) -> Mapping[str, Any]:
    """Return what Dask's configuration has below ``runner.job``, variables too.

    Raises
    ------
    ConfigError
        If it cannot be read, or has no options below it.
    """
    named = any(name.startswith(_JOB_PREFIX) for name in environ)
    if not named and not any(config_files.with_content(environ)):
        return {}
    return of_jobs(_from_dask().get(JOB))


def of_jobs(value: Any) -> Mapping[str, Any]:
    """Return what a configuration has below ``runner.job``.

    Raises
    ------
    ConfigError
        If that is a value, and has no options below it.
    """
    found = value or {}
    if not isinstance(found, dict):
        raise ConfigError(
            f"Dask's configuration, runner.{JOB} = {quoted(found)}",
            f"options of dask-runner {JOB} below it, such as `partition: batch`",
            "correct or remove it",
        )
    return found


def _from_dask() -> Mapping[str, Any]:
    # The import takes 250 ms, so it is only done where there are files.
    try:
        import dask.config  # noqa: PLC0415
    except (ValueError, TypeError) as error:
        # Dask reads its files when it is imported; its error names the wrong one.
        raise ConfigError(
            f"Dask cannot read its configuration: {str(error).partition(', orig')[0]}",
            "YAML files that Dask can read",
            "correct or remove the file; see the whole error: python -c 'import dask'",
        ) from error
    found = dask.config.get("runner", {}) or {}
    if not isinstance(found, dict):
        raise ConfigError(
            f"Dask's configuration, runner = {found!r}",
            "options below it, such as `runner: {timeout: 120}`",
            "correct or remove it",
        )
    return found


def _from_files() -> list[tuple[Path, Any]]:
    from dask import config  # noqa: PLC0415  _from_dask has loaded it

    return list(config.collect_yaml(config.paths, return_paths=True))


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text  # no literal, or one that is nested too deeply
