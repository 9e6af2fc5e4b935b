"""Each language reads back what was written, and nothing else."""

from __future__ import annotations

import json
import re
import shlex

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dask_runner.batch import quoting
from dask_runner.errors import ConfigError
from tests.unit.batch.values import ARGS, TEXT

NOT_UTF8 = "caf\udce9"


@given(ARGS)
def test_a_shell_reads_the_words(words: list[str]) -> None:
    assert shlex.split(quoting.shell(words)) == words


@given(TEXT)
def test_a_plain_word_is_one_or_refused(text: str) -> None:
    try:
        written = quoting.plain(text)
    except ConfigError:
        return
    assert written == text
    assert text.split() == [text]
    assert text.splitlines() == [text]
    assert not set(text) & set("'\"`\\#\0")
    assert not text.startswith("-")


@given(TEXT)
def test_a_line_is_one_or_refused(text: str) -> None:
    try:
        written = quoting.line(text)
    except ConfigError:
        return
    assert written.splitlines() == [text]
    assert list(yaml.safe_load_all(f"# {written}")) in ([], [None])


@given(ARGS | TEXT)
def test_json_reads_it(value: list[str] | str) -> None:
    assert json.loads(quoting.json(value)) == value


@given(ARGS | TEXT)
def test_yaml_reads_it_from_one_line(value: list[str] | str) -> None:
    written = quoting.yaml(value)

    assert written.splitlines() == [written]
    assert written.isascii()
    assert yaml.safe_load(f"a:\n  b: {written}\n  c: 1") == {"a": {"b": value, "c": 1}}


def expanded(text: str) -> str:
    """Return what Kubernetes makes of an argument, where no variable is set.

    As expand.go in k8s.io/kubernetes/third_party/forked/golang/expansion.
    """
    return re.sub(r"\$(\$|\((.*?)\))?", _expand, text, flags=re.DOTALL)


def _expand(found: re.Match[str]) -> str:
    return "$" if found[1] == "$" else f"<{found[2]}>" if found[1] else found[0]


@given(ARGS)
def test_kubernetes_reads_the_words_and_puts_in_no_variables(words: list[str]) -> None:
    assert list(map(expanded, quoting.kubernetes_words(words))) == words


def submitted(text: str) -> str:
    """Return what condor_submit makes of the value of a command, and then the schedd.

    The manual: `$(NAME)` is a macro of the submit file, `$$(NAME)` an attribute of the
    machine, put in when the job is matched; DOLLAR and DOLLARDOLLAR are the characters.
    """
    text = re.sub(r"(?<!\$)\$\(DOLLAR\)", "\0", text)
    assert not re.search(r"(?<!\$)\$\(", text), text
    text = text.replace("$$(DOLLARDOLLAR)", "\0\0")
    assert "$$" not in text
    assert "$" not in text
    return text.replace("\0", "$")


def words_of(text: str) -> list[str]:
    """Return the words of an argument string in HTCondor's new syntax.

    The manual: double quotes around all of it; two of them inside are one. Words end
    at spaces, unless in single quotes; two of these inside are one.
    """
    assert text[0] == text[-1] == '"'
    inside = text[1:-1].replace('""', "\0")
    assert '"' not in inside
    words, word, quoted, at = [], None, False, 0
    while at < len(inside):
        character = inside[at]
        if character == "'":
            if quoted and inside[at + 1 : at + 2] == "'":
                word = (word or "") + "'"
                at += 1
            else:
                quoted, word = not quoted, word or ""
        elif character in " \t" and not quoted:
            words += [word] if word is not None else []
            word = None
        else:
            word = (word or "") + character
        at += 1
    assert not quoted
    words += [word] if word is not None else []
    return [one.replace("\0", '"') for one in words]


@given(ARGS)
def test_htcondor_reads_the_words_or_they_are_refused(words: list[str]) -> None:
    try:
        written = quoting.htcondor_words(words)
    except ConfigError:
        assert any(
            len(word.splitlines()) > 1 or not word.isprintable() for word in words
        )
        return
    assert written.splitlines() == [written]
    assert words_of(submitted(written)) == words


@given(TEXT)
def test_htcondor_reads_a_text_or_it_is_refused(text: str) -> None:
    try:
        written = quoting.htcondor_text(text)
    except ConfigError:
        return
    assert written.splitlines() == [written]
    assert submitted(written) == text


@pytest.mark.parametrize("write", [quoting.yaml, quoting.json])
def test_a_name_that_is_no_unicode_is_refused_where_there_is_no_other_text(
    write: object,
) -> None:
    assert callable(write)
    with pytest.raises(ConfigError, match="cannot be written"):
        write(NOT_UTF8)
    with pytest.raises(ConfigError, match="UTF-8"):
        write(["a", NOT_UTF8])


@pytest.mark.parametrize("text", ["Dask", "", "-a", "a-", "a" * 41, "a\n", "a.b", "1a"])
def test_a_name_that_kubernetes_would_refuse_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="lower-case"):
        quoting.label(text)


@given(st.from_regex(r"[a-z][a-z0-9-]{0,8}[a-z0-9]", fullmatch=True))
def test_names_that_it_takes_are_taken(text: str) -> None:
    assert quoting.label(text) == text
    assert quoting.aws_name(text) == text


def test_a_name_that_aws_would_refuse_is_refused() -> None:
    with pytest.raises(ConfigError, match="letters, digits"):
        quoting.aws_name("a b")
