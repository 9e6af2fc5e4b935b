#!/bin/bash
# Start `dask scheduler` and `dask worker` as a batch script does.
#   by_hand.sh IMAGE WORKERS-A-TASK SRUN-OPTION...
set -eu
image=$1 nworkers=$2
shift 2
export BENCH_SCHEDULER_FILE=$BENCH_DIRECTORY/scheduler.json
srun --overlap -N1 -n1 apptainer exec "$image" \
    dask scheduler --scheduler-file "$BENCH_SCHEDULER_FILE" &
srun --overlap "$@" apptainer exec "$image" \
    dask worker --scheduler-file "$BENCH_SCHEDULER_FILE" \
    --nworkers "$nworkers" --nthreads 1 &
srun --overlap -N1 -n1 apptainer exec "$image" \
    python "$BENCH_JOBS/default_client.py"
wait
