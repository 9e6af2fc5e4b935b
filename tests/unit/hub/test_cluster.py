"""What follows from the loss of a rank, and from a rank that does not fit."""

from __future__ import annotations

from dask_runner.hub import messages as m
from tests.unit.stage import UP, Stage, all_leave, playing, ready, workers


def test_a_rank_that_fails_before_ready_ends_the_cluster_with_its_name() -> None:
    async def play(stage: Stage) -> None:
        ranks = await stage.ranks(0, 1)
        ranks[1].say(m.Failed("no such module: foo", "", "", 78))
        await all_leave(ranks)
        assert await stage.status() != 0
        text = "\n".join(stage.said.warnings + stage.said.errors)
        assert "rank 1 on c1" in text
        assert "no such module: foo" in text

    playing(2)(play)


def test_a_rank_lost_before_ready_ends_the_cluster() -> None:
    async def play(stage: Stage) -> None:
        zero, one = await stage.ranks(0, 1)
        zero.say(UP)
        await one.hears(m.Start)
        one.channel.close()
        await zero.leaves()
        assert await stage.status() == 75
        assert "rank 1 on c1" in "\n".join(stage.said.warnings)

    playing(2)(play)


def test_a_rank_lost_before_ready_is_not_missed_with_min_workers() -> None:
    async def play(stage: Stage) -> None:
        zero, one, two = await stage.ranks(0, 1, 2)
        zero.say(UP)
        two.channel.close()
        await stage.until(lambda: stage.said.warnings)
        zero.say(workers(0))
        one.say(workers(1))
        await zero.hears(m.Ready)

    playing(3, min_workers=2)(play)


def test_a_rank_that_died_before_it_joined_ends_the_cluster_at_once() -> None:
    async def play(stage: Stage) -> None:
        ranks = await stage.ranks(0, 1)
        ranks[1].say(m.Absent(2, "died before it joined"))
        await all_leave(ranks)
        assert await stage.status() == 75
        (error,) = stage.said.errors
        assert error.startswith("rank 2 on c1 died before it joined\n  needed: all 3 ")

    playing(3)(play)


def test_a_rank_that_joins_when_the_others_have_left_leaves_as_well() -> None:
    async def play(stage: Stage) -> None:
        (two,) = await stage.ranks(2)
        two.say(m.Absent(1, "died before it joined"))
        await two.leaves()
        assert await stage.status() == 75
        await (await stage.rank(0)).leaves()

    playing(3)(play)


def test_the_end_does_not_wait_for_a_rank_that_dies_before_it_joins() -> None:
    async def play(stage: Stage) -> None:
        zero, one = await stage.ranks(0, 1)
        one.say(m.Failed("no such module: foo", "", "", 78))
        await zero.hears(m.Close)
        zero.say(m.Absent(2, "died before it joined"))
        zero.say(m.Bye())
        await one.leaves()
        await zero.hears(m.Finish)
        zero.channel.close()
        assert await stage.status() == 78

    playing(3)(play)


def test_the_leader_of_a_node_is_absent_though_nobody_knows_its_number() -> None:
    async def play(stage: Stage) -> None:
        zero = await stage.rank(0)
        three = await stage.rank(3, "c2", local_rank=1)
        # The one of c1 is there.
        zero.say(m.Absent(-1, "died before it joined"))
        three.say(m.Absent(-1, "died before it joined"))
        await all_leave([zero, three])
        assert await stage.status() == 75
        (error,) = stage.said.errors
        assert error.startswith("the rank of local rank 0 on c2 died before it joined")

    playing(4)(play)


def test_a_rank_that_failed_before_it_joined_ends_the_cluster_with_its_error() -> None:
    async def play(stage: Stage) -> None:
        ranks = await stage.ranks(0)
        saw = "failed before it joined: no disk"
        ranks[0].say(m.Absent(1, saw, "a disk", "buy one", 78))
        await all_leave(ranks)
        assert await stage.status() == 78
        told = f"rank 1 on c1 {saw}\n  needed: a disk\n  you can: buy one"
        assert stage.said.errors == [told]

    playing(2)(play)


def test_a_rank_that_was_there_is_not_absent() -> None:
    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 2)
        ranks[0].say(m.Absent(1, "died before it joined"))
        ranks[0].say(m.ClientEnded(0, ""))
        await all_leave(ranks)
        assert await stage.status() == 0
        assert not stage.said.warnings

    playing(2)(play)


def test_a_rank_that_died_before_it_joined_is_not_missed_with_min_workers() -> None:
    async def play(stage: Stage) -> None:
        zero, one = await stage.ranks(0, 1)
        zero.say(UP)
        one.say(m.Absent(2, "died before it joined"))
        await stage.until(lambda: stage.said.warnings)
        assert stage.said.warnings == ["lost rank 2 on c1: it died before it joined"]
        zero.say(workers(0))
        one.say(workers(1))
        await zero.hears(m.Ready)

    playing(3, min_workers=2)(play)


def test_there_are_too_few_left_when_enough_have_died_before_they_joined() -> None:
    async def play(stage: Stage) -> None:
        ranks = await stage.ranks(0)
        ranks[0].say(UP)
        ranks[0].say(workers(0))
        ranks[0].say(m.Absent(1, "died before it joined"))
        await all_leave(ranks)
        assert await stage.status() == 75
        assert "rank 1 on c1 died before it joined" in stage.said.errors[0]

    playing(2, min_workers=2)(play)


