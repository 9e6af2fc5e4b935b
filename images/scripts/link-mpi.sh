#!/bin/sh
# Make the loader find an MPI that was installed into a prefix. Its programs are on the
# image's PATH; they look for their helpers beside themselves, so links would not do.
#
# link-mpi.sh PREFIX
set -eu
prefix=$1

# Not LD_LIBRARY_PATH, which Apptainer and sites set for reasons of their own.
echo "$prefix/lib" >/etc/ld.so.conf.d/00-mpi.conf
ldconfig
# Open MPI 4 refuses to start without a way to other nodes, though all its ranks are in
# this container.
settings=$prefix/etc/openmpi-mca-params.conf
if [ -e "$settings" ] && ! command -v ssh >/dev/null; then
    echo "plm_rsh_agent = /bin/false" >>"$settings"
fi
