"""Weather and grid: the answers of each service give readings of now and forecasts, in our units; what is wrong is said."""

from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import encode_basic_auth, web
from aiohttp.test_utils import TestServer
from small import small_site

from ingest.registry import source_module
from ingest.sources.grid_services import Entsoe
from twin.errors import ConfigError, SourceError
from twin.frame import TOLD, Origin, Quality

NOW = datetime(2026, 11, 22, 12, 0, 30, tzinfo=UTC)
WEATHER = {"latitude": 52.52, "longitude": 13.42}


def source(kind, **options):
    module = source_module(kind)
    return module.build("out", module.Options(**options), small_site()).sources[0]


class Service:
    """A real server on loopback that answers paths with fixtures; ``wants``: header -> what it must be."""

    def __init__(self, fixtures, answers, **wants):
        self.asked, self.answers, self.wants = [], answers, wants

        async def handle(request):
            self.asked.append(request)
            answer = self.answers.get(request.path)
            if answer is None:
                return web.Response(status=404)
            if callable(answer):
                return answer(request)
            return web.Response(body=(fixtures / "outlook" / answer).read_bytes())

        app = web.Application()
        app.router.add_get("/{path:.*}", handle)
        self._server = TestServer(app, host="127.0.0.1")

    async def __aenter__(self):
        await self._server.start_server()
        return self

    async def __aexit__(self, *_):
        await self._server.close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self._server.port}"


async def polled(one, now=NOW):
    try:
        return await one.poll(now)
    finally:
        await one.close()


def told(frames):
    """(minutes from now's hour, values) of what is measured, and of what is foreseen."""
    hour = NOW.replace(second=0)
    cells = [
        (f.origin, f.band, (f.time - hour).total_seconds() / 60, {m: round(float(v[0]), 6) for m, v in f.values.items()})
        for f in frames
    ]
    assert {band for origin, band, *_ in cells if origin is Origin.FORECAST} <= {TOLD}
    return [cell[2:] for cell in cells if cell[0] is Origin.MEASURED], [
        cell[2:] for cell in cells if cell[0] is Origin.FORECAST
    ]


async def test_the_weather_of_now_and_of_the_hours_to_come(fixtures):
    async with Service(fixtures, {"/v1/forecast": "open-meteo.json"}) as service:
        one = source("weather", url=f"{service.url}/v1/forecast", **WEATHER)
        frames = await one.poll(NOW)
        here, ahead = told(frames)
        told_now = {"dry_bulb_c": 7.4, "wet_bulb_c": 6.1, "humidity_frac": 0.81, "irradiance_w_per_m2": 214, "wind_mps": 3.4}
        assert here == [(0, told_now)]
        assert ahead == [
            (60, {"dry_bulb_c": 7.1, "wet_bulb_c": 5.9, "humidity_frac": 0.83, "irradiance_w_per_m2": 180, "wind_mps": 3.9}),
            (120, {"dry_bulb_c": 6.6, "humidity_frac": 0.86}),  # what the service does not know is not there
        ]
        assert frames[1].issued == NOW.replace(second=0)
        assert await polled(one, NOW + timedelta(minutes=15)) == [], "an answer that says nothing new"
    query = service.asked[0].query
    assert (query["latitude"], query["timeformat"], query["timezone"]) == ("52.52", "unixtime", "GMT")


async def test_the_carbon_intensity_of_electricity_maps(fixtures, tmp_path):
    (tmp_path / "token").write_text("em-token")
    paths = {
        "/v3/carbon-intensity/latest": "electricitymaps-latest.json",
        "/v3/carbon-intensity/forecast": "electricitymaps-forecast.json",
    }
    options = {"provider": "electricitymaps", "zone": "DE", "token_file": tmp_path / "token"}
    async with Service(fixtures, paths) as service:
        frames = await polled(source("grid", url=service.url, **options))
        here, ahead = told(frames)
        assert here == [(0, {"carbon_gco2_per_kwh": 302})]
        assert ahead == [(60, {"carbon_gco2_per_kwh": 290}), (120, {"carbon_gco2_per_kwh": 275})]
        assert frames[0].quality["carbon_gco2_per_kwh"].tolist() == [Quality.SUSPECT]  # it says itself that it is estimated
        assert frames[1].issued == datetime(2026, 11, 22, 11, 40, tzinfo=UTC)
        assert {request.headers["auth-token"] for request in service.asked} == {"em-token"}
        service.answers["/v3/carbon-intensity/forecast"] = lambda _: web.Response(status=401)
        here, ahead = told(await polled(source("grid", url=service.url, **options)))
        assert (len(here), ahead) == (1, []), "a contract without forecasts"
        service.answers["/v3/carbon-intensity/forecast"] = lambda _: web.Response(status=503)
        one = source("grid", url=service.url, **options)
        here, ahead = told(await polled(one))
        assert (len(here), ahead) == (1, []), "what is now is known all the same"
        assert "status 503" in one.troubles["forecast"]


