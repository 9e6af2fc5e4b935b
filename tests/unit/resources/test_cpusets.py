"""CPUs as the kernel writes them, and how ranks that share some divide them."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_runner.resources.cpusets import deal, from_list_format, in_list_format

CPUS = st.frozensets(st.integers(0, 300))


@pytest.mark.parametrize(
    ("cpus", "text"),
    [
        ((), ""),
        ((5,), "5"),
        ((0, 1, 2, 3), "0-3"),
        ((8, 0, 1, 2, 3, 8), "0-3,8"),
        ((0, 2, 4, 5), "0,2,4-5"),
        ((0, 1, 64, 65, 127), "0-1,64-65,127"),
    ],
)
def test_cpus_are_written_as_the_kernel_writes_them(
    cpus: tuple[int, ...], text: str
) -> None:
    assert in_list_format(cpus) == text
    assert from_list_format(f"{text}\n") == tuple(sorted(set(cpus)))


@given(CPUS)
def test_what_is_written_is_read_again(cpus: frozenset[int]) -> None:
    assert set(from_list_format(in_list_format(cpus))) == cpus


@pytest.mark.parametrize("text", ["x", "1-", "-1", "1,,2", "0x3", "1 2", "٣", "1-2-3"])
def test_what_is_no_list_of_cpus_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a list of CPUs"):
        from_list_format(text)


@pytest.mark.parametrize(
    ("masks", "sets"),
    [
        # Disjoint masks stay as they are, even or not.
        ([(0, 1), (2, 3)], ((0, 1), (2, 3))),
        ([(0, 1, 2), (3,)], ((0, 1, 2), (3,))),
        # One mask for all is cut into neighbours.
        ([(0, 1, 2, 3)] * 2, ((0, 1), (2, 3))),
        ([(0, 1, 2, 3)] * 2 + [(4, 5)], ((0, 1), (2, 3), (4, 5))),
        # Two sockets, two ranks bound to each.
        (
            [range(8), range(8), range(8, 16), range(8, 16)],
            (tuple(range(4)), tuple(range(4, 8)), (8, 9, 10, 11), (12, 13, 14, 15)),
        ),
        # Who has CPUs of its own gets less of what it shares.
        ([(0, 1, 2), (2, 3)], ((0, 1), (2, 3))),
        ([(0, 1, 2, 3, 4, 5), (4, 5)], ((0, 1, 2, 3), (4, 5))),
        ([range(8), (6, 7), (7,)], ((0, 1, 2, 3, 4, 5), (6,), (7,))),
        # More ranks than CPUs.
        ([(0,)] * 3, ((), (), (0,))),
        ([], ()),
        ([()], ((),)),
    ],
)
def test_known_masks_decide_who_gets_which_cpu(
    masks: list[tuple[int, ...]], sets: tuple[tuple[int, ...], ...]
) -> None:
    assert deal(masks) == sets


@pytest.mark.parametrize("ranks", [1, 2, 3, 5, 16, 17])
def test_ranks_that_are_not_bound_get_equally_many(ranks: int) -> None:
    counts = [len(one) for one in deal([range(16)] * ranks)]
    assert sum(counts) == 16
    assert max(counts) - min(counts) <= 1


@given(st.lists(CPUS, max_size=12))
def test_no_cpu_is_dealt_twice_and_none_is_lost(masks: list[frozenset[int]]) -> None:
    sets = deal([tuple(mask) for mask in masks])
    dealt = [cpu for one in sets for cpu in one]
    assert sorted(dealt) == sorted(frozenset().union(*masks))
    assert all(set(one) <= mask for one, mask in zip(sets, masks, strict=True))


# What a launcher binds ranks to: the node, a socket, a core, a hardware thread.
BOUND = st.sampled_from(
    [(0, 1, 2, 3, 4, 5), (0, 1, 2), (3, 4, 5), (0, 1), (3, 4), (0,), (5,)]
)


@given(st.lists(BOUND, min_size=1, max_size=4))
def test_no_other_deal_is_fairer_to_ranks_that_a_launcher_has_bound(
    masks: list[tuple[int, ...]],
) -> None:
    everything = sorted(frozenset().union(*masks))
    owners = [[n for n, mask in enumerate(masks) if cpu in mask] for cpu in everything]
    fairest = max(
        sorted(choice.count(rank) for rank in range(len(masks)))
        for choice in product(*owners)
    )
    assert sorted(map(len, deal(masks))) == fairest
