#!/bin/sh
# Install the distribution's MPI: library, launcher, and what they need of UCX,
# libfabric and PMIx (41 MB for Open MPI, 68 MB for MPICH).
#
# MPI is the family, openmpi or mpich. MPI_VERSION has to be empty: trixie has one
# of each (Open MPI 5.0.7 with PMIx, MPICH 4.2.1 with PMI-1 and PMI-2).
set -eu
here=$(dirname "$0")

if [ -n "${MPI_VERSION:-}" ]; then
    echo "MPI_VERSION=$MPI_VERSION: the distribution has one version of its own;" \
        "choose MPI_SOURCE=wheel or MPI_SOURCE=source" >&2
    exit 1
fi

case ${MPI:-} in
    openmpi) packages="libopenmpi40 openmpi-bin" ;;
    mpich) packages="libmpich12 mpich" ;;
    *)
        echo "MPI=${MPI:-}: the distribution's families here are openmpi and mpich" >&2
        exit 1
        ;;
esac

# The packages are words of their own.
sh "$here/install-lean.sh" $packages
sh "$here/clean-system.sh"