async def test_the_emission_rate_of_watttime_in_pounds_per_megawatt_hour(fixtures, tmp_path):
    (tmp_path / "word").write_text("hunter2")
    token = "one"

    def login(request):
        good = request.headers["Authorization"] == encode_basic_auth("me", "hunter2")
        return web.json_response({"token": token}) if good else web.Response(status=403)

    def behind(name):
        def answer(request):
            if request.headers["Authorization"] != f"Bearer {token}":
                return web.Response(status=401)
            return web.Response(body=(fixtures / "outlook" / name).read_bytes())

        return answer

    paths = {
        "/login": login,
        "/v3/historical": behind("watttime-historical.json"),
        "/v3/forecast": behind("watttime-forecast.json"),
    }
    async with Service(fixtures, paths) as service:
        one = source(
            "grid", provider="watttime", zone="CAISO_NORTH", username="me", password_file=tmp_path / "word", url=service.url
        )
        here, ahead = told(await one.poll(NOW))
        assert here == [(-5, {"marginal_carbon_gco2_per_kwh": 453.59237})]  # 1000 lb/MWh
        assert ahead == [(5, {"marginal_carbon_gco2_per_kwh": 226.796185})]
        token = "two"
        with pytest.raises(SourceError, match="status 401"):
            await one.poll(NOW)
        assert await polled(one) == []
    assert [request.path for request in service.asked].count("/login") == 2


async def test_the_british_grid_and_its_forecast(fixtures):
    paths = {"/intensity": "gb-intensity.json", "/intensity/2026-11-22T12:00Z/fw48h": "gb-fw48h.json"}
    async with Service(fixtures, paths) as service:
        here, ahead = told(await polled(source("grid", provider="gb", url=service.url)))
    assert here == [(0, {"carbon_gco2_per_kwh": 263})]
    assert ahead == [(30, {"carbon_gco2_per_kwh": 250}), (60, {"carbon_gco2_per_kwh": 241})]


async def test_the_day_ahead_prices_of_entsoe_also_where_steps_are_left_out(fixtures, tmp_path):
    (tmp_path / "token").write_text("abc-def")
    options = {"provider": "entsoe", "zone": "10Y1001A1001A82H", "token_file": tmp_path / "token"}
    async with Service(fixtures, {"/api": "entsoe-a44.xml"}) as service:
        here, ahead = told(await polled(source("grid", url=f"{service.url}/api", **options)))
        asked = service.asked[0].query
        assert (asked["securityToken"], asked["documentType"], asked["periodStart"]) == ("abc-def", "A44", "202611210000")
        # 11:00 80.5 (twice repeated), 11:45 -12.3, 12:00 the same, 12:15 95 (twice repeated)
        assert here == [(0, {"price_per_mwh": -12.3})]
        assert ahead == [(15, {"price_per_mwh": 95}), (30, {"price_per_mwh": 95}), (45, {"price_per_mwh": 95})]
        service.answers["/api"] = "entsoe-none.xml"
        with pytest.raises(SourceError, match="No matching data found") as caught:
            await polled(source("grid", url=f"{service.url}/api", **options))
        assert "abc-def" not in str(caught.value)
        service.answers["/api"] = lambda _: web.Response(status=503)
        with pytest.raises(SourceError, match="status 503") as caught:
            await polled(source("grid", url=f"{service.url}/api", **options))
        assert "abc-def" not in str(caught.value)


def _auction(sequence: int, price: float, contract: str = "A01", start: str = "11:00") -> str:
    points = "".join(f"<Point><position>{i}</position><price.amount>{price + i}</price.amount></Point>" for i in (1, 2, 3))
    return f"""<TimeSeries><contract_MarketAgreement.type>{contract}</contract_MarketAgreement.type>
        <price_Measure_Unit.name>MWH</price_Measure_Unit.name>
        <classificationSequence_AttributeInstanceComponent.position>{sequence}</classificationSequence_AttributeInstanceComponent.position>
        <Period><timeInterval><start>2026-11-22T{start}Z</start><end>2026-11-22T14:00Z</end></timeInterval>
        <resolution>PT60M</resolution>{points}</Period></TimeSeries>"""


