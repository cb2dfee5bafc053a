"""The instruments that faults are done and judged with."""

import asyncio

from tests.faults.blows import KILLS, OTHERS
from tests.faults.campaign import plan
from tests.faults.dealing import Outcome
from tests.faults.proxy import Wire
from tests.faults.stories import STORIES
from tests.faults.table import rows, summary


def test_the_same_seed_plans_the_same_faults() -> None:
    assert [(each.fault.name, each.point) for each in plan(7, 50, 1)] == [
        (each.fault.name, each.point) for each in plan(7, 50, 1)
    ]


def test_a_plan_holds_every_other_fault_as_often_as_asked() -> None:
    drawn = [each.fault for each in plan(1, 20, 2)]
    assert sum(each in KILLS for each in drawn) == 20
    assert all(drawn.count(fault) == 2 for fault in (*OTHERS, *STORIES))


def test_a_fault_that_did_not_bite_counts_for_nothing() -> None:
    hit = Outcome(number=1, fault="SIGKILL", process="child", point="save", seconds=5.0, lost_steps=3)
    missed = Outcome(number=2, fault="SIGKILL", process="child", point="save", bit=False)
    (row,) = rows([hit, missed])
    assert (row["runs"], row["recovered"], row["seconds_p95"], row["lost_steps_most"]) == (1, 1, 5.0, 3)


def test_a_wrong_end_is_no_recovery_and_is_listed() -> None:
    wrong = Outcome(number=3, fault="SIGKILL", process="nats", point="step", wrong="an attempt was lost")
    total = summary([wrong])
    assert total["wrong ends"] == [3]
    assert (total["random kills"]["runs"], total["random kills"]["recovered"]) == (1, 0)


async def test_a_cut_wire_holds_up_one_direction_and_lets_it_through_late() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, Wire(server.sockets[0].getsockname()[1]) as wire:
        reader, writer = await asyncio.open_connection("127.0.0.1", wire.port)
        writer.write(b"before\n")
        assert await reader.readline() == b"before\n"
        wire.cut("in")
        writer.write(b"meanwhile\n")
        waiting = asyncio.create_task(reader.readline())
        async with asyncio.timeout(5):
            while not wire.waiting:
                await asyncio.sleep(0.01)
        assert not waiting.done()
        wire.heal()
        assert await waiting == b"meanwhile\n"
        assert wire.sever() == 1
        assert await reader.read() == b""
        writer.close()
