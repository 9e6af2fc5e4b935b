"""The values of a template's variables, from the user, the site and the table."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from dask_runner.batch.options import BY_KEY, OPTIONS
from dask_runner.batch.systems import BY_NAME
from dask_runner.errors import ConfigError, UsageError
from dask_runner.launch.numbers import quoted
from dask_runner.launch.settings import Setting, parsed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dask_runner.batch.systems import System

#: The variables of Apptainer and of its predecessor that name the SIF.
_SIF = ("APPTAINER_CONTAINER", "SINGULARITY_CONTAINER")

_VARIABLE = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)

#: How messages call it.
WHERE = "Dask's configuration"

#: Options that are no variables.
_NO_VARIABLES = frozenset({"templates"})

#: Variables that are made of others.
MADE_OF: dict[str, tuple[str, ...]] = {
    "command": ("image", "container"),
    "ntasks": ("nodes", "ntasks_per_node"),
    "cpus_per_node": ("cpus_per_task", "ntasks_per_node"),
    "slots": ("nodes", "ntasks_per_node", "cpus_per_task"),
    "mem_per_slot": ("mem", "ntasks_per_node", "cpus_per_task"),
}


def find(
    system: System,
    given: Mapping[str, Any],
    extra: Sequence[str],
    site: Mapping[str, Any],
    environ: Mapping[str, str],
) -> dict[str, Setting]:
    """Return the value of each option and variable, and where it comes from.

    Parameters
    ----------
    system : System
    given : mapping
        The options of the command line, by key; None means not given.
    extra : sequence of str
        Other variables from there, as ``NAME=VALUE``.
    site : mapping
        What Dask's configuration has below ``runner.job``.
    environ : mapping

    Raises
    ------
    UsageError
        If a value of the command line is invalid.
    ConfigError
        If one of the configuration is.
    """
    found = {key: Setting(value, "default") for key, value in system.defaults.items()}
    for option in OPTIONS:
        if option.default is not None and option.key not in found:
            found[option.key] = Setting(option.parse(option.default), "default")
    sif = next((environ[name] for name in _SIF if environ.get(name)), None)
    if sif and not system.from_registry:
        found["image"] = Setting(sif, "the image in which this command runs")
    found |= _of_site(system, site)
    for key, value in given.items():
        if value is not None and value != ():
            option = BY_KEY[key]
            found[key] = parsed(option, value, f"--{option.name}", UsageError)
    for name, value in map(_named, extra):
        found[name] = Setting(value, f"--set {name}")
    return found


def values(
    found: Mapping[str, Setting], args: Sequence[str], *, no_image: bool
) -> dict[str, Any]:
    """Return the variables of a template; those without a value are left out."""
    made = {name: setting.value for name, setting in found.items()}
    made |= {"args": list(args), "no_image": no_image}
    if no_image:
        made.pop("image", None)
        made["command"] = ["dask-runner", *args]
    elif "image" in made:
        made["command"] = [*made["container"], made["image"], *args]
    cpus = made.get("cpus_per_task", 1)
    ranks = made["ntasks_per_node"]
    made["ntasks"] = made["nodes"] * ranks
    made["cpus_per_node"] = cpus * ranks
    made["slots"] = made["nodes"] * ranks * cpus
    if "mem" in made:
        made["mem_per_slot"] = made["mem"] / (ranks * cpus)
    return made


def refuse_unused(
    system: System, found: Mapping[str, Setting], looked_at: set[str]
) -> None:
    """Raise an error for what the user has given and the template does not use.

    Raises
    ------
    UsageError
    """
    used = looked_at | _NO_VARIABLES
    used |= {part for name in looked_at & MADE_OF.keys() for part in MADE_OF[name]}
    for name, setting in found.items():
        if setting.source.startswith("--") and name not in used:
            raise UsageError(
                f"{setting.source}: the template of {system.title} does not use it",
                "an option or variable that stands in it",
                f"leave it out; see what stands in it: dask-runner job {system.name} "
                "--show-template",
            )


def _of_site(system: System, site: Mapping[str, Any]) -> dict[str, Setting]:
    """Return what a site has set for all systems, and for this one before that."""
    general: dict[str, Setting] = {}
    own: dict[str, Setting] = {}
    names = {name.replace("-", "_") for name in BY_NAME}
    for name, value in site.items():
        key = str(name).replace("-", "_")
        if key not in names and isinstance(value, dict):
            raise ConfigError(
                f"{WHERE} has runner.job.{name}, which is no system",
                f"one of {', '.join(BY_NAME)}",
                "correct its name, or remove it",
            )
        if key == system.name:
            own = dict(_settings(f"runner.job.{name}", value))
        elif key not in names:
            general |= dict(_settings("runner.job", {name: value}))
    return general | own


def _settings(path: str, values: Any) -> Iterator[tuple[str, Setting]]:
    if not isinstance(values, dict):
        raise ConfigError(
            f"{WHERE}, {path} = {quoted(values)}",
            "options and variables below it, such as `partition: batch`",
            "correct or remove it",
        )
    for name, value in values.items():
        key, source = str(name).replace("-", "_"), f"{WHERE}, {path}.{name}"
        if value is None:
            continue
        if key in BY_KEY:
            yield key, parsed(BY_KEY[key], value, source, ConfigError)
        elif _VARIABLE.fullmatch(key) and key not in MADE_OF:
            yield key, Setting(_plain(value, source), source)
        else:
            raise ConfigError(
                f"{source} = {quoted(value)}",
                "options, or names of variables of letters, digits and _",
                "correct its name, or remove it",
            )


def _plain(value: Any, source: str) -> str | list[str]:
    """Return the value of a site's variable: a text, or a list of texts."""
    if isinstance(value, (str, int, float)):
        return str(value)
    if isinstance(value, list) and not any(isinstance(x, (dict, list)) for x in value):
        return list(map(str, value))
    raise ConfigError(
        f"{source} = {quoted(value)}",
        "a text, a number, or a list of them",
        "correct or remove it",
    )


def option_of(name: str) -> str:
    """Return the name of the option that sets a variable, without its dashes."""
    return next(iter(MADE_OF.get(name, (name,)))).replace("_", "-")


def _named(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    name = name.replace("-", "_")
    if not equals or not _VARIABLE.fullmatch(name):
        raise UsageError(
            f"--set {quoted(text)}",
            "NAME=VALUE, for a variable of the template",
            "write --set claim=my-volume; see the names: "
            "dask-runner job SYSTEM --show-template",
        )
    if name in BY_KEY or name in MADE_OF:
        raise UsageError(
            f"--set {quoted(text)}",
            "a variable that is no option, and not made of others",
            f"write the option: --{option_of(name)}",
        )
    return name, value
