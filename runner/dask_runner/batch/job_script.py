"""Make the job script of a job, and submit it where that is asked for."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dask_runner.batch import submit
from dask_runner.batch.options import BY_KEY
from dask_runner.batch.render import NoValueError, Templates
from dask_runner.batch.systems import BY_NAME
from dask_runner.batch.variables import find, option_of, refuse_unused, values
from dask_runner.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dask_runner.batch.systems import System
    from dask_runner.launch.settings import Setting


@dataclass(frozen=True, slots=True)
class Job:
    """A job that is asked for.

    Attributes
    ----------
    system : System
    args : tuple of str
        What follows ``dask-runner`` in the job.
    given : mapping
        Options of :mod:`dask_runner.batch.options`, by key; None means not given.
    extra : tuple of str
        Other variables of the template, as ``NAME=VALUE``.
    no_image : bool
        Whether the job runs the ``dask-runner`` on its PATH.
    requeues : bool
        Whether the job script has the system queue the job again.
    """

    system: System
    args: tuple[str, ...] = ()
    given: Mapping[str, Any] = field(default_factory=dict)
    extra: tuple[str, ...] = ()
    no_image: bool = False
    requeues: bool = False


def system_of(name: str) -> System:
    """Return the row of the table with this name.

    Raises
    ------
    UsageError
        If there is none.
    """
    if name not in BY_NAME:
        raise UsageError(
            f"there is no batch system {name!r}",
            f"one of {', '.join(BY_NAME)}",
            "take the one that is most like yours, and change its template: "
            "dask-runner job SYSTEM --show-template",
        )
    return BY_NAME[name]


def template(job: Job, site: Mapping[str, Any], environ: Mapping[str, str]) -> bytes:
    """Return the text of the template that the job takes.

    Raises
    ------
    ConfigError
        If it cannot be read, or the configuration is wrong.
    """
    found = _find(job, site, environ)
    return os.fsencode(_templates(found).source(job.system.template))


def make(job: Job, site: Mapping[str, Any], environ: Mapping[str, str]) -> bytes:
    """Return the job script of a job.

    Parameters
    ----------
    job : Job
    site : mapping
        What Dask's configuration has below ``runner.job``.
    environ : mapping

    Raises
    ------
    UsageError
        If the job is wrong.
    ConfigError
        If a variable has no value, or the configuration or a template is wrong.
    """
    found = _find(job, site, environ)
    return _written(job, found)


def ranks(job: Job, site: Mapping[str, Any], environ: Mapping[str, str]) -> int:
    """Return the number of ranks of a job; errors as :func:`make`."""
    made = values(_find(job, site, environ), job.args, no_image=job.no_image)
    return int(made["ntasks"])


def submitted(
    job: Job,
    site: Mapping[str, Any],
    environ: Mapping[str, str],
    timeout: float,
    say: Callable[[str], object],
) -> bytes:
    """Submit a job, and return what the system's command has printed.

    Parameters
    ----------
    job : Job
    site : mapping
    environ : mapping
        As for :func:`make`.
    timeout : float
        Seconds for each command.
    say : callable
        Gets what a command has said on its standard error.

    Raises
    ------
    UsageError, ConfigError
        As :func:`make`; also if there is no such command here.
    SubmitError
        If a command fails, or does not end in time.
    """
    system = job.system
    chain = submit.commands(system, environ)
    found = _find(job, site, environ)
    written = _written(job, found)
    for name in sorted(submit.needed(system) - found.keys()):
        raise _no_value(name, f"submitting to {system.title}", system)
    plain = {name: setting.value for name, setting in found.items()}
    return os.fsencode(submit.submit(chain, written, plain, environ, timeout, say))


def _find(
    job: Job, site: Mapping[str, Any], environ: Mapping[str, str]
) -> dict[str, Setting]:
    return find(job.system, job.given, job.extra, site, environ)


def _templates(found: Mapping[str, Setting]) -> Templates:
    return Templates(found["templates"].value if "templates" in found else None)


def _written(job: Job, found: Mapping[str, Setting]) -> bytes:
    system, templates = job.system, _templates(found)
    looked_at = templates.variables(system.template) | submit.needed(system)
    refuse_unused(system, found, looked_at)
    if job.requeues and "requeues" not in looked_at:
        raise UsageError(
            f"--requeue-before in a job of {system.title}",
            "a template that queues the job again at its end, as that of Slurm",
            "leave it out, or have the script save its work with --stop-before",
        )
    made = values(found, job.args, no_image=job.no_image) | {"requeues": job.requeues}
    try:
        text = templates.render(system.template, made)
    except NoValueError as error:
        who = f"the template of {system.title}"
        raise _no_value(str(error), who, system) from None
    # The name of a file need not be UTF-8, and a shell does not mind.
    return os.fsencode(text)


def _no_value(variable: str, who: str, system: System) -> ConfigError:
    name = option_of(variable)
    key = name.replace("-", "_")
    how, means = f"--set {key}=VALUE", "a value for this variable"
    if key in BY_KEY:
        how = f"--{name} {BY_KEY[key].metavar}"
        means = f"--{name}: {BY_KEY[key].help}"
    do = f"give {how}, or set {key} below runner.job.{system.name} in Dask's "
    do += "configuration"
    if key == "image" and not system.from_registry:
        do += "; or add --no-image, for the dask-runner on the PATH of the job"
    return ConfigError(f"{who} needs {key}, which has no value", means, do)
