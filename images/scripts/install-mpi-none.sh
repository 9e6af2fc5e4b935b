#!/bin/sh
# Install no MPI: for sites that bind their own, and for those that need none.
set -eu
if [ "${MPI:-}" != none ] || [ -n "${MPI_VERSION:-}" ]; then
    echo "MPI_SOURCE=none: MPI=${MPI:-} and MPI_VERSION=${MPI_VERSION:-} make no sense" >&2
    exit 1
fi
