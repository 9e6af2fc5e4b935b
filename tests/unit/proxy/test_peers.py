"""Whose the other end of a connection is, as the kernel lists them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from dask_runner.proxy import peers

if TYPE_CHECKING:
    from pathlib import Path

HEAD = (
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid"
)
LINE = (
    "   0: {local} {remote} 01 00000000:00000000 00:00000000 00000000  {user}"
    "        0 {inode} 1 0000000000000000 20 4 30 10 -1\n"
)
OWN, PEER = ("127.0.0.1", 8787), ("127.0.0.1", 45678)
#: As a machine of little end shows them.
OURS, THEIRS = "0100007F:2253", "0100007F:B26E"
MAPPED = "0000000000000000FFFF0000"


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "self/net").mkdir(parents=True)
    return tmp_path


def listed(proc: Path, name: str, **entry: object) -> None:
    (proc / "self/net" / name).write_text(f"{HEAD}\n{LINE.format(**entry)}")


pytestmark = pytest.mark.skipif(sys.byteorder != "little", reason="a little end")


@pytest.mark.parametrize("name", ["tcp", "tcp6"])
def test_the_owner_of_the_other_end_is_found(proc: Path, name: str) -> None:
    before = MAPPED if name == "tcp6" else ""
    ends = {"local": before + THEIRS, "remote": before + OURS}
    listed(proc, name, **ends, user=1001, inode=77)

    assert peers.owner(OWN, PEER, proc) == 1001


def test_our_own_end_is_not_taken_for_the_other(proc: Path) -> None:
    listed(proc, "tcp", local=OURS, remote=THEIRS, user=1000, inode=77)

    assert peers.owner(OWN, PEER, proc) is None


def test_an_end_that_its_process_has_closed_belongs_to_nobody(proc: Path) -> None:
    # The kernel lists it as root's.
    listed(proc, "tcp", local=THEIRS, remote=OURS, user=0, inode=0)

    assert peers.owner(OWN, PEER, proc) is None


def test_without_a_list_nobody_is_known(proc: Path) -> None:
    assert not peers.tells(proc)
    assert peers.owner(OWN, PEER, proc) is None
    listed(proc, "tcp", local=THEIRS, remote=OURS, user=0, inode=1)
    assert peers.tells(proc)
