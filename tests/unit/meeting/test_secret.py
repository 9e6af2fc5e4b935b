"""The secret: who may have read it, how good it is, and what is made of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from dask_runner.errors import ConfigError
from dask_runner.launch.own_variables import VARIABLE_OF_SECRET, inherited
from dask_runner.launch.settings import configured
from dask_runner.meeting.secret import material, read
from tests.users import NOBODY

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Require

SECRET = "a secret that is long enough"  # noqa: S105  made up


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text(f"{SECRET}\n")
    path.chmod(0o600)
    return path


def test_a_file_and_the_variable_tell_the_same(file: Path) -> None:
    assert read(str(file), {}) == read(None, {VARIABLE_OF_SECRET: SECRET})
    assert read(str(file), {VARIABLE_OF_SECRET: "another one, which is not it"}) == (
        SECRET.encode()
    )


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666])
def test_a_file_that_others_can_read_is_refused(file: Path, mode: int) -> None:
    file.chmod(mode)
    with pytest.raises(ConfigError, match="can be read by others") as failure:
        read(str(file), {})
    assert "mode 600" in failure.value.do


def test_a_pod_may_show_it_to_its_group(file: Path, require: Require) -> None:
    with require("root, whose file it is", "unit"):
        os.chown(file, 0, 0)
    file.chmod(0o440)
    assert read(str(file), {}) == SECRET.encode()


def test_somebody_elses_file_is_refused(file: Path, require: Require) -> None:
    with require("root, to give a file away", "unit"):
        os.chown(file, NOBODY, NOBODY)
    with pytest.raises(ConfigError, match=f"belongs to uid {NOBODY}"):
        read(str(file), {})


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read(str(tmp_path / "none"), {})
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(ConfigError, match="is no regular file"):
        read(str(tmp_path / "pipe"), {})


@pytest.mark.parametrize("told", ["short", "fifteen letters"])
def test_a_short_one_is_refused_and_not_shown(told: str) -> None:
    with pytest.raises(ConfigError, match="at least 16 bytes") as failure:
        read(None, {VARIABLE_OF_SECRET: told})
    assert told not in str(failure.value)


@pytest.mark.parametrize("environ", [{}, {VARIABLE_OF_SECRET: "  "}])
def test_none_is_refused(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="--meet without a secret"):
        read(None, environ)


def test_all_derive_the_same_and_no_others() -> None:
    assert material(SECRET.encode()) == material(SECRET.encode())
    others = material(b"another secret of some length")
    assert not set(others) & set(material(SECRET.encode()))
    assert SECRET not in "".join(material(SECRET.encode()))


def test_it_is_no_option_and_no_childs(tmp_path: Path) -> None:
    environ = {VARIABLE_OF_SECRET: SECRET, "HOME": str(tmp_path), "PATH": "/bin"}
    assert configured(environ) == {}
    assert VARIABLE_OF_SECRET not in inherited(environ, {})
