"""The whole way of an order: the desk's plan to two cooling units over Modbus, read back, undone, or taken back where one
is deaf."""

from datetime import timedelta

from devices import opened
from energy_house import FAN_LIMIT, LIMIT, NOW, SETPOINT, MemoryRecords, a_plan
from obeying import GOOD, LATE, SITE, Plant, state, yes
from test_source_modbus import CDU, device, floats, server

from energy.act import Desk, Stage
from energy.plan import Mode
from twin.state import State


async def held(one):
    (frame,) = await one.poll(NOW)
    return frame.values[SETPOINT].round(3).tolist()


async def deaf(function, start, address, count, registers, values):
    if values is not None:
        values[0] = 300


async def run(second):
    """What the desk says of a plan of +1 K for both units, what both then hold, and what after the plan's end."""
    first = device({"input": CDU, "holding": {0: 455, 1: 300}})
    other = device({"input": CDU, "holding": {0: 455, 1: 300}}, action=second)
    async with server(first) as one, server(other) as two:
        centre = opened("modbus", SITE, targets={f"127.0.0.1:{one}": "c1", f"127.0.0.1:{two}": "c2"}, mapping="cdu")
        desk, records = Desk(SITE, MemoryRecords(), centre.actuators, NOW), Plant()
        try:
            outcome = await desk.decide(GOOD, yes(), Mode.AUTO, state(records), NOW)
            during = [await held(source) for source in centre.sources]
            records.values = {"c1": during[0][0], "c2": during[1][0]}
            await desk.revert_due(state(records, LATE), LATE)
            return outcome, during, [await held(source) for source in centre.sources]
        finally:
            for source in centre.sources:
                await source.close()


async def test_a_plan_is_carried_out_over_modbus_and_undone_at_its_end():
    outcome, during, after = await run(None)
    assert outcome.stage is Stage.DONE, outcome.why
    assert during == [[31], [31]]
    assert after == [[30], [30]]


async def test_where_one_unit_is_deaf_the_other_is_taken_back_at_once():
    outcome, during, _ = await run(deaf)
    assert outcome.stage is Stage.FAILED
    assert "was told 31 and says 30" in str(outcome.why)
    assert during == [[30], [30]]


async def test_how_many_chillers_may_run_is_ordered_over_modbus_read_back_and_given_back():
    """A plant's controller by the pattern in ``ingest/mappings/modbus/chiller_plant.toml``."""
    words = {"input": floats(r0=24.1, r2=31.0), "holding": {0: 240, 1: 3}}
    async with server(device(words)) as port:
        one = opened("modbus", SITE, targets={f"127.0.0.1:{port}": "pl"}, mapping="chiller_plant")
        desk = Desk(SITE, MemoryRecords(), one.actuators, NOW)
        state = State(SITE)

        async def read(now):
            (frame,) = await one.sources[0].poll(now)
            state.absorb(frame, now)
            return frame.values[LIMIT].tolist()

        try:
            assert await read(NOW) == [3]
            plan = a_plan(("pl", 2.0), metric=LIMIT)
            assert (await desk.decide(plan, yes(plan), Mode.AUTO, state, NOW)).stage is Stage.DONE
            assert await read(LATE) == [2]
            await desk.revert_due(state, LATE)
            assert await read(LATE + timedelta(seconds=1)) == [3]
            wrong = a_plan(("pl", 17.0), metric=LIMIT, key="p2", now=LATE)
            assert (await desk.decide(wrong, yes(wrong), Mode.AUTO, state, LATE)).stage is Stage.FAILED
        finally:
            for source in one.sources:
                await source.close()


async def test_how_fast_a_fan_may_turn_is_ordered_over_modbus_read_back_and_given_back():
    """A tower's drive by the pattern in ``ingest/mappings/modbus/cooling_tower.toml``; one that takes another value failed."""
    words = {"input": {0: 243, 1: 12, 2: 1000}, "holding": {0: 1000}}

    async def lazy(function, start, address, count, registers, values):
        if values is not None:
            values[0] = 870

    async with server(device(words)) as port, server(device(words, action=lazy)) as other:
        one = opened("modbus", SITE, targets={f"127.0.0.1:{port}": "ct"}, mapping="cooling_tower")
        mute = opened("modbus", SITE, targets={f"127.0.0.1:{other}": "ct"}, mapping="cooling_tower")
        desk = Desk(SITE, MemoryRecords(), one.actuators, NOW)
        state = State(SITE)

        async def read(now):
            (frame,) = await one.sources[0].poll(now)
            state.absorb(frame, now)
            return [round(float(frame.values[name][0]), 3) for name in (FAN_LIMIT, "fan_speed_frac", "power_w")]

        try:
            assert await read(NOW) == [1.0, 1.0, 1200.0]
            plan = a_plan(("ct", 0.85), metric=FAN_LIMIT)
            assert (await desk.decide(plan, yes(plan), Mode.AUTO, state, NOW)).stage is Stage.DONE
            assert (await read(LATE))[0] == 0.85
            await desk.revert_due(state, LATE)
            assert (await read(LATE + timedelta(seconds=1)))[0] == 1.0
            low = a_plan(("ct", 0.45), metric=FAN_LIMIT, key="p2", now=LATE)
            assert (await desk.decide(low, yes(low), Mode.AUTO, state, LATE)).stage is Stage.FAILED
            dumb = Desk(SITE, MemoryRecords(), mute.actuators, NOW)
            assert (await dumb.decide(plan, yes(plan), Mode.AUTO, state, LATE)).stage is Stage.FAILED
        finally:
            for source in (*one.sources, *mute.sources):
                await source.close()
