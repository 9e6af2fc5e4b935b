#!/bin/sh
# Install packages of the distribution without files that nothing here loads.
#
# install-lean.sh PACKAGE...
#
# UCX's plugin for AMD GPUs needs ROCm with a whole compiler, 240 MB of 288. hwloc's
# plugins for graphics start X11 and OpenCL at every MPI_Init. MPICH's compiler wrappers
# need all of Perl; scripts have the system's perl-base. All these files are optional and
# are never unpacked. An image that needs them runs apt-get install --reinstall with the
# package's name.
set -eu
packages=$*
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
ldconfig
