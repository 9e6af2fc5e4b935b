"""What uv says, in our words; and what stands for the image's packages meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dask_runner.errors import ConfigError
from dask_runner.launch.settings import Requested
from dask_runner.packages.installed import Installed, stand_in
from dask_runner.packages.resolver import (
    explained,
    find,
    reason_of,
    without_the_image,
)

if TYPE_CHECKING:
    from pathlib import Path

IMAGE = (Installed("dask", "2026.1", "Name: dask\n"), Installed("numpy", "2.4.6", ""))
WANTED = Requested(("numpy<2",), ("more.txt",))

CONFLICT = """\
Using CPython 3.13.5 interpreter at: /opt/dask-runner/bin/python
error: No solution found when resolving dependencies
  cause: Because you require numpy<2 and numpy==2.4.6, we can conclude that your \
requirements are unsatisfiable.
"""
#: The same of an earlier version.
PICTURES = """\
Using CPython 3.13.5 interpreter at: /opt/dask-runner/bin/python
  \u00d7 No solution found when resolving dependencies:
  ╰─▶ Because you require numpy<2 and numpy==2.4.6, we can conclude that your
      requirements are unsatisfiable.
"""
NO_SUCH = """\
error: No solution found when resolving dependencies
  cause: Because zzz was not found in the package registry and you require zzz, we can \
conclude that your requirements are unsatisfiable.
"""
NO_INDEX = """\
error: Request failed after 3 retries in 6.7s
  cause: Failed to fetch: http://127.0.0.1:9/simple/zzz/
  cause: error sending request for url (http://127.0.0.1:9/simple/zzz/)
  cause: client error (Connect)
  cause: tcp connect error
  cause: Connection refused (os error 111)
"""
FORBIDDEN = """\
error: Failed to fetch: `https://files/x-1.whl`
  Caused by: HTTP status client error (403 Forbidden) for url (https://files/x-1.whl)
"""
FULL = """\
error: Failed to install: polars-1.0-py3-none-any.whl (polars==1.0)
  cause: failed to copy file: No space left on device (os error 28)
"""


@pytest.mark.parametrize(
    ("told", "status", "saw", "do"),
    [
        (CONFLICT, 78, "does not go with the image", "leave numpy out"),
        (PICTURES, 78, "does not go with the image", "leave numpy out"),
        (NO_SUCH, 78, "zzz was not found in the package registry", "correct the names"),
        (NO_INDEX, 69, "the index of packages cannot be reached", "login node"),
        (FORBIDDEN, 78, "403 Forbidden", "correct the names"),
        (FULL, 78, "No space left on device", "--local-directory"),
        ("", 78, "it said nothing", "correct the names"),
    ],
)
def test_an_error_is_in_three_parts(told: str, status: int, saw: str, do: str) -> None:
    found = explained(told, WANTED, IMAGE)

    assert found.status == status
    assert saw in found.saw
    assert "numpy<2, more.txt" in found.saw
    assert found.needed
    assert do in found.do
    assert "Using CPython" not in str(found)


def test_what_stays_of_the_image_is_named_with_its_version() -> None:
    assert "numpy 2.4.6" in explained(CONFLICT, WANTED, IMAGE).needed
    other = CONFLICT.replace("numpy==2.4.6", "numpy==2.4.60")
    assert "does not go with the image" not in explained(other, WANTED, IMAGE).saw


def test_a_reason_is_short() -> None:
    lines = "error: first\n" + "".join(f"  cause: {n} {'x' * 999}\n" for n in range(99))

    assert len(reason_of(lines)) < 1300
    assert reason_of(lines).startswith("first; 0 xxx")


def test_what_stands_for_the_image_is_gone_at_the_end(tmp_path: Path) -> None:
    stand_in(IMAGE, tmp_path)
    assert "Name: dask" in (tmp_path / "dask-2026.1.dist-info/METADATA").read_text()
    for name in ("polars-1.0", "Two_Words-2"):
        (tmp_path / f"{name}.dist-info").mkdir()
        (tmp_path / f"{name}.dist-info" / "INSTALLER").write_text("uv")

    found = without_the_image(tmp_path, IMAGE)

    assert found == {"polars": "1.0", "two-words": "2"}
    assert not [*tmp_path.glob("dask-*"), *tmp_path.glob("numpy-*")]


def test_a_package_of_the_image_is_not_replaced_silently(tmp_path: Path) -> None:
    stand_in(IMAGE, tmp_path)
    (tmp_path / "numpy-2.4.6.dist-info" / "INSTALLER").write_text("uv")

    with pytest.raises(ConfigError, match=r"would replace numpy of the image by 2\.4"):
        without_the_image(tmp_path, IMAGE)


def test_without_uv_it_says_where_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("dask_runner.packages.resolver.beside_python", lambda: None)

    with pytest.raises(ConfigError, match="no uv here") as told:
        find({"PATH": str(tmp_path)}, {})
    assert "pip install" in told.value.do
    (tmp_path / "uv").touch(0o755)
    assert find({"PATH": str(tmp_path)}, {}).command == str(tmp_path / "uv")
