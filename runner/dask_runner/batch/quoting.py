"""How a text is written so that a system reads it, and nothing else, back.

Each function is a filter of the templates. A text that a language cannot hold is
refused: no value may become a part of the job script that it stands in.
"""

from __future__ import annotations

import json as _json
import re
import shlex
from typing import TYPE_CHECKING

from dask_runner.errors import ConfigError
from dask_runner.launch.numbers import quoted

if TYPE_CHECKING:
    from collections.abc import Iterable

#: One word of an option in a comment of a job script, for all systems: some split it at
#: spaces, some read quotes and backslashes there, and # begins a comment.
_PLAIN = re.compile(r"""[^\s"'`\\#\x00-\x1f\x7f-\x9f-][^\s"'`\\#\x00-\x1f\x7f-\x9f]*""")
PLAIN_IN_WORDS = "a word without spaces, quotes, backslashes and #, not after a dash"

#: What ends a line for somebody: str.splitlines and YAML know more ends than a shell.
_BREAKS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")

#: A name that Kubernetes takes for an object whose pods are named after it.
_LABEL = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?", re.ASCII)
_NOT_ROOT = re.compile(r"[1-9][0-9]{0,9}", re.ASCII)
_AWS_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}", re.ASCII)


def shell(words: str | Iterable[str]) -> str:
    """Return one word, or the words of a command, for a POSIX shell."""
    return shlex.quote(words) if isinstance(words, str) else shlex.join(words)


def plain(value: object) -> str:
    """Return a text that is one plain word, for an option in a comment."""
    return _fitting(_PLAIN, value, PLAIN_IN_WORDS)


def line(value: object) -> str:
    """Return a text that is one line, for what the user has written for the system."""
    text = str(value)
    if not text.strip() or _BREAKS.search(text):
        raise _refusal(text, "one line of text, without other control characters")
    return text


def label(value: object) -> str:
    """Return a text that is a name in Kubernetes."""
    words = "1 to 40 lower-case letters, digits and -, the first a letter"
    return _fitting(_LABEL, value, words)


def aws_name(value: object) -> str:
    """Return a text that is the name of a job definition of AWS Batch."""
    words = "1 to 128 letters, digits, - and _, the first a letter or digit"
    return _fitting(_AWS_NAME, value, words)


def not_root(value: object) -> int:
    """Return the number of a user or group that is not root."""
    return int(_fitting(_NOT_ROOT, value, "a user ID other than 0"))


def _fitting(pattern: re.Pattern[str], value: object, words: str) -> str:
    text = str(value)
    if not pattern.fullmatch(text):
        raise _refusal(text, words)
    return text


def json(value: str | Iterable[str]) -> str:
    """Return a text, or a list of them, as JSON."""
    for text in [value] if isinstance(value, str) else value:
        _unicode(text)
    return _json.dumps(value)


def yaml(value: str | Iterable[str]) -> str:
    """Return a text, or a list of them, as YAML: one line, in double quotes."""
    if not isinstance(value, str):
        return f"[{', '.join(map(yaml, value))}]"
    import yaml as _yaml  # noqa: PLC0415  options need none, and are all loaded

    # JSON writes a character beyond 16 bits as two, which YAML does not read as one.
    dumped: str = _yaml.safe_dump(
        _unicode(value), default_style='"', width=float("inf"), allow_unicode=False
    )
    return dumped.rstrip("\n")


def kubernetes_words(words: Iterable[str]) -> list[str]:
    """Return words in which Kubernetes puts no variable's value for ``$(NAME)``."""
    return [word.replace("$", "$$") for word in words]


def htcondor_words(words: Iterable[str]) -> str:
    """Return the words of a command in HTCondor's new syntax, with its quotes."""
    return f'"{" ".join(map(_htcondor_word, words))}"'


def htcondor_text(value: object) -> str:
    """Return a text as the value of a command of HTCondor's submit file."""
    text = str(value)
    if _BREAKS.search(text) or text != text.strip() or not text:
        raise _refusal(
            text, "a text of one line without spaces around it, as HTCondor reads lines"
        )
    return _htcondor_dollars(text)


def _htcondor_word(word: str) -> str:
    if _BREAKS.search(word):
        raise _refusal(
            word,
            "words of one line: a submit file of HTCondor has no way to write a break",
        )
    # Two of a quote are one of it. A tab or a space needs single quotes around.
    text = word.replace('"', '""').replace("'", "''")
    return _htcondor_dollars(f"'{text}'" if re.search(r"[\s']|^$", word) else text)


def _htcondor_dollars(text: str) -> str:
    # $(NAME) is replaced when a job is submitted, $$(NAME) when it starts; and so are
    # these two names, by the characters.
    return re.sub(
        r"\$\$?",
        lambda found: "$(DOLLAR)" if len(found[0]) == 1 else "$$(DOLLARDOLLAR)",
        text,
    )


def _unicode(text: str) -> str:
    """Return a text that is Unicode; the name of a file need not be."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _refusal(text, "text in UTF-8, as YAML and JSON have no other") from None
    return text


def _refusal(text: str, needed: str) -> ConfigError:
    return ConfigError(
        f"{quoted(text)} cannot be written into this job script",
        needed,
        "give it another name, or reach it by a link with a plain one",
    )
