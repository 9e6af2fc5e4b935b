"""What the fork server loads, and so every worker has: Dask, and our repair."""

import distributed.nanny
import distributed.worker  # noqa: F401  what a worker needs in any case

from dask_runner.openssl import repair

repair()
