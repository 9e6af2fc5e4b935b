"""What the fork server loads, and so every worker has.

Dask, our repair of its TLS, and deafness to signals: a worker goes on while the
script uses the grace after SIGTERM. (A nanny that finds its worker over the
memory limit sends SIGTERM, and a tenth of a second later SIGKILL.)
"""

import distributed.nanny
import distributed.worker  # noqa: F401  what a worker needs in any case

from dask_runner.openssl import repair
from dask_runner.programs.lifeline import leave_signals_to_the_top

leave_signals_to_the_top()
repair()
