#!/bin/sh
# Let the loader and the PATH find an MPI that was installed into a prefix.
#
# link-mpi.sh PREFIX
set -eu
prefix=$1

# Not LD_LIBRARY_PATH, which Apptainer and sites set for reasons of their own.
echo "$prefix/lib" >/etc/ld.so.conf.d/00-mpi.conf
ldconfig
for program in mpiexec mpirun; do
    ln -s "$prefix/bin/$program" "/usr/local/bin/$program"
done
