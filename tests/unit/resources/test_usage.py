"""What a tree of processes uses, from a /proc of our own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dask_runner.resources.usage import ProcessTree

if TYPE_CHECKING:
    from pathlib import Path

KIB = 1024


class Proc:
    """A directory that looks like /proc."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def has(
        self,
        pid: int,
        parent: int,
        *,
        ticks: int = 0,
        waited: int = 0,
        kib: int = 0,
        alone: int | None = None,
        peak: int = 0,
        born: int = 1,
        name: str = "a (b) c",
    ) -> None:
        folder = self._path / str(pid)
        folder.mkdir(exist_ok=True)
        times = f"{ticks} 0 {waited} 0"
        tail = f"S {parent} {'0 ' * 9}{times} 20 0 1 0 {born} 0 0"
        (folder / "stat").write_text(f"{pid} ({name}) {tail}\n")
        (folder / "status").write_text(
            f"Name:\t{name}\nVmHWM:\t{peak} kB\nVmRSS:\t{kib} kB\n"
            f"RssAnon:\t{kib} kB\nRssShmem:\t0 kB\n"
        )
        own = kib if alone is None else alone
        (folder / "smaps_rollup").write_text(
            f"00-ff ---p 00:00 0 [rollup]\nAnonymous: {kib} kB\nPss_Anon: {own} kB\n"
        )

    def ends(self, pid: int) -> None:
        for file in (self._path / str(pid)).iterdir():
            file.unlink()
        (self._path / str(pid)).rmdir()

    @property
    def tree(self) -> ProcessTree:
        return ProcessTree(self._path, 100)


def test_the_time_is_that_of_the_tree_and_of_nobody_else(tmp_path: Path) -> None:
    proc = Proc(tmp_path)
    proc.has(1, 0, ticks=9000)
    proc.has(10, 1, ticks=100)
    proc.has(11, 10, ticks=200, waited=50)
    proc.has(12, 11, ticks=30)
    proc.has(20, 1, ticks=7000)
    tree = proc.tree
    found = tree.look({10})
    assert (found.cpu, found.processes) == (3.8, 3)
    assert tree.look({10, 20}).cpu == 3.8  # it was no part of the tree at first


def test_a_child_that_was_waited_for_counts_once(tmp_path: Path) -> None:
    proc = Proc(tmp_path)
    proc.has(10, 1, ticks=100)
    proc.has(11, 10, ticks=200)
    tree = proc.tree
    assert tree.look({10}).cpu == 3.0
    proc.ends(11)
    proc.has(10, 1, ticks=100, waited=210)
    assert tree.look({10}).cpu == 3.1


def test_what_no_parent_of_the_tree_waits_for_is_not_forgotten(tmp_path: Path) -> None:
    proc = Proc(tmp_path)
    proc.has(10, 1, ticks=100)
    proc.has(11, 10, ticks=200)
    proc.has(12, 11, ticks=40)
    tree = proc.tree
    assert tree.look({10}).cpu == 3.4
    proc.ends(11)
    proc.has(10, 1, ticks=100, waited=200)
    proc.has(12, 1, ticks=60)  # an orphan: its parent was killed
    assert tree.look({10}).cpu == 3.6
    proc.ends(12)
    assert tree.look({10}).cpu == 3.6
    # Its parent is killed before it has waited.
    proc.has(10, 1, ticks=100)
    assert tree.look({10}).cpu == 3.6


def test_another_process_of_the_same_number_is_another(tmp_path: Path) -> None:
    proc = Proc(tmp_path)
    proc.has(10, 1, ticks=100)
    proc.has(11, 10, ticks=200)
    tree = proc.tree
    tree.look({10})
    proc.has(11, 1, ticks=9000, born=2)
    proc.has(10, 1, ticks=100, waited=200)
    assert tree.look({10}).cpu == 3.0


def test_memory_that_forks_share_counts_once(tmp_path: Path) -> None:
    proc = Proc(tmp_path)
    proc.has(10, 1, kib=100, alone=40)
    proc.has(11, 10, kib=100, alone=40)
    tree = proc.tree
    assert tree.look({10}).memory == 80 * KIB
    proc.has(11, 10, kib=1000, alone=1000)
    assert tree.look({10}).memory == (40 + 940) * KIB


def test_a_peak_is_the_kernels_and_stays_while_the_process_is_there(
    tmp_path: Path,
) -> None:
    proc = Proc(tmp_path)
    proc.has(10, 1)
    proc.has(11, 10, peak=500)
    tree = proc.tree
    tree.look({10})
    assert tree.peak(11) == 500 * KIB
    assert tree.peak(99) == 0


def test_a_process_that_ends_meanwhile_is_none(tmp_path: Path) -> None:
    proc = Proc(tmp_path)
    proc.has(10, 1, ticks=100)
    (tmp_path / "11").mkdir()
    assert proc.tree.look({10}).processes == 1
