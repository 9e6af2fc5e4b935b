#!/bin/bash
# A Python prompt with a cluster behind it, on two nodes for an hour:
#
#     ./interactive.sh
#     >>> from dask.distributed import Client
#     >>> client = Client()
#     >>> client.submit(sum, range(10)).result()
#
# Leaving the prompt ends the cluster and the allocation. To run one script after
# the other in an allocation, call `salloc` alone and repeat the srun line:
# each gets a fresh cluster within seconds.
#
# The image is $HOME/dask-runner.sif; `IMAGE=/apps/dask-runner.sif ./interactive.sh`
# takes another.

IMAGE=${IMAGE:-$HOME/dask-runner.sif}
[[ $IMAGE == *://* || -r $IMAGE ]] || {
    echo "interactive.sh: error: $(hostname) cannot read the image $IMAGE" >&2
    echo "interactive.sh:   you can: copy it there, or set IMAGE to where it is" >&2
    exit 78
}

# srun passes on what is typed, without --pty: the prompt is a process below the
# task's, which a terminal would not let read. Hence -i, and no line editing
# (`rlwrap ./interactive.sh` adds it). --unbuffered, because a prompt ends no line.
exec salloc --nodes=2 --ntasks-per-node=1 --cpus-per-task="${CPUS:-4}" --time=01:00:00 \
    srun --unbuffered --cpus-per-task="${CPUS:-4}" \
    apptainer run "$IMAGE" --nworkers auto -- python3 -i -q
