"""OpenADR 3 as its OpenAPI (3.0.1) says: a VTN on a real socket with OAuth2, programs, pages of events; and its faults."""

from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from devices import opened
from small import rows

from twin.curtail import Asked, PowerState
from twin.errors import ConfigError, SourceError
from twin.load import build_site

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
SITE = build_site("s", "UTC", rows("id=net kind=grid"))
BASE = "/openadr3/3.0.1"


class Vtn:
    """Programs and events; bearer tokens of client credentials that live for ``lasts_s``."""

    def __init__(self, lasts_s=3600):
        self.events, self.tokens, self.asked, self.lasts_s, self.sick = [], set(), [], lasts_s, None
        self.reports, self.deaf = [], False
        self.programs = [
            {"id": "p-1", "objectType": "PROGRAM", "programName": "capacity"},
            {"id": "p-2", "objectType": "PROGRAM", "programName": "prices"},
        ]

    async def token(self, request):
        form = await request.post()
        if (form["grant_type"], form["client_id"], form["client_secret"]) != ("client_credentials", "us", "s3cret"):
            return web.json_response({"error": "invalid_client"}, status=401)
        token = f"t{len(self.tokens)}"
        self.tokens.add(token)
        return web.json_response({"access_token": token, "token_type": "Bearer", "expires_in": self.lasts_s})

    async def search(self, request):
        self.asked.append(request.path_qs)
        if self.sick is not None:
            return self.sick
        if request.headers.get("Authorization", "").removeprefix("Bearer ") not in self.tokens:
            return web.json_response({"title": "Forbidden", "status": 403}, status=403)
        skip, limit = int(request.query["skip"]), int(request.query["limit"])
        assert limit <= 50
        found = self.programs if request.path.endswith("/programs") else self.events
        if "programID" in request.query:
            found = [one for one in found if one["programID"] == request.query["programID"]]
        return web.json_response(found[skip : skip + limit])

    async def reported(self, request):
        if self.deaf:
            return web.json_response({"title": "Service Unavailable"}, status=503)
        self.reports.append(await request.json())
        return web.json_response({"id": f"r{len(self.reports)}"}, status=201)


@asynccontextmanager
async def vtn(**more):
    one = Vtn(**more)
    app = web.Application()
    app.router.add_post(f"{BASE}/auth/token", one.token)
    app.router.add_post(f"{BASE}/reports", one.reported)
    for what in ("programs", "events"):
        app.router.add_get(f"{BASE}/{what}", one.search)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server()
    try:
        yield one, str(server.make_url(BASE))
    finally:
        await server.close()


def event(name, kw, begin=NOW + timedelta(hours=2), kind="IMPORT_CAPACITY_LIMIT", program="p-1"):
    return {
        "id": name, "objectType": "EVENT", "programID": program, "createdDateTime": NOW.isoformat(),
        "intervalPeriod": {"start": begin.isoformat(), "duration": "PT3H"},
        "intervals": [{"id": 0, "payloads": [{"type": kind, "values": [kw]}]}],
    }  # fmt: skip


def ven(url, tmp_path, **more):
    secret = tmp_path / "secret"
    secret.write_text("s3cret")
    centre = opened("openadr", SITE, url=url, client_id="us", client_secret_file=str(secret), **more)
    return centre.sources[0]


async def test_events_of_our_program_come_once_change_and_are_taken_back(tmp_path):
    async with vtn() as (grid, url):
        one = ven(url, tmp_path, programs=["capacity"])
        try:
            grid.events = [event("e-1", 900), event("e-2", 5, kind="PRICE"), event("e-3", 100, program="p-2")]
            assert await one.poll(NOW) == ()
            (asked,) = one.asked()
            (request,) = asked.requests
            assert (asked.who, request.key, request.notice_s) == ("x", "e-1", 7200)
            assert request.intervals[0].limit_w == 900e3
            assert one.unmapped == 1  # a price is nobody's request
            await one.poll(NOW + timedelta(seconds=30))
            assert list(one.asked()) == []  # nothing new
            grid.events[0] = event("e-1", 800)
            await one.poll(NOW + timedelta(seconds=60))
            assert one.asked()[0].requests[0].intervals[0].limit_w == 800e3
            grid.events = []
            await one.poll(NOW + timedelta(seconds=90))
            assert list(one.asked()) == [Asked("x")]
        finally:
            await one.close()


async def test_an_event_of_an_odd_shape_holds_up_no_other(tmp_path):
    async with vtn() as (server, url):
        odd = {**event("odd", 1), "payloadDescriptors": ["PRICE"]}
        server.events = [odd, {**event("odder", 1), "intervals": [None]}, event("e1", 900)]
        one = ven(url, tmp_path)
        await one.poll(NOW)
        (asked,) = one.asked()
        await one.close()
    assert [request.key for request in asked.requests] == ["e1"]
    assert one.unmapped == 2
    assert "event odder: the request cannot be read: intervals.0: is no object" in one.unmapped_names


