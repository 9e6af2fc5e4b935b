"""The blocks of the docs' pages that are for Slurm print there what they tell."""

import shlex

import pytest

from tests.cluster.jobs import SIF, Jobs
from tests.docs.blocks import Block, blocks, commands, fits, pages

RUN = [
    pytest.param(found, id=found[0].page)
    for found in map(blocks, pages())
    if any(block.place == "slurm" for block in found)
]


@pytest.mark.parametrize("found", RUN)
def test_the_blocks_of_a_page_print_what_it_tells(
    jobs: Jobs, found: list[Block]
) -> None:
    for block in found:
        if block.place != "slurm":
            continue
        if block.file:
            jobs.write(block.file, block.code)
            continue
        for command, told in commands(block):
            here = command.replace("dask-runner.sif", shlex.quote(SIF))
            ran = jobs.shell("bash", "-c", f"{{ {here}; }} 2>&1")
            assert fits(told, ran), f"{command}\n{ran}"
