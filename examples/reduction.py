"""Standardise a matrix of 250 MiB that no process ever holds at once.

dask-runner -n 4 examples/reduction.py        or plain: python examples/reduction.py
"""

import time

import dask
import dask.array as da
from dask.distributed import Client


def main():
    """Draw numbers, standardise each column, and check what came out."""
    with Client():
        began = time.monotonic()
        rng = da.random.default_rng(seed=1)
        drawn = rng.normal(5, 2, size=(32_000, 1_000), chunks=(2_000, 1_000))
        # Each column's mean and deviation need all the blocks: a tree of tasks.
        scores = (drawn - drawn.mean(axis=0)) / drawn.std(axis=0)
        mean, deviation, beyond = dask.compute(
            scores.mean(), scores.std(), (abs(scores) > 2).mean()
        )
        seconds = time.monotonic() - began
    print(
        f"{drawn.nbytes / 2**20:.0f} MiB in {drawn.npartitions} blocks, {seconds:.1f} s"
    )
    print(f"mean {abs(mean):.3f}, deviation {deviation:.3f}")
    print(f"{beyond:.1%} lie more than two deviations from the mean")


if __name__ == "__main__":
    main()
