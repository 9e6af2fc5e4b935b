"""A job script from its template and the values of its variables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from jinja2 import meta
from jinja2.utils import missing

from dask_runner.batch import amounts, quoting
from dask_runner.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: Filters whose text may stand in a job script as it is.
_WRITING: dict[str, Callable[[Any], object]] = {
    "shell": quoting.shell,
    "plain": quoting.plain,
    "line": quoting.line,
    "json": quoting.json,
    "yaml": quoting.yaml,
    "htcondor_words": quoting.htcondor_words,
    "htcondor_text": quoting.htcondor_text,
    "clock": amounts.clock,
    "days_clock": amounts.days_clock,
    "hours_minutes": amounts.hours_minutes,
}
#: Filters that return a number, or what has to go through one of those as well.
_OTHERS: dict[str, Callable[[Any], object]] = {
    "label": quoting.label,
    "aws_name": quoting.aws_name,
    "not_root": quoting.not_root,
    "kubernetes_words": quoting.kubernetes_words,
    "mebibytes": amounts.mebibytes,
}

#: What expressions of a template may raise, beside Jinja's own errors.
_WRONG = (
    *(jinja2.TemplateError, OSError, RecursionError),
    *(ArithmeticError, AttributeError, LookupError, TypeError, ValueError),
)


class NoValueError(jinja2.UndefinedError):
    """A template needs a variable that has no value; the message is its name."""


class Templates:
    """The templates of the package, and before them those of a site.

    Parameters
    ----------
    directory : str or None
        Where the site's are.

    Raises
    ------
    ConfigError
        If there is no such directory.
    """

    def __init__(self, directory: str | None = None) -> None:
        loaders: list[jinja2.BaseLoader] = [
            jinja2.PackageLoader("dask_runner.batch", "templates")
        ]
        if directory is not None:
            if not Path(directory).is_dir():
                raise ConfigError(
                    f"there is no directory {directory}",
                    "the directory of your own templates",
                    "correct --templates, or templates below runner.job in Dask's "
                    "configuration; or leave it out",
                )
            loaders.insert(0, jinja2.FileSystemLoader(directory))
        self._loader = jinja2.ChoiceLoader(loaders)
        self._environment = jinja2.Environment(
            loader=self._loader,
            undefined=_NoValue,
            finalize=_only_what_is_written,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            autoescape=False,  # noqa: S701  each language has its filter, enforced
        )
        # Nothing but what is told: Jinja has a function `namespace`, for one.
        self._environment.globals.clear()
        for name, filters in _WRITING.items():
            self._environment.filters[name] = _writing(filters)
        self._environment.filters |= _OTHERS

    def source(self, name: str) -> str:
        """Return the text of a template.

        Raises
        ------
        ConfigError
            If it cannot be read.
        """
        try:
            return self._loader.get_source(self._environment, name)[0]
        except _WRONG as error:
            raise _wrong(name, error) from error

    def variables(self, name: str) -> set[str]:
        """Return the names of the variables that a template and its parts look at."""
        found: set[str] = set()
        left, seen = [name], {name}
        while left:
            one = left.pop()
            source = self.source(one)
            try:
                tree = self._environment.parse(source, one)
                found |= meta.find_undeclared_variables(tree)
            except _WRONG as error:
                raise _wrong(one, error) from error
            parts = {part for part in meta.find_referenced_templates(tree) if part}
            left += parts - seen
            seen |= parts
        return found

    def render(self, name: str, values: Mapping[str, Any]) -> str:
        """Return the job script.

        Raises
        ------
        NoValueError
            If the template needs a variable that has no value.
        ConfigError
            If the template is wrong, or a value cannot be written where it stands.
        """
        try:
            return self._environment.get_template(name).render(values)
        except NoValueError:
            raise
        except _WRONG as error:
            raise _wrong(name, error) from error


class _Written(str):
    """A text that one of the filters has written for its place."""

    __slots__ = ()


def _writing(write: Callable[[Any], object]) -> Callable[[Any], _Written]:
    return lambda value: _Written(write(value))


def _only_what_is_written(value: Any) -> Any:
    # No value gets into a job script as it came, whatever a site's template forgets.
    if isinstance(value, (_Written, int, jinja2.Undefined)):
        return value
    raise TypeError(
        f"the value {value!r} has gone through none of the filters "
        f"{', '.join(sorted(_WRITING))}"
    )


class _NoValue(jinja2.StrictUndefined):
    """A variable without a value, which tells its name."""

    __slots__ = ()

    def __init__(
        self,
        hint: str | None = None,
        obj: Any = missing,
        name: str | None = None,
        exc: type[jinja2.TemplateRuntimeError] = jinja2.UndefinedError,
    ) -> None:
        if obj is missing and name:
            hint, exc = name, NoValueError
        super().__init__(hint=hint, obj=obj, name=name, exc=exc)


def _wrong(name: str, error: Exception) -> ConfigError:
    where = name
    if isinstance(error, jinja2.TemplateSyntaxError):
        where = f"{error.filename or error.name or name}, line {error.lineno}"
    if isinstance(error, jinja2.TemplateNotFound):
        return ConfigError(
            f"there is no template {error}",
            "one in your own directory of templates, or in dask-runner",
            "give it that name, or list the systems: dask-runner job --help",
        )
    return ConfigError(
        f"the template {where} is wrong: {error}",
        "a template of Jinja whose values all go through filters",
        "see one of ours: dask-runner job SYSTEM --show-template",
    )
