"""Search with futures: look at results as they arrive, and start more where it pays.

dask-runner -n 4 examples/as_completed.py
"""

import math

from dask.distributed import Client, as_completed

# How finely the most promising piece is searched before it ends.
NARROWEST = 1e-6


def valley(x):
    """Return a function's value that has many low points."""
    return math.sin(5 * x) + math.cos(3 * x) + 0.1 * (x - 4) ** 2


def lowest(left, right, points=2_000):
    """Return the lowest value in a piece, where it is, and the width looked at."""
    step = (right - left) / points
    value, x = min(
        (valley(left + i * step), left + i * step) for i in range(points + 1)
    )
    return value, x, step


def main():
    """Cut the range into pieces; around each new best, look closer."""
    with Client() as client:
        pieces = as_completed(
            [client.submit(lowest, left, left + 0.5) for left in range(-10, 20)]
        )
        best, at, searched = math.inf, math.nan, 0
        # The loop goes on while there are futures, and takes the one that is ready.
        for future in pieces:
            value, x, step = future.result()
            searched += 1
            if value < best:
                best, at = value, x
            if value == best and step > NARROWEST:
                pieces.add(client.submit(lowest, x - step, x + step))
        print(f"lowest: {best:.6f} at x = {at:.4f}, in {searched} pieces")


if __name__ == "__main__":
    main()
