"""The options' values, and where each comes from.

A value comes from the command line (or the call), else from ``runner:`` in Dask's
configuration, else from the table of options. Dask's configuration is its YAML files
and the variables ``DASK_RUNNER__*``. This module reads the variables itself and loads
Dask only where there are files, because a rank's top process does without Dask.
A site can fix values (:mod:`dask_runner.launch.fixed`): none of these undoes them.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dask_runner.errors import ConfigError, RunnerError, UsageError
from dask_runner.launch import config_files, dask_config, fixed, protocols
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
    """A value and where it comes from: "default", a variable, a file or a flag.

    Attributes
    ----------
    value : Any
        None for none.
    source : str
    site : Setting or None
        The value that the site has fixed, if it has.
    """

    value: Any
    source: str
    site: Setting | None = None


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
        If a configured value is invalid, if there is no such option, if two values
        exclude each other, or if the site has fixed another value.
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
    nothing = Setting(None, "")
    for key, option in BY_KEY.items():
        told = configured.get(key, nothing)
        wish = None
        if given.get(key) is not None and given[key] != ():
            wish = parsed(option, given[key], f"--{option.name}", UsageError)
        elif told.value is not None:
            wish = parsed(option, told.value, told.source, ConfigError)
        if told.site is not None:
            found[key] = _as_fixed(option, told.site, wish)
        else:
            found[key] = wish or Setting(option.default, "default")
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


def _as_fixed(option: Option, site: Setting, wish: Setting | None) -> Setting:
    """Return an option as the site has fixed it; an error if it was to be another."""
    fixed_one = Setting(option.default, site.source)
    if site.value is not None:
        fixed_one = parsed(option, site.value, site.source, ConfigError)
    if wish is not None and wish.value != fixed_one.value:
        raise ConfigError(
            f"{wish.source} = {quoted(wish.value)}, which this site has fixed",
            f"{quoted(fixed_one.value)}, as {site.source} says",
            f"leave out {wish.source}, or ask those who look after this machine",
        )
    return Setting(fixed_one.value, fixed_one.source, site)


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
    files: list[tuple[Path, Any]] = []
    if any(config_files.with_content(environ)):
        said = dask_config.runner_section()
        files = dask_config.files() if said else []
        for name, value in said.items():
            if name in (JOB, fixed.KEY):
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
    for key, site in _fixed(environ, files).items():
        wish = found.get(key, Setting(None, site.source))
        found[key] = replace(wish, site=site)
    return found


def only_fixed(environ: Mapping[str, str]) -> dict[str, Setting]:
    """Return what the site has fixed, for a place where nothing else is configured."""
    return {
        key: Setting(None, site.source, site)
        for key, site in _fixed(environ, []).items()
    }


def _fixed(
    environ: Mapping[str, str], files: list[tuple[Path, Any]]
) -> dict[str, Setting]:
    """Return what the site has fixed; *files* are those of Dask's configuration."""
    fixed.refuse_variables(environ, PREFIX)
    if config_files.of_site():
        dask_config.runner_section()  # its error names a file that cannot be read
        # Dask reads another directory in its place where a variable names one.
        files = files + dask_config.files([config_files.SITE])
    return {
        key: Setting(value, where) for key, (value, where) in fixed.read(files).items()
    }


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
    return of_jobs(dask_config.runner_section().get(JOB))


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


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text  # no literal, or one that is nested too deeply