async def test_pages_are_followed_and_a_token_that_ends_is_fetched_anew(tmp_path):
    async with vtn() as (grid, url):
        one = ven(url, tmp_path)
        try:
            grid.events = [event(f"e-{i}", 900, NOW + timedelta(days=i + 1)) for i in range(120)]
            await one.poll(NOW)
            assert len(one.asked()[0].requests) == 120
            assert [path.split("?")[1] for path in grid.asked] == [f"skip={n}&limit=50" for n in (0, 50, 100)]
            grid.tokens = {f"gone{i}" for i in range(3)}  # the VTN has started anew
            await one.poll(NOW + timedelta(seconds=30))
            assert list(one.asked()) == []
        finally:
            await one.close()


@pytest.mark.parametrize(
    ("sick", "says"),
    [
        (lambda: web.json_response({"title": "down"}, status=503), "status 503 (down)"),
        (lambda: web.Response(text="<html>"), "no JSON"),
        (lambda: web.json_response({"events": []}), "no list"),
        (lambda: web.json_response([1, 2]), "no list"),
    ],
)
async def test_a_sick_vtn_is_one_sentence_and_what_it_asked_stands(tmp_path, sick, says):
    async with vtn() as (grid, url):
        one = ven(url, tmp_path)
        try:
            grid.events = [event("e-1", 900)]
            await one.poll(NOW)
            assert len(one.asked()) == 1
            grid.sick = sick()
            with pytest.raises(SourceError, match=says.replace("(", r"\(").replace(")", r"\)")):
                await one.poll(NOW + timedelta(seconds=30))
            assert len(one.asked()) == 0
        finally:
            await one.close()


async def test_wrong_credentials_a_missing_program_and_nobody_there_are_told(tmp_path):
    async with vtn() as (_, url):
        for more, says in (({"client_id": "them"}, "no token"), ({"programs": ["none"]}, "shows us no program 'none'")):
            secret = tmp_path / "secret"
            secret.write_text("s3cret")
            options = {"url": url, "client_id": "us", "client_secret_file": str(secret), **more}
            one = opened("openadr", SITE, **options).sources[0]
            with pytest.raises(SourceError, match=says):
                await one.poll(NOW)
            await one.close()
    one = ven(f"http://127.0.0.1:9{BASE}", tmp_path)
    with pytest.raises(SourceError, match="no connection"):
        await one.poll(NOW)
    await one.close()


def test_options_that_do_not_fit_are_told():
    for wrong in (
        {"url": "http://u:p@vtn"},
        {"url": "http://vtn", "client_id": "us"},
        {"url": "http://vtn", "target_type": "VEN_NAME"},
        {"url": "ftp://vtn"},
    ):
        with pytest.raises((ConfigError, ValueError)):
            opened("openadr", SITE, **wrong)


async def test_what_the_meter_shows_while_an_event_lasts_is_reported_and_again_where_the_vtn_did_not_hear(tmp_path):
    async with vtn() as (grid, url):
        one = ven(url, tmp_path, report_as="centre", report_every_s=120)
        grid.events = [event("e1", 3000, begin=NOW)]
        try:
            await one.poll(NOW)
            (asked,) = one.asked()
            for minute in range(2):
                at = NOW + timedelta(minutes=minute)
                one.inform(PowerState(at, 3.1e6 - 2e5 * minute, 4e6, 3e6, ((asked.who, asked.requests[0]),)))
            grid.deaf = True
            with pytest.raises(SourceError, match=r"reports: status 503 \(Service Unavailable\)"):
                await one.poll(NOW + timedelta(minutes=2))
            grid.deaf = False
            await one.poll(NOW + timedelta(minutes=3))
            await one.poll(NOW + timedelta(minutes=4))
            (report,) = grid.reports
            assert (report["programID"], report["eventID"], report["clientName"]) == ("p-1", "e1", "centre")
            values = [
                (payload["type"], payload["values"])
                for step in report["resources"][0]["intervals"]
                for payload in step["payloads"]
            ]
            assert values == [("DEMAND", [3100.0]), ("BASELINE", [4000.0]), ("DEMAND", [2900.0]), ("BASELINE", [4000.0])]
            one.inform(PowerState(NOW + timedelta(minutes=5), 2.8e6, 4e6, 3e6, ((asked.who, asked.requests[0]),)))
            await one.poll(NOW + timedelta(minutes=6))
            assert len(grid.reports) == 1, "two minutes make a report"
            grid.events = []
            await one.poll(NOW + timedelta(minutes=7))
            assert len(grid.reports) == 2, "and an end"
        finally:
            await one.close()


async def test_without_a_name_nothing_is_reported(tmp_path):
    async with vtn() as (grid, url):
        one = ven(url, tmp_path)
        grid.events = [event("e1", 3000, begin=NOW)]
        await one.poll(NOW)
        (asked,) = one.asked()
        one.inform(PowerState(NOW, 3e6, 4e6, 3e6, ((asked.who, asked.requests[0]),)))
        await one.poll(NOW + timedelta(hours=9))
        await one.close()
        assert grid.reports == []
