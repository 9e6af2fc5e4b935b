"""What Dask's report shows as the program's code."""

from __future__ import annotations

import base64
import zipfile
from typing import TYPE_CHECKING

from dask_runner.launch.launch import Program
from dask_runner.programs.html_report import source

if TYPE_CHECKING:
    from pathlib import Path


def test_a_scripts_code_is_its_file(tmp_path: Path) -> None:
    script = tmp_path / "s.py"
    script.write_bytes("# coding: latin-1\nprint('\xe9')\n".encode("latin-1"))
    assert source(Program("script", str(script)), None).endswith("print('\xe9')\n")


def test_what_could_be_read_once_was_handed_over() -> None:
    text = base64.b64encode(b"print(1)\n").decode()
    assert source(Program("script", "/dev/fd/63"), text) == "print(1)\n"


def test_code_on_the_command_line_is_shown_as_it_is() -> None:
    assert source(Program("code", "print(1)"), None) == "print(1)"


def test_what_has_no_one_text_is_shown_by_its_name(tmp_path: Path) -> None:
    archive, binary = tmp_path / "a.pyz", tmp_path / "b.py"
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("__main__.py", "")
    binary.write_bytes(b"\xff\xfe")
    for target in (archive, binary, tmp_path):
        assert source(Program("script", str(target)), None) == str(target)
    assert source(Program("module", "package"), None) == "package"
