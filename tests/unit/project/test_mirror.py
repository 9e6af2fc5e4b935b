"""The tests mirror the package: a module's tests are where its name says.

``launch/key.py`` has ``tests/unit/launch/test_key.py``, or ``tests/local/launch/`` for
what needs real processes and sockets. A module with much to test may have several
files: ``test_key.py``, ``test_key_of_a_job.py``.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import dask_runner

PACKAGE = Path(dask_runner.__file__).parent
TESTS = Path(__file__).resolve().parents[2]
TIERS = ("unit", "local")
#: Folders of tests/unit that are about something else than the package.
OTHERS = ("ci", "project")

MODULES = sorted(
    str(path.relative_to(PACKAGE).with_suffix(""))
    for path in PACKAGE.rglob("*.py")
    if not path.stem.startswith("__")
)
FILES = sorted(
    str(path.relative_to(TESTS))
    for tier in TIERS
    for path in (TESTS / tier).rglob("test_*.py")
    if path.relative_to(TESTS / tier).parts[0] not in OTHERS
    # What a whole job does is no single module's.
    and not (tier == "local" and path.parent.name == tier)
)

#: Modules without a file of tests of their name, and which file tests them instead.
ELSEWHERE = {
    "node/early_agent": "local/programs/test_early_agent.py",
    "programs/start": "images/test_image_contents.py",
    "programs/comm/node_socket": "local/programs/comm/test_backend.py",
    "attach/attachment": "local/test_attach.py",
    "attach/clusters": "local/test_serve.py",
    "meeting/by_name": "local/test_join.py",
    "node/join_contact": "local/test_join.py",
    "batch/options": "unit/batch/test_variables.py",
    "batch/systems": "unit/batch/test_job_script.py",
    "cli/check": "local/test_check.py",
    "cli/commands": "local/test_command.py",
    "cli/grammar": "unit/cli/test_usage.py",
    "cli/dashboard": "local/test_proxy.py",
    "cli/name_here": "cluster/test_hosts.py",
    "cli/ssh": "unit/cli/test_hosts.py",
    "cli/hosted": "cluster/test_hosts.py",
    "node/hosted_meeting": "cluster/test_hosts.py",
    "node/hosted_messages": "cluster/test_hosts.py",
    "cli/local": "local/test_command.py",
    "cli/stop": "local/test_serve.py",
    "cli/main": "local/node/test_follower.py",
    "cli/play": "local/test_command.py",
    "cli/run": "local/test_command.py",
    "errors": "unit/project/test_ways_out.py",
    "hub/ask": "local/hub/test_answers.py",
    "hub/members": "unit/hub/test_roster.py",
    "hub/messages": "unit/wire/test_message.py",
    "hub/shared_state": "unit/hub/test_cluster.py",
    "hub/requests": "local/hub/test_answers.py",
    "hub/losses": "unit/hub/test_cluster.py",
    "hub/replacement": "unit/hub/test_spares.py",
    "hub/telling": "local/test_run_report.py",
    "hub/survival": "unit/hub/test_cluster.py",
    "launch/dask_config": "local/launch/test_settings.py",
    "launch/launch": "unit/node/test_program.py",
    "launch/options": "unit/launch/test_settings.py",
    "launch/sourced": "unit/launch/test_numbers.py",
    "launch/table": "unit/launch/test_detect.py",
    "launch/values": "unit/launch/test_settings.py",
    "launch/world": "unit/launch/test_detect.py",
    "library/base": "local/test_library.py",
    "library/cluster": "local/test_attach.py",
    "library/discovery": "local/test_attach.py",
    "library/dask_mpi": "local/test_mpi_library.py",
    "library/deadline": "local/test_mpi_library.py",
    "library/runners": "local/test_library.py",
    "library/session": "local/test_library.py",
    "library/top": "local/test_library.py",
    "library/with_body": "local/test_library.py",
    "meeting/pmi_client": "unit/meeting/test_by_pmi.py",
    "meeting/record_directory": "unit/meeting/test_record_file.py",
    "meeting/private": "local/test_command.py",
    "mpi/abi/binding": "unit/mpi/abi/test_verdict.py",
    "mpi/abi/bounds": "unit/mpi/abi/test_layers.py",
    "mpi/abi/commands": "unit/mpi/abi/test_verdict.py",
    "mpi/abi/elf": "unit/mpi/abi/test_root.py",
    "mpi/abi/fabrics": "unit/mpi/abi/test_verdict.py",
    "mpi/abi/facts": "unit/mpi/abi/test_root.py",
    "mpi/abi/files": "unit/mpi/abi/test_root.py",
    "mpi/abi/findings": "unit/mpi/abi/test_verdict.py",
    "mpi/abi/inventory": "unit/mpi/abi/test_root.py",
    "mpi/abi/judge": "unit/mpi/abi/test_rules.py",
    "mpi/abi/libraries": "unit/mpi/abi/test_root.py",
    "mpi/abi/loading": "unit/mpi/abi/test_verdict.py",
    "mpi/abi/mpiexec": "unit/mpi/abi/test_root.py",
    "mpi/abi/oci": "unit/mpi/abi/test_unpack.py",
    "mpi/abi/slurm": "unit/mpi/abi/test_root.py",
    "mpi/abi/squash": "local/test_check_squashfs.py",
    "mpi/abi/streams": "unit/mpi/abi/test_layers.py",
    "mpi/abi/vendors": "unit/mpi/test_pair.py",
    "mpi/here": "local/test_mpi_library.py",
    "mpi/world": "unit/launch/test_numbers.py",
    "node/at_desk": "local/test_handed_out.py",
    "node/desk": "local/test_handed_out.py",
    "node/desk_messages": "local/test_handed_out.py",
    "node/first_come": "local/test_meet.py",
    "node/handing_out": "local/test_handed_out.py",
    "node/desk_meeting": "local/test_handed_out.py",
    "node/cannot_begin": "local/test_meet.py",
    "node/packages": "local/test_packages.py",
    "node/start_agent": "local/test_node_agent.py",
    "packages/build": "local/test_packages.py",
    "programs/added_packages": "local/test_packages.py",
    "programs/packages": "local/test_packages.py",
    "node/admission": "local/test_followers.py",
    "node/introduction": "unit/node/test_follower.py",
    "node/child_ends": "unit/node/test_rank.py",
    "node/compiled_texts": "unit/node/test_bytecode.py",
    "node/children": "local/test_program_kinds.py",
    "node/client_program": "local/test_program_kinds.py",
    "node/foreground": "local/test_connect_ends.py",
    "node/events": "unit/node/test_early_end.py",
    "node/make_instructions": "unit/programs/test_user_modules.py",
    "node/launcher_child": "unit/node/test_early_end.py",
    "node/leader": "local/test_followers.py",
    "node/run_rank": "local/test_followers.py",
    "node/peer": "unit/node/test_shared_agent.py",
    "node/messages": "unit/wire/test_message.py",
    "node/own_contact": "local/node/test_contact.py",
    "node/mpi_broadcast": "local/test_mpi_library.py",
    "node/early_errors": "local/test_notices.py",
    "programs/agent": "local/test_node_agent.py",
    "programs/comm/trust": "local/programs/comm/test_backend.py",
    "programs/carried": "local/programs/test_carrier.py",
    "programs/attached": "local/test_connect_ends.py",
    "programs/broadcast": "local/test_mpi_library.py",
    "programs/client": "local/test_program_kinds.py",
    "programs/command": "local/test_program_kinds.py",
    "programs/default_client": "local/test_programs.py",
    "programs/fork": "local/test_programs.py",
    "programs/fork_server": "local/test_deaths.py",
    "programs/failures": "local/test_deaths.py",
    "programs/late_pages": "local/test_first_contact.py",
    "programs/lifeline": "local/test_programs.py",
    "programs/listening": "local/test_dashboard.py",
    "programs/make_worker": "local/test_programs.py",
    "programs/workers": "local/test_programs.py",
    "programs/agent_work": "local/test_node_agent.py",
    "programs/resource_tracker": "local/test_deaths.py",
    "programs/scheduler": "local/test_cluster_options.py",
    "programs/tornado_tls": "local/test_cluster_options.py",
    "programs/sitehook/sitecustomize": "local/test_sitehook.py",
    "programs/nanny": "local/test_deaths.py",
    "programs/work_done": "local/test_run_report.py",
    "programs/worker": "local/test_programs.py",
    "proxy/stream": "local/proxy/test_exchange.py",
    "resources/cgroups": "unit/resources/test_rank_share_memory.py",
    "resources/open_files": "local/test_files.py",
    "wire/splice": "local/hub/test_answers.py",
}


def subject(file: str) -> str | None:
    """Return the module that a file of tests is named after."""
    _, _, path = file.partition("/")
    folder, _, name = path.rpartition("/")
    folder += "/" * bool(folder)
    words = name.removesuffix(".py").removeprefix("test_").split("_")
    names = ("_".join(words[:end]) for end in range(len(words), 0, -1))
    found = (f"{folder}{one}" for one in names if f"{folder}{one}" in MODULES)
    return next(found, None)


@pytest.mark.parametrize("file", FILES)
def test_a_file_of_tests_is_named_after_a_module(file: str) -> None:
    assert subject(file)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_has_tests_of_its_name_or_it_is_told_where(module: str) -> None:
    tested = any(subject(file) == module for file in FILES)

    assert tested != (module in ELSEWHERE)


def test_where_else_is_told_of_modules_and_files_that_there_are() -> None:
    assert ELSEWHERE.keys() <= set(MODULES)
    assert [path for path in ELSEWHERE.values() if not (TESTS / path).is_file()] == []


def test_there_is_something_to_compare() -> None:
    assert len(MODULES) > 50
    assert len(FILES) > 50
