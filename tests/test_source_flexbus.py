"""The flexibility bus on a real mosquitto: whose word is believed, and whose is not. What payloads mean is ``test_respond``'s;
the way from here to the GPUs is ``test_responding``'s."""

import asyncio
import base64
import json
import uuid
from datetime import timedelta

import pytest
from brokers import broker, device
from devices import NOW, opened
from joserfc import jws
from joserfc.jwk import ECKey
from small import rows

from ingest.answers import MAX_EVENTS, MAX_READINGS, Feed, Readings, Snapshots
from twin.curtail import Informed, Interval, PowerState, Request
from twin.errors import ConfigError, SourceError
from twin.load import build_site

SITE = build_site("s", "UTC", rows("id=net kind=grid"))
OURS, OTHER = ECKey.generate_key("P-256"), ECKey.generate_key("P-256")
WANTED = {
    "targets": [
        {
            "interval": {
                "start_time": (NOW + timedelta(hours=1)).isoformat(),
                "end_time": (NOW + timedelta(hours=2)).isoformat(),
            },
            "load_constraint": {"value": 3, "unit": "megawatt"},
            "strategy": {"best_effort": True},
        }
    ]
}


def signed(data=WANTED, key=OURS):
    return jws.serialize_compact({"alg": "ES256", "kid": "1"}, json.dumps(data), key)


def mirrored(text):
    """Another signature of the same data, which anybody can make of an ES256 one: s turned into n - s."""
    head, _, tail = text.rpartition(".")
    raw = base64.urlsafe_b64decode(tail + "==")
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    other = raw[:32] + (order - int.from_bytes(raw[32:])).to_bytes(32)
    return f"{head}.{base64.urlsafe_b64encode(other).decode().rstrip('=')}"


def message(data, source="acme", made=NOW, number=None, kind="grid.loadtarget.set.v1"):
    return json.dumps({
        "specversion": "1.0.2", "id": number or str(uuid.uuid4()), "source": f"//grid/v1/isv/{source}", "type": kind,
        "time": made.isoformat(), "datacontenttype": "application/json", "subject": "loadtarget", "traceparent": "00-0-0-00",
        "data": data,
    })  # fmt: skip


async def asked_after(one, client, text, publisher="acme"):
    """What the source makes of one message."""
    before = one.unmapped
    await client.publish(f"grid/v1/isv/{publisher}/loadtarget/set", text, qos=1)
    for _ in range(500):
        await one.poll(NOW)
        news = one.asked()
        if news or one.unmapped > before:
            return list(news)
        await asyncio.sleep(0.01)
    raise AssertionError("the message did not come")


@pytest.mark.server
async def test_only_what_a_named_publisher_signed_is_believed_once(tmp_path):
    (tmp_path / "acme.pem").write_bytes(OURS.as_pem(private=False))
    async with broker() as port, device(port) as client:
        options = {"broker": f"127.0.0.1:{port}", "publishers": {"acme": str(tmp_path / "acme.pem")}}
        one = opened("flexbus", SITE, **options).sources[0]
        try:
            await one.poll(NOW)
            first = signed()
            (asked,) = await asked_after(one, client, message(first, number="n1"))
            (request,) = asked.requests
            assert (asked.who, request.best_effort, request.intervals[0].limit_w) == ("x/acme", True, 3e6)
            for text, publisher in (
                (message(signed(), number="n1"), "acme"),  # said again by somebody who only listened
                (message(first, number="n2"), "acme"),  # the same under another id, by whoever may publish
                (message(mirrored(first), number="n3"), "acme"),
                (message(signed({"targets": [{"load_constraint": {"value": 0, "unit": "watt"}}]})), "acme"),  # without an end
                (message(signed(key=OTHER)), "acme"),
                (message(WANTED), "acme"),  # not signed
                (message(signed()[:-8] + "AAAAAAAA"), "acme"),
                (message(signed()), "evil"),
                (message(signed(), source="evil"), "acme"),
                (message(signed(), made=NOW - timedelta(hours=1)), "acme"),
                (message(signed({"targets": [{"load_constraint": {"value": 1, "unit": "horse"}}]})), "acme"),
                (message(signed(), kind="grid.powerstate.status.v1"), "acme"),
                ("{", "acme"),
            ):
                assert await asked_after(one, client, text, publisher) == []
            none = {"targets": [{"interval": {}, "load_constraint": None}]}
            (back,) = await asked_after(one, client, message(signed(none)))
            assert back.requests == ()
            assert one.unmapped == 13
        finally:
            await one.close()


async def test_a_broker_that_is_not_there_and_keys_that_are_none_are_told(tmp_path):
    one = opened("flexbus", SITE, broker="127.0.0.1:9", publishers={"acme": None}, unsigned=True).sources[0]
    with pytest.raises(SourceError, match="is the broker running"):
        await one.poll(NOW)
    await one.close()
    (tmp_path / "none.pem").write_text("no key")
    for path, says in ((None, "has no key"), (str(tmp_path / "none.pem"), "holds no EC or RSA key"), ("/no/file", "cannot be")):
        with pytest.raises(ConfigError, match=says):
            opened("flexbus", SITE, broker="127.0.0.1", publishers={"acme": path})


# what is told back


def heard(client_message):
    found = json.loads(client_message.payload)
    return found, json.loads(jws.deserialize_compact(found["data"], OTHER, algorithms=["ES256"]).payload)


def state(minutes, power_w, aimed_w=float("inf"), asked=(), who="x/acme"):
    return PowerState(NOW + timedelta(minutes=minutes), power_w, 4e6, aimed_w, tuple((who, one) for one in asked))


TARGET = Request("0b0e7f3e-1d4c-4f6a-9d3e-000000000001", 0.0, (Interval(NOW.timestamp() + 300, NOW.timestamp() + 1500, 3e6),))


