"""Where the proxy listens."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path

import pytest

from dask_runner.errors import ConfigError
from dask_runner.hub.dashboard import LOCAL_PORT
from dask_runner.proxy import places


def number(sock: socket.socket) -> int:
    return int(sock.getsockname()[1])


def test_the_next_port_is_taken_where_the_usual_one_is_in_use() -> None:
    with places.port(None) as one, places.port(None) as other:
        assert LOCAL_PORT <= number(one) < number(other)
        assert one.getsockname()[0] == "127.0.0.1"


def test_a_port_that_is_named_and_in_use_is_refused() -> None:
    with places.port(0) as one, pytest.raises(ConfigError) as found:
        places.port(number(one))
    assert "in use" in found.value.saw
    assert "--port" in found.value.do


def test_only_its_owner_can_open_the_socket_and_it_goes_at_the_end(
    tmp_path: Path,
) -> None:
    path = tmp_path / "socket"
    with places.unix_socket(path):
        assert path.stat().st_mode & 0o777 == 0o600
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(path))
    assert not path.exists()


def test_one_that_was_left_by_a_killed_process_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with places.unix_socket(path):
        assert path.is_socket()


def test_one_that_another_process_serves_is_left_to_it(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with places.unix_socket(path):
        with (
            pytest.raises(ConfigError, match="another process serves"),
            places.unix_socket(path),
        ):
            pytest.fail("two at one path")
        assert path.is_socket()


def test_one_that_somebody_has_put_in_its_place_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with places.unix_socket(path):
        path.unlink()
        path.write_text("mine")
    assert path.read_text() == "mine"


def refused(path: Path, why: str) -> None:
    with pytest.raises(ConfigError, match=why), places.unix_socket(path):
        pytest.fail("it serves there")


def test_what_is_there_is_never_replaced(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    (tmp_path / "link").symlink_to(file)
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing")

    for name in ("file", "link", "nowhere"):
        refused(tmp_path / name, "is no socket")
    assert file.read_text() == "mine"


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o1775])
def test_a_directory_that_others_can_write_is_refused(mode: int) -> None:
    # Not in pytest's, which others cannot enter.
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(mode)

        refused(Path(directory, "socket"), "can be written by")


def test_a_directory_that_is_not_there_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "missing" / "socket", "No such file")


def test_a_path_that_is_too_long_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / ("x" * 108), "longer than 107 bytes")
