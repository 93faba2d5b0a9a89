"""What is sent to the routes that Dash has of its own: what the page asks is answered, all else is 4xx and a sentence."""

import json
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from access_house import House, house, sign_in
from faces_harness import add_work

from analytics.many import Foreseen

JSON = {"content-type": "application/json"}
DEEP = 100_000
NO_PART = "There is no such part of this page; reload the page."


@pytest.fixture
def centre(tmp_path: Path) -> House:
    made = house(tmp_path)
    made.user("viewer")
    add_work(made.live)
    return made


@pytest.fixture
async def viewer(centre: House) -> AsyncIterator[httpx.AsyncClient]:
    async with centre.browser() as browser:
        assert (await sign_in(browser, "viewer")).status_code == 200
        yield browser


def asked(callback: Mapping[str, Any], values: list[Any]) -> dict[str, Any]:
    """As Dash's own script asks."""
    where = callback["output"]
    inputs = [one | {"value": value} for one, value in zip(callback["inputs"], values, strict=True)]
    new = f"{inputs[0]['id']}.{inputs[0]['property']}"
    outputs = {"id": where.component_id, "property": where.component_property}
    return {"output": str(where), "outputs": outputs, "inputs": inputs, "changedPropIds": [new], "state": []}


def malformed(good: dict[str, Any]) -> Iterator[bytes]:
    """Bodies that no page of ours sends."""
    yield from (b"", b"x", b"{", b"\xff\xfe", b"[]", b"{}", b"null", b"7", b'"x"', b"[" * DEEP, b'{"output":' * DEEP)
    first = good["inputs"][0]
    deep: Any = 1
    for _ in range(300):
        deep = [deep]
    wrong: list[tuple[str, Any]] = [
        ("output", value) for value in (None, 5, [], {}, "", "no.such", "chart.no", "..a.b..", deep)
    ]
    wrong += [("changedPropIds", value) for value in (5, "x", {}, None)]
    wrong += [(part, value) for part in ("inputs", "state") for value in (None, 5, "x", {}, [None], [[]], [{}], [deep], deep)]
    wrong += [("inputs", value) for value in ([], good["inputs"][1:], good["inputs"][::-1], [*good["inputs"], first])]
    other = ([], {}, deep, ["x"], {"a": "b"}, 1.5, True, first)
    for place, one in enumerate(good["inputs"]):
        changed = [one | {"id": "unknown"}, one | {"id": {"type": "x"}}, one | {"property": "children"}, one | {"id": deep}]
        changed += [one | {"value": value} for value in other]
        wrong += [("inputs", [*good["inputs"][:place], bad, *good["inputs"][place + 1 :]]) for bad in changed]
    yield from (json.dumps(good | {key: value}).encode() for key, value in wrong)


async def test_what_no_page_asks_is_refused_in_a_sentence_and_is_no_fault_of_ours(
    centre: House, viewer: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    seen = 0
    for app in centre.app.state.dashes:
        at = app.config.routes_pathname_prefix
        for callback in app.callback_map.values():
            for body in malformed(asked(callback, [None] * len(callback["inputs"]))):
                answer = await viewer.post(f"{at}_dash-update-component", content=body, headers=JSON)
                assert answer.status_code == 400, (answer.status_code, body[:300])
                assert answer.json()["detail"].endswith("; reload the page."), body[:300]
                seen += 1
        for part in ("os/path.py", "dash/x.js", "dash/dash.py", "dash/%00", "a/", "plotly/__init__.py"):
            answer = await viewer.get(f"{at}_dash-component-suites/{part}")
            assert (answer.status_code, answer.json()["detail"]) == (
                404,
                "There is no such part of this page; reload the page.",
            )
    assert seen > 80
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_what_a_page_asks_is_answered(centre: House, viewer: httpx.AsyncClient) -> None:
    time_s, watts, one = centre.clock.now().timestamp() + 900 * np.arange(1, 5), np.full((4, 1), 6e4), np.ones(1)
    foreseen = {"p10": watts, "p50": watts, "p90": watts, "past": watts, "mase": one, "naive_mase": one, "spread": one}
    foreseen |= {"pinball_vs_naive_frac": one, "coverage_80_frac": one}
    rows, issued = np.zeros(1, np.int32), centre.clock.now()
    parts = Foreseen("rack", "power_w", ("R01-01",), rows, issued, 900.0, time_s, **foreseen, origins=20)
    centre.live.parts = (parts,)
    callback = centre.app.state.dashes[0].callback_map["chart.figure"]
    for chosen in (None, "", "site/0/it_power_w", "rack:power_w:0", "rack:power_w:" + "9" * 5000, "no such"):
        body = asked(callback, [3, chosen, "zh", "light"])
        for sent in (body, body | {"clientSide": 1, "changedPropIds": ["no.such", {}, *body["changedPropIds"]]}):
            answer = await viewer.post("/forecast/_dash-update-component", json=sent)
            assert answer.status_code == 200, answer.text
            drawn = answer.json()["response"]["chart"]["figure"]
            assert [one["name"] for one in drawn["data"]] == ["p10", "80% 区间", "预测", "实测"]
    first = body["inputs"][0]
    del first["value"]  # a place without a value: JavaScript leaves out what is undefined
    assert (await viewer.post("/forecast/_dash-update-component", json=body)).status_code == 200
    page = (await viewer.get("/forecast")).text
    scripts = [piece.split('"')[0] for piece in page.split('src="') if piece.startswith("/forecast/_dash-component-suites/")]
    assert len(scripts) > 3
    for script in scripts:
        assert (await viewer.get(script)).status_code == 200, script
