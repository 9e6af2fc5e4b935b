"""GPUs that are only named: whose workers see which, for real but for the GPUs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import DaskRunner

SCRIPT = """
import json, os
from dask.distributed import Client

client = Client()
workers = client.scheduler_info(n_workers=-1)["workers"]
seen = client.run(lambda: os.environ["CUDA_VISIBLE_DEVICES"])
print(json.dumps({
    str(worker["id"]): [seen[address], worker["nthreads"], worker["resources"]]
    for address, worker in workers.items()
}))
"""

# What dask-cuda's class is to who starts it: no worker and no nanny, but a maker of
# one nanny for each GPU that it sees, each with the list rotated. The real one asks
# the driver for each, and there is none here.
DASK_CUDA = """
import asyncio, os
from distributed import Nanny

class CUDAWorker:
    def __init__(self, scheduler, nthreads=1, name=None, resources=None, **options):
        gpus = os.environ["CUDA_VISIBLE_DEVICES"].split(",")
        pairs = (resources or "").replace(",", " ").split()
        self.nannies = [
            Nanny(
                scheduler,
                nthreads=nthreads,
                name=name if len(gpus) == 1 else f"{name}-{number}",
                env={"CUDA_VISIBLE_DEVICES": ",".join(gpus[number:] + gpus[:number])},
                resources={k: float(v) for k, v in (pair.split("=") for pair in pairs)},
                **options,
            )
            for number in range(len(gpus))
        ]

    def __await__(self):
        return asyncio.gather(*self.nannies).__await__()

    async def close(self, timeout=5):
        await asyncio.gather(*(nanny.close(timeout=timeout) for nanny in self.nannies))
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    (tmp_path / "dask_cuda.py").write_text(DASK_CUDA)
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return path


def test_each_gpu_of_two_ranks_has_one_worker_that_sees_it_first(
    dask_runner: DaskRunner, script: Path
) -> None:
    ended = dask_runner("-n", 2, script, env={"CUDA_VISIBLE_DEVICES": "4,5,6,7"})
    assert ended.status == 0, ended
    assert {name: seen for name, (seen, *_) in json.loads(ended.stdout).items()} == {
        "0": "4,5,6,7",
        "0-1": "5,6,7,4",
        "1": "6,7,4,5",
        "1-1": "7,4,5,6",
    }


CUDA = ("--worker-class", "dask_cuda.CUDAWorker")


def test_dask_cudas_class_starts_one_worker_a_gpu_of_its_rank(
    dask_runner: DaskRunner, script: Path
) -> None:
    ended = dask_runner(
        *("-n", 2, *CUDA, "--resources", "GPU=1", script),
        env={"CUDA_VISIBLE_DEVICES": "0,1,2,3"},
    )
    assert ended.status == 0, ended
    assert json.loads(ended.stdout) == {
        "0-0": ["0,1", 1, {"GPU": 1.0}],
        "0-1": ["1,0", 1, {"GPU": 1.0}],
        "1-0": ["2,3", 1, {"GPU": 1.0}],
        "1-1": ["3,2", 1, {"GPU": 1.0}],
    }


@pytest.mark.parametrize(
    ("options", "gpus", "words"),
    [
        ((), "", "no variable names a GPU of this rank"),
        (("--nworkers", 3), "0,1", "--nworkers 3 with --worker-class"),
    ],
    ids=["no GPU", "other workers"],
)
def test_dask_cudas_class_without_what_it_needs_is_refused(
    dask_runner: DaskRunner,
    script: Path,
    options: tuple[object, ...],
    gpus: str,
    words: str,
) -> None:
    env = {"CUDA_VISIBLE_DEVICES": gpus} if gpus else {}
    ended = dask_runner("-n", 1, *CUDA, *options, script, env=env)
    assert ended.status == 78, ended
    assert words in ended.stderr
    assert "you can: " in ended.stderr
