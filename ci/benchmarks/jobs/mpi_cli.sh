#!/bin/bash
# Start the command dask-mpi, and a client in a step of its own.
#   mpi_cli.sh IMAGE SRUN-OPTION...
set -eu
image=$1
shift
export BENCH_SCHEDULER_FILE=$BENCH_DIRECTORY/scheduler.json
srun --overlap --mpi=pmix "$@" apptainer exec "$image" \
    dask-mpi --scheduler-file "$BENCH_SCHEDULER_FILE" --nthreads 1 &
srun --overlap -N1 -n1 apptainer exec "$image" \
    python "$BENCH_JOBS/default_client.py"
wait
