"""Run joblib's loops, and scikit-learn's where it is installed, on the cluster.

dask-runner -n 4 examples/joblib_backend.py
"""

import importlib.util

import joblib
from dask.distributed import Client


def collatz(start):
    """Count the steps from a number down to 1."""
    steps, number = 0, start
    while number != 1:
        number = 3 * number + 1 if number % 2 else number // 2
        steps += 1
    return steps, start


def longest():
    """Find the number below 100,000 that takes the most steps, in 20 strides."""
    # batch_size: a stride is work enough for a task; joblib need not find that out.
    best = joblib.Parallel(batch_size=1)(
        joblib.delayed(lambda part: max(map(collatz, part)))(range(part, 100_000, 20))
        for part in range(1, 21)
    )
    steps, start = max(best)
    print(f"{start} takes {steps} steps, the most below 100,000")


def forest():
    """Train the trees of a forest, one task each."""
    from sklearn.datasets import load_digits
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import cross_val_score

    model = RandomForestClassifier(n_estimators=100, random_state=0)
    scores = cross_val_score(model, *load_digits(return_X_y=True), n_jobs=-1)
    print(f"digits: {scores.mean():.1%} recognised")


def main():
    """Tell joblib once; everything that uses it then runs on the cluster."""
    with Client(), joblib.parallel_config("dask"):
        longest()
        if importlib.util.find_spec("sklearn"):
            forest()


if __name__ == "__main__":
    main()