def test_each_change_of_an_answer_is_one_snapshot_and_the_rest_a_heartbeat():
    made = Snapshots("x", Feed("main", 1e6, 5e6), 120.0)
    course = [
        (0, 4e6, float("inf"), ()), (1, 4e6, float("inf"), (TARGET,)), (2, 4e6, float("inf"), (TARGET,)),
        (5, 4e6, 3e6, (TARGET,)), (6, 3.5e6, 3e6, (TARGET,)), (7, 3.02e6, 3e6, (TARGET,)), (8, 2.9e6, 3e6, (TARGET,)),
        (25, 2.9e6, float("inf"), ()), (26, 3.0e6, float("inf"), ()), (27, 3.9e6, float("inf"), ()),
        (28, 4e6, float("inf"), ()),
    ]  # fmt: skip
    said = [made.take(state(*one)) for one in course]
    feeds = [one["feeds"]["main"] if one else None for one in said]
    assert [feed and feed["event"] for feed in feeds] == [
        "periodic", "target_set", None, "start_ramp_down", None, "end_ramp_down", None, "target_set", "start_ramp_up",
        "end_ramp_up", None,
    ]  # fmt: skip
    down, held = feeds[3], feeds[5]
    assert (down["in_flight"], down["compliant"], held["in_flight"], held["compliant"]) == (True, False, False, True)
    assert down["power_event_start_time"] == f"{NOW + timedelta(minutes=5):%Y-%m-%dT%H:%M:%SZ}"
    assert "power_event_start_time" not in feeds[9]
    (target,) = feeds[3]["targets"]
    assert (target["active"], feeds[1]["targets"][0]["active"]) == (True, False)
    assert target["load_constraint"] == {"value": 3000.0, "unit": "kilowatt"}
    assert target["correlation_id"] == TARGET.key
    assert feeds[0]["metadata"]["power_maximum"] == {"value": 5000.0, "unit": "kilowatt"}
    beat = made.take(state(40, 4e6))
    assert beat["feeds"]["main"]["event"] == "periodic"
    other = Snapshots("x", Feed("main", 1e6, 5e6), 120.0)
    other.take(state(0, 4e6))
    assert other.take(state(1, 4e6, asked=(TARGET,), who="y/acme")) is None, "another bus's request is none of this one's"


@pytest.mark.server
async def test_the_bus_hears_how_its_target_is_met_signed_by_us(tmp_path):
    (tmp_path / "acme.pem").write_bytes(OURS.as_pem(private=False))
    (tmp_path / "own.pem").write_bytes(OTHER.as_pem(private=True))
    ours = {"identifier": "centre", "sign_key_file": str(tmp_path / "own.pem"), "least_kw": 500, "most_kw": 5000}
    async with broker() as port, device(port) as client:
        await client.subscribe("grid/v1/dsx-flex-agent/+/powerstate/status", qos=1)
        options = {"broker": f"127.0.0.1:{port}", "publishers": {"acme": str(tmp_path / "acme.pem")}, **ours}
        one = opened("flexbus", SITE, **options).sources[0]
        assert isinstance(one, Informed)
        try:
            await one.poll(NOW)
            for told in (state(0, 4e6), state(5, 4e6, 3e6, (TARGET,)), state(6, 4e6, 3e6, (TARGET,))):
                one.inform(told)
            await one.poll(NOW)
            events = []
            async for got in client.messages:
                envelope, data = heard(got)
                assert str(got.topic) == "grid/v1/dsx-flex-agent/centre/powerstate/status"
                assert (envelope["type"], envelope["source"]) == (
                    "grid.powerstate.status.v1",
                    "//grid/v1/dsx-flex-agent/centre",
                )
                events.append(data["feeds"]["main"]["event"])
                if len(events) == 3:
                    break
            assert events == ["periodic", "target_set", "start_ramp_down"]
        finally:
            await one.close()


def test_who_tells_needs_a_feed_and_a_key():
    for more, says in (({}, "most_kw"), ({"most_kw": 9}, "sign_key_file")):
        with pytest.raises(ValueError, match=says):
            opened("flexbus", SITE, broker="h", publishers={"acme": None}, identifier="centre", **more)


def test_readings_of_an_event_are_kept_by_the_minute_and_bounded():
    kept = Readings("x")
    long = Request("e", 0.0, (Interval(NOW.timestamp(), NOW.timestamp() + 86400, 3e6),))
    for half in range(2 * MAX_READINGS + 40):
        kept.take(state(half / 2, 3e6 + half, 3e6, (long,), who="x"))
    body = kept.report("e", "p-1", "centre")
    steps = body["resources"][0]["intervals"]
    assert len(steps) == MAX_READINGS
    assert [payload["type"] for payload in steps[0]["payloads"]] == ["DEMAND", "BASELINE"]
    assert steps[0]["payloads"][1]["values"] == [4000.0]
    kept.sent("e")
    assert kept.events == ()
    kept.take(state(1, float("nan"), 3e6, (long,), who="x"))
    assert kept.events == (), "a silent meter is not reported as nothing"


def test_events_that_nobody_takes_a_report_of_are_bounded_in_number():
    kept = Readings("x")
    for k in range(3 * MAX_EVENTS):
        at_s = NOW.timestamp() + 60 * k
        kept.take(state(k, 3e6, 3e6, (Request(f"e{k}", 0.0, (Interval(at_s, at_s + 60, 3e6),)),), who="x"))
    assert kept.events == tuple(f"e{k}" for k in range(2 * MAX_EVENTS, 3 * MAX_EVENTS)), "the newest stay"
    assert set(kept._baseline_w) == set(kept.events)