def test_a_signal_that_another_rank_tells_of_counts_as_that_ranks_own() -> None:
    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 3)
        for told in (m.Signalled(10, 2), m.Signalled(10)):
            ranks[1].say(told)
        ranks[2].say(m.Signalled(10))
        ranks[0].say(m.Signalled(12))
        numbers = [(await ranks[0].hears(m.Signalled)).number for _ in range(3)]
        # That of rank 2 twice, once with that of rank 1.
        assert sorted(numbers) == [10, 10, 12]
        ranks[0].say(m.ClientEnded(0, ""))
        await all_leave(ranks)

    playing(3)(play)


def test_a_rank_lost_while_running_is_told_and_not_missed() -> None:
    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 3)
        ranks[2].channel.close()
        await stage.until(lambda: stage.said.warnings)
        assert stage.said.warnings == ["lost rank 2 on c1: no connection any more"]
        ranks[0].say(m.ClientEnded(0, ""))
        await all_leave(ranks[:2])
        assert await stage.status() == 0

    playing(3)(play)


def test_ranks_lost_together_are_told_of_in_one_line() -> None:
    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 4)
        for rank in (3, 1):
            ranks[rank].channel.close()
        await stage.until(lambda: stage.said.warnings)
        (line,) = stage.said.warnings
        assert line == "lost ranks 1, 3 on c1: no connection any more"

    playing(4)(play)


def test_the_cluster_ends_when_its_last_worker_is_lost() -> None:
    async def play(stage: Stage) -> None:
        ranks = await stage.ranks(0, 1, 2)
        ranks[0].say(UP)
        await ranks[2].hears(m.Start)
        ranks[2].say(workers(2))
        await ranks[1].hears(m.Ready)
        ranks[2].channel.close()
        await all_leave(ranks[:2])
        assert await stage.status() == 69
        assert "none is left, as rank 2 on c1 was lost" in stage.said.errors[0]

    playing(3, "dedicated")(play)


def test_the_cluster_ends_when_the_clients_rank_is_lost() -> None:
    async def play(stage: Stage) -> None:
        ranks = await stage.ranks(0, 1, 2)
        ranks[1].channel.close()
        await all_leave([ranks[0], ranks[2]])
        assert await stage.status() == 69
        assert "rank 1 on c1 with the client" in stage.said.errors[0]

    playing(3, "dedicated")(play)


def test_a_failed_scheduler_ends_the_cluster_with_its_reason() -> None:
    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 2)
        ranks[0].say(m.Failed("the scheduler was killed by SIGKILL", "a", "b", 69))
        await all_leave(ranks)
        assert await stage.status() == 69
        assert "SIGKILL" in stage.said.errors[0]

    playing(2)(play)


def test_ranks_with_mpis_of_two_families_are_told_and_end() -> None:
    async def play(stage: Stage) -> None:
        others = [
            await stage.rank(0, mpi="Open MPI v5.0.7"),
            await stage.rank(1),
            await stage.rank(2, mpi="Open MPI v4.1.8"),
        ]
        await stage.until(lambda: len(stage.state.members) == 3)
        assert not stage.said.errors
        odd = await stage.rank(3, mpi="MPICH Version: 4.2.1")
        await all_leave([*others, odd])
        assert await stage.status() == 78
        (error,) = stage.said.errors
        assert "openmpi in rank 0, 2; mpich in rank 3" in error

    playing(4)(play)


def test_the_scheduler_hears_which_workers_are_lost_with_a_rank() -> None:
    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 3)
        ranks[2].channel.close()
        assert (await ranks[0].hears(m.WorkersLost)).names == workers(2).names

    playing(3)(play)


def test_what_several_ranks_note_alike_is_said_once() -> None:
    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 3)
        before = len(stage.said.notes)
        for rank in ranks:
            rank.say(m.Note("there are few CPUs"))
        ranks[0].say(m.Note("another thing"))
        ranks[0].say(m.ClientEnded(0, ""))
        await all_leave(ranks)
        await stage.status()
        told = [note for note in stage.said.notes[before:] if "rank" in note]
        assert sum("few CPUs" in note for note in told) == 1
        assert sum("another thing" in note for note in told) == 1

    playing(3)(play)


def test_a_rank_that_fails_twice_for_a_reason_is_told_once() -> None:
    async def play(stage: Stage) -> None:
        ranks = await stage.ranks(0, 1, 2)
        for _ in range(2):
            ranks[2].say(m.Failed("no such interface", "", "", 78))
        await stage.until(lambda: stage.said.warnings)
        (warning,) = stage.said.warnings
        assert warning.startswith("lost rank 2 on c1: no such interface")

    playing(3, min_workers=2)(play)


def test_ranks_that_were_told_what_cannot_be_end_the_launch_with_one_error() -> None:
    async def play(stage: Stage) -> None:
        ranks = await stage.ranks(0)
        for number in (1, 2):
            rank = await stage.rank(number, f"c{number}")
            rank.say(m.Told({"--layout": "dedicated"}))
            ranks.append(rank)
        await all_leave(ranks)
        assert await stage.status() == 78
        (error,) = stage.said.errors
        assert error.startswith("c1 has --layout dedicated, and rank 0 has shared\n")

    playing(3, told={"--layout": "shared"})(play)
