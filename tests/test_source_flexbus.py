"""The flexibility bus on a real mosquitto: whose word is believed, and whose is not. What payloads mean is ``test_respond``'s;
the way from here to the GPUs is ``test_responding``'s."""

import asyncio
import json
import uuid
from datetime import timedelta

import pytest
from devices import NOW, opened
from joserfc import jws
from joserfc.jwk import ECKey
from small import rows
from test_source_mqtt import broker, device

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
            (asked,) = await asked_after(one, client, message(signed(), number="n1"))
            (request,) = asked.requests
            assert (asked.who, request.best_effort, request.intervals[0].limit_w) == ("x/acme", True, 3e6)
            for text, publisher in (
                (message(signed(), number="n1"), "acme"),  # said again by somebody who only listened
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
