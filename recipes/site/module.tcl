#%Module
# The module dask-runner for Environment Modules: /apps/modulefiles/dask-runner/0.2.0
# Its name is the version; the second line below says where the versions lie.
set version [file tail [module-info name]]
set root /apps/dask-runner/$version

proc ModulesHelp {} {
    puts stderr "dask-runner makes a whole allocation one Dask cluster:

    srun -N2 --ntasks-per-node=1 dask-runner script.py
    dask-runner --help"
}
module-whatis "dask-runner $version: a Dask cluster of the whole allocation, from one image"

# One version at a time: image and command have to be the same one's.
conflict dask-runner

# The recipes (job.sbatch, interactive.sh) and bin/dask-runner read it.
setenv IMAGE $root/dask-runner.sif
prepend-path PATH $root/bin