@pytest.mark.parametrize(
    ("sequence", "series", "prices"),
    [
        (None, (_auction(2, 80), _auction(1, 50)), [51, 52, 53]),  # as of DE-LU: the coupled auction, whatever comes first
        (2, (_auction(1, 50), _auction(2, 80)), [81, 82, 83]),
        (None, (_auction(2, 80),), [81, 82, 83]),  # at times only that one is there
        (None, (_auction(1, 70, "A07"), _auction(1, 50)), [51, 52, 53]),  # as of Spain
        (None, (_auction(1, 50), _auction(1, 50)), [51, 52, 53]),
        (3, (_auction(1, 50), _auction(2, 80)), "has no sequence 3; it has 1, 2"),
        (None, (_auction(1, 50), _auction(1, 60)), "gives two prices for 2026-11-22 11:00"),
    ],
)
def test_of_several_auctions_of_a_day_one_is_read(sequence, series, prices):
    made = "<createdDateTime>2026-11-22T10:45:00Z</createdDateTime>"
    document = f'<Publication_MarketDocument xmlns="urn:x">{made}{"".join(series)}</Publication_MarketDocument>'
    service = Entsoe(None, None, "DE", "", "", None, sequence)
    if isinstance(prices, str):
        with pytest.raises(SourceError, match=prices):
            service.read("entsoe", document, NOW)
        return
    read = service.read("entsoe", document, NOW.replace(hour=11))
    assert [values["price_per_mwh"] for _, values in read.future] == prices
    assert [values["price_per_mwh"] for _, values in read.now] == prices[:1]


async def test_a_table_is_read_anew_at_each_poll(tmp_path):
    table = tmp_path / "tariff.csv"
    table.write_text(
        "time,price_per_mwh,carbon_gco2_per_kwh\n"
        "2026-11-22T11:00:00+00:00,80,400\n2026-11-22T13:00:00+01:00,90,\n2026-11-22T13:00:00Z,95,410\n"
    )
    one = source("grid", provider="csv", path=table)
    here, ahead = told(await one.poll(NOW))
    assert (here, ahead) == ([(0, {"price_per_mwh": 90})], [(60, {"price_per_mwh": 95, "carbon_gco2_per_kwh": 410})])
    table.write_text("time,price_per_mwh\n2026-11-22T12:00:00Z,91\n", encoding="utf-8-sig")  # as a spreadsheet writes it
    here, _ = told(await polled(one))
    assert here == [(0, {"price_per_mwh": 91})]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("time,price\n2026-11-22T12:00:00Z,9\n", "no column 'price' is known"),
        ("price_per_mwh\n9\n", "no column time"),
        ("time,price_per_mwh\n2026-11-22T12:00:00,9\n", "has no time zone"),
        ("time,price_per_mwh\nyesterday,9\n", "is no time"),
        ("time,price_per_mwh\n2026-11-22T12:00:00Z,cheap\n", "no number"),
        ("time,price_per_mwh\n", "says nothing"),
    ],
)
async def test_a_table_that_is_wrong_is_said_with_its_line(tmp_path, text, says):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(SourceError, match=says):
        await polled(source("grid", provider="csv", path=tmp_path / "t.csv"))


GARBAGE = [
    "",
    "<html>",
    "[]",
    '{"data": 5}',
    '{"current": {"time": "x"}}',
    '{"current": {"time": 1, "temperature_2m": "warm"}}',
]


@pytest.mark.parametrize("body", GARBAGE)
@pytest.mark.parametrize("kind", ["weather", "gb", "electricitymaps", "entsoe"])
async def test_garbage_of_a_service_is_one_clear_error(fixtures, tmp_path, kind, body):
    (tmp_path / "token").write_text("t")
    options = {"provider": kind, "zone": "DE", "token_file": tmp_path / "token"} if kind != "weather" else WEATHER
    options = {"provider": "gb"} if kind == "gb" else options
    async with Service(fixtures, {}) as service:

        class Every(dict):
            def get(self, path):
                return lambda _: web.Response(text=body)

        service.answers = Every()
        with pytest.raises(SourceError) as caught:
            await polled(source("weather" if kind == "weather" else "grid", url=service.url, **options))
    assert "\n" not in str(caught.value)


async def test_a_document_with_entities_is_not_read(fixtures, tmp_path):
    (tmp_path / "token").write_text("t")
    bomb = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>'
    async with Service(fixtures, {"/api": lambda _: web.Response(text=bomb)}) as service:
        one = source("grid", provider="entsoe", zone="DE", token_file=tmp_path / "token", url=f"{service.url}/api")
        with pytest.raises(SourceError, match="entities"):
            await polled(one)


async def test_other_units_than_those_that_were_asked_for_are_refused(fixtures):
    text = (fixtures / "outlook" / "open-meteo.json").read_text().replace('"temperature_2m":"°C"', '"temperature_2m":"°F"')
    async with Service(fixtures, {"/": lambda _: web.Response(text=text)}) as service:
        with pytest.raises(SourceError, match="not in °C"):
            await polled(source("weather", url=f"{service.url}/", **WEATHER))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"provider": "entsoe"}, "needs zone, token_file"),
        ({"provider": "csv"}, "needs path"),
        ({"provider": "nobody"}, "Input should be"),
        ({"provider": "gb", "asset": "moon"}, "has no grid 'moon'"),
    ],
)
def test_options_that_cannot_work_are_refused(options, says):
    with pytest.raises((ValueError, ConfigError), match=says):
        source("grid", **options)
