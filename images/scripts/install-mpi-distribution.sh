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

# UCX's plugin for AMD GPUs drags in ROCm with a whole compiler, 240 MB of 288,
# hwloc's plugins for graphics wake X11 and OpenCL at every MPI_Init, and MPICH's
# compiler wrappers want all of Perl, where scripts have the system's perl-base.
# All these are optional to those who would load them, so the files are never
# unpacked. Whoever needs them in an image of their own: apt-get install
# --reinstall with the package's name.
unwanted="
    lib/*/libLLVM*
    lib/*/libamd_comgr*
    lib/*/libamdhip64*
    lib/*/libhsa-runtime64*
    lib/*/libz3*
    lib/*/ucx/*rocm*
    lib/*/hwloc/hwloc_gl.so
    lib/*/hwloc/hwloc_levelzero.so
    lib/*/hwloc/hwloc_opencl.so
    lib/*/libperl*
    lib/*/perl/*
    share/perl/*
"
set -f # the patterns are dpkg's to expand
set --
for pattern in $unwanted; do
    set -- "$@" -o "Dpkg::Options::=--path-exclude=/usr/$pattern"
done
apt-get update -q
# The packages are words of their own.
apt-get install -q -y --no-install-recommends "$@" $packages
set +f
ldconfig
sh "$here/clean-system.sh"
