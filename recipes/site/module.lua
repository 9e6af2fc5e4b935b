-- The module dask-runner for Lmod: /apps/modulefiles/dask-runner/0.2.0.lua
-- Its name is the version; the line below says where the versions lie.
local root = pathJoin("/apps/dask-runner", myModuleVersion())

help([[
dask-runner makes a whole allocation one Dask cluster:

    srun -N2 --ntasks-per-node=1 dask-runner script.py
    dask-runner --help
]])
whatis("Name: dask-runner")
whatis("Version: " .. myModuleVersion())
whatis("Description: a Dask cluster of the whole allocation, from one image")

-- One version at a time: image and command have to be the same one's.
conflict("dask-runner")

-- The recipes (job.sbatch, interactive.sh) and bin/dask-runner read it.
setenv("IMAGE", pathJoin(root, "dask-runner.sif"))
prepend_path("PATH", pathJoin(root, "bin"))
