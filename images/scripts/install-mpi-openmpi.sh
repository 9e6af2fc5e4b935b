#!/bin/sh
# Install Open MPI: its library, its launcher and PMIx (41 MB).
#
# MPI_VERSION is the version wanted; empty takes the distribution's (5.0.7 in
# trixie, with PMIx, UCX and libfabric).
set -eu
here=$(dirname "$0")

if [ -n "${MPI_VERSION:-}" ]; then
    echo "Open MPI $MPI_VERSION: only the distribution's version is built here" >&2
    exit 1
fi

# UCX's plugin for AMD GPUs drags in ROCm with a whole compiler, 240 MB of 288,
# and hwloc's plugins for graphics wake X11 and OpenCL at every MPI_Init. Plugins
# are optional to both, so these files are never unpacked. Whoever needs them in
# an image of their own: apt-get install --reinstall with the package's name.
unwanted="
    libLLVM*
    libamd_comgr*
    libamdhip64*
    libhsa-runtime64*
    libz3*
    ucx/*rocm*
    hwloc/hwloc_gl.so
    hwloc/hwloc_levelzero.so
    hwloc/hwloc_opencl.so
"
set -f # the patterns are dpkg's to expand
set --
for pattern in $unwanted; do
    set -- "$@" -o "Dpkg::Options::=--path-exclude=/usr/lib/*/$pattern"
done
set +f

apt-get update -q
apt-get install -q -y --no-install-recommends "$@" libopenmpi40 openmpi-bin
ldconfig
sh "$here/clean-system.sh"
