"""``python -m dask_runner`` is ``dask-runner``."""

from dask_runner.cli.main import main

if __name__ == "__main__":
    main()
