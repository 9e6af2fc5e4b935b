"""What is imported without garbage collection is exempt from it."""

from __future__ import annotations

import gc

from dask_runner.node.importing import without_collecting


def test_garbage_is_collected_again_afterwards_but_not_among_what_was_imported() -> (
    None
):
    frozen = gc.get_freeze_count()
    try:
        with without_collecting():
            assert not gc.isenabled()
        assert gc.isenabled()
        assert gc.get_freeze_count() > frozen
    finally:
        gc.unfreeze()
