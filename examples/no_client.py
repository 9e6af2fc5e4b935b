"""Count words with dask.bag; no client and nothing that knows of a cluster.

dask-runner -n 4 examples/no_client.py        or plain: python examples/no_client.py
"""

import os

import dask.bag as db

LINES = ["the quick brown fox", "jumps over the lazy dog", "the end"] * 2_000


def main():
    """Count; .compute() alone runs on the cluster, if there is one."""
    lines = db.from_sequence(LINES, npartitions=20)
    words = lines.str.split().flatten()
    counts = words.frequencies().topk(3, key=1).compute()
    pids = set(lines.map_partitions(lambda _: [os.getpid()]).compute())
    print(", ".join(f"{word} {count:,}" for word, count in counts[:1]))
    print(f"{words.count().compute():,} words counted in {len(pids)} processes")


if __name__ == "__main__":
    main()
