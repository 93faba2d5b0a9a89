"""Redfish over a real HTTP server that serves the DMTF's mockups: sessions, ETags, orders, conditions and streamed events."""

import asyncio
import json
import math

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from devices import NOW, action, columns, endless, garbage, opened, poll, refused, silent, site, tcp
from redfish_mockup import Mockup, cdu

from ingest.sources.redfish_points import members
from twin.frame import Origin

LPM = 1 / 60


async def test_the_dmtfs_cooling_unit_gives_its_golden_frames_and_its_failed_pump(shared_data):
    async with Mockup(shared_data / "redfish" / "public-cooling-unit") as service:
        one = cdu(service).sources[0]
        try:
            frames = await poll(one)
            events = one.take_events()
            assert one.take_events() == []
            await poll(one)
            assert one.take_events() == []  # a condition that stays is no news
            pump = service.bodies["/redfish/v1/ThermalEquipment/CDUs/1/Pumps/2"]
            pump["Status"] = {"State": "Enabled", "Health": "OK"}
            service.bodies["/redfish/v1/ThermalEquipment/CDUs/1"]["Status"]["Conditions"] = []
            service.bodies["/redfish/v1/ThermalEquipment/CDUs/1"]["Status"]["Health"] = "OK"
            await poll(one)
            over = one.take_events()
        finally:
            await one.close()
    got = columns(frames["cdu"])
    assert got == {
        "supply_temp_c": [30],
        "return_temp_c": [48],
        "flow_kgps": [pytest.approx(42 * LPM)],
        "diff_pressure_pa": [34_000],
        "heat_w": [25_310],
        "supply_temp_setpoint_c": [30],
        "primary_supply_temp_c": [30],
        "primary_return_temp_c": [40],
        "primary_flow_kgps": [pytest.approx(42 * LPM)],
        "leak_flag": [0],
        "pump_speed_frac": [pytest.approx(0.1925)],
    }
    assert columns(frames["pump"]) == {"pump_speed_frac": [pytest.approx(0.385), 0]}
    failed = [event for event in events if event.code == "redfish/Environmental.1.2.PumpFailed"]
    assert [(event.asset, event.severity, event.meaning, event.time.isoformat()) for event in failed] == [
        ("pump2", "critical", "Pump '2' has failed.", "2025-02-12T12:25:00+00:00")
    ]
    assert {(event.asset, event.severity) for event in over} >= {("pump2", "info")}
    assert all(event.meaning.startswith("over: ") for event in over)


async def test_connectors_add_up_and_a_wet_tray_is_a_leak(fixtures):
    async with Mockup(fixtures / "redfish" / "cdu.json") as service:
        one = cdu(service).sources[0]
        frames = await poll(one)
        await one.close()
    assert columns(frames["cdu"]) == {
        "supply_temp_c": [31.5],
        "return_temp_c": [41.5],
        "flow_kgps": [pytest.approx(630 * LPM)],
        "heat_w": [403_000],
        "supply_temp_setpoint_c": [30],
        "power_w": [4100],
        "leak_flag": [1],
        "pump_speed_frac": [pytest.approx(0.65)],
    }


async def test_a_metric_report_is_read_by_its_metrics(fixtures, tmp_path):
    metric = '[[metric]]\nkind = "cdu"\nmetric = "heat_w"\nscale = 1000\nseries = "MetricReport.HeatkW"\n'
    path = '[[resource]]\npath = "TelemetryService/MetricReports/*"\n'
    (tmp_path / "m.toml").write_text(f'device = "cdu"\n{path}{metric}where = {{ id = "Cooling" }}\n')
    async with Mockup(fixtures / "redfish" / "cdu.json") as service:
        one = cdu(service, mapping=str(tmp_path / "m.toml")).sources[0]
        frames = await poll(one)
        await one.close()
    assert columns(frames["cdu"]) == {"heat_w": [412_500]}
    assert one.unmapped_names == ("MetricReport.Mode",)


ROOT = "/redfish/v1/PowerEquipment"


@pytest.mark.parametrize(("asset", "bodies", "wanted"), [
    ("pdu", {
        "RackPDUs/1/Metrics": {"@odata.type": "#PowerDistributionMetrics.v1_4_0.PowerDistributionMetrics",
                               "PowerWatts": {"Reading": 6438}, "EnergykWh": {"Reading": 56_438}},
        "RackPDUs/1/Mains/AC1": {"@odata.type": "#Circuit.v1_8_0.Circuit",
                                 "PolyPhaseCurrentAmps": {"Line1": {"Reading": 5.19}, "Line2": {"Reading": 6.25}},
                                 "PolyPhaseVoltage": {"Line1ToNeutral": {"Reading": 202}, "Line2ToNeutral": {"Reading": 204}}},
    }, {"power_w": [6438], "energy_j": [56_438 * 3.6e6], "current_a": [6.25], "voltage_v": [203]}),
    ("rack", {
        f"PowerShelves/{n}/Metrics": {"@odata.type": "#PowerDistributionMetrics.v1_4_0.PowerDistributionMetrics",
                                      "PowerWatts": {"Reading": 15_000 + n}, "EnergykWh": {"Reading": 10 * n}} for n in (1, 2)
    }, {"power_w": [30_003], "energy_j": [30 * 3.6e6]}),
])  # fmt: skip
async def test_rack_pdus_and_power_shelves_are_read_by_their_metrics_and_mains(asset, bodies, wanted, tmp_path):
    tree = {"/redfish/v1": {"PowerEquipment": link("PowerEquipment")}}
    for path, body in bodies.items():  # every resource linked from the one above it, numbered ones as members
        here, place = ROOT, path.split("/")
        for i, step in enumerate(place):
            above = tree.setdefault(here, {})
            here = f"{here}/{step}"
            if i and place[i - 1] in ("RackPDUs", "PowerShelves", "Mains"):
                members = above.setdefault("Members", [])
                members += [] if {"@odata.id": here} in members else [{"@odata.id": here}]
            else:
                above[step] = {"@odata.id": here}
        tree[here] = body
    (tmp_path / "tree.json").write_text(json.dumps(tree))
    async with Mockup(tmp_path / "tree.json") as service:
        one = opened("redfish", targets={service.url: asset}, events=False).sources[0]
        frames = await poll(one)
        await one.close()
    assert columns(frames[asset]) == wanted


async def test_the_dmtfs_liquid_cooled_server_is_read_by_its_new_subsystems(shared_data):
    async with Mockup(shared_data / "redfish" / "public-liquid-cooled-server") as service:
        one = opened("redfish", targets={service.url: "node"}, events=False).sources[0]
        frames = await poll(one)
        await one.close()
    assert columns(frames["node"]) == {"power_w": [374], "power_cap_w": [500], "inlet_temp_c": [24.8], "powered_flag": [1]}


@pytest.fixture
def real(shared_data, tmp_path):
    """Recorded answers of real controllers as a folder of resources: vendor -> folder."""

    def lay(name, files):
        recorded = shared_data / "telegraf" / "redfish" / name
        for place, file in files.items():
            target = tmp_path / name / place / "index.json"
            target.parent.mkdir(parents=True, exist_ok=True)
            body = json.loads((recorded / file).read_text()) if isinstance(file, str) else file
            target.write_text(json.dumps(body))
        return tmp_path / name

    return lay


def links(*paths):
    return {"Members": [{"@odata.id": f"/redfish/v1/{path}"} for path in paths]}


def link(path):
    return {"@odata.id": f"/redfish/v1/{path}"}


async def test_a_real_idrac_and_a_real_ilo_give_their_power_and_temperatures(real):
    root = {"Chassis": link("Chassis")}
    dell = real("dell", {".": root, "Chassis": links("Chassis/System.Embedded.1"), "Chassis/System.Embedded.1":
    "dell_chassis.json",
                         "Chassis/System.Embedded.1/Power": "dell_power.json", "Chassis/System.Embedded.1/Thermal":
                         "dell_thermal.json"})  # fmt: skip
    hp = real("hp", {".": root, "Chassis": links("Chassis/1"), "Chassis/1": {"Power": link("Chassis/1/Power"), "Thermal":
    link("Chassis/1/Thermal")},
                     "Chassis/1/Power": "hp_power.json", "Chassis/1/Thermal": "hp_thermal.json"})  # fmt: skip
    old = {"power_w": [221], "inlet_temp_c": [19]}
    for folder, wanted in ((dell, {"power_w": [429], "power_cap_w": [348], "temp_c": [40]}), (hp, old)):
        async with Mockup(folder) as service:
            one = opened("redfish", targets={service.url: "node"}, events=False).sources[0]
            frames = await poll(one)
            await one.close()
        assert columns(frames["node"]) == wanted


async def test_a_real_ilo_of_the_new_kind_is_read_by_its_thermal_metrics(real):
    metrics = "Chassis/1/ThermalSubsystem/ThermalMetrics"
    folder = real("hp", {".": {"Chassis": link("Chassis")}, "Chassis": links("Chassis/1"), "Chassis/1":
    "hp_chassis_subsys.json",
                         "Chassis/1/ThermalSubsystem": {"ThermalMetrics": link(metrics)},
                         metrics: "thermal_subsys/hp_thermal_metrics.json"})  # fmt: skip
    async with Mockup(folder) as service:
        one = opened("redfish", targets={service.url: "node"}, events=False).sources[0]
        frames = await poll(one)
        await one.close()
    assert columns(frames["node"]) == {"inlet_temp_c": [19], "temp_c": [42]}


async def test_a_resource_that_answers_500_takes_no_other_along(shared_data):
    async with Mockup(shared_data / "redfish" / "public-cooling-unit") as service:
        one = cdu(service).sources[0]
        try:
            whole = await poll(one)
            one.take_events()
            assert one.troubles == {}
            pump = "/redfish/v1/ThermalEquipment/CDUs/1/Pumps/2"
            service.broken = {pump}
            some = await poll(one)
            (why,) = one.troubles.values()
            assert "status 500 (internal error)" in why
            assert one.take_events() == [], "a condition that is not seen is not over"
            service.broken = {path for path in service.bodies if path != "/redfish/v1"}
            assert "status 500" in await refused(one.poll(NOW))
            service.broken = set()
            assert columns((await poll(one))["cdu"]) == columns(whole["cdu"])
            assert one.troubles == {}
        finally:
            await one.close()
        service.broken = {"/redfish/v1/ThermalEquipment/CDUs/1/Pumps"}  # on the way to pumps
        one = cdu(service).sources[0]
        first = await poll(one)
        assert list(one.troubles) == ["/redfish/v1/ThermalEquipment/CDUs/1/Pumps"]
        assert "pump" not in first
        await one.close()
    kept, lost = columns(whole["cdu"]), columns(some["cdu"])
    assert columns(some["pump"])["pump_speed_frac"] == pytest.approx([0.385, float("nan")], nan_ok=True)
    assert math.isnan(lost.pop("pump_speed_frac")[0]), "a mean with an unknown part is unknown"
    assert lost == {name: value for name, value in kept.items() if name != "pump_speed_frac"}


async def test_what_did_not_change_is_not_sent_again_and_paths_are_looked_up_once(fixtures):
    async with Mockup(fixtures / "redfish" / "cdu.json") as service:
        one = cdu(service).sources[0]
        await poll(one)
        first, service.full, service.requests = service.full, 0, []
        frames = await poll(one)
        await one.close()
    assert first > 10
    assert service.full == 0  # all 304
    assert len(service.requests) < first
    assert columns(frames["cdu"])["supply_temp_c"] == [31.5]


async def test_orders_keep_to_the_services_own_bounds_and_are_read_back(fixtures):
    async with Mockup(fixtures / "redfish" / "cdu.json") as service:
        centre = cdu(service)
        try:
            frame = await centre.actuators["cdu"].apply(action("cdu", "supply_temp_setpoint_c", 31), NOW)
            assert (frame.origin, columns(frame)) == (Origin.COMMANDED, {"supply_temp_setpoint_c": [31]})
            connector = service.bodies["/redfish/v1/ThermalEquipment/CDUs/A/SecondaryCoolantConnectors/1"]
            assert connector["SupplyTemperatureControlCelsius"]["SetPoint"] == 31
            connector["SupplyTemperatureControlCelsius"]["AllowableMax"] = 31.5
            says = await refused(centre.actuators["cdu"].apply(action("cdu", "supply_temp_setpoint_c", 32), NOW))
            assert "takes 20 to 31.5" in says
            assert connector["SupplyTemperatureControlCelsius"]["SetPoint"] == 31
        finally:
            await centre.sources[0].close()


async def test_a_session_is_opened_once_renewed_when_it_ends_and_given_back(fixtures, tmp_path):
    secret = tmp_path / "password"
    secret.write_text("secret\n")
    async with Mockup(fixtures / "redfish" / "cdu.json", user="icct") as service:
        one = cdu(service, user="icct", password_file=secret).sources[0]
        await poll(one)
        await poll(one)
        assert len(service.sessions) == 1
        service.sessions.clear()  # it timed out, or the controller was restarted
        await poll(one)
        assert len(service.sessions) == 1
        await one.close()
        assert service.sessions == {}
        secret.write_text("wrong")
        one = cdu(service, user="icct", password_file=secret).sources[0]
        assert "login was refused with status 401 (no such user)" in await refused(one.poll(NOW))
        await one.close()
        one = cdu(service).sources[0]
        assert "check user, password_file" in await refused(one.poll(NOW))
        await one.close()


async def test_streamed_events_are_told_once_with_their_asset(fixtures):
    sent = {
        "@odata.type": "#Event.v1_7_0.Event",
        "Events": [
            {
                "MessageId": "Environmental.1.2.LeakDetectorStateCritical",
                "Message": "Leak detector 'Tray' reports a leak.",
                "MessageSeverity": "Critical",
                "EventTimestamp": "2026-11-25T11:59:58Z",
                "OriginOfCondition": {"@odata.id": "/redfish/v1/ThermalEquipment/CDUs/A/LeakDetection/LeakDetectors/Tray"},
            }
        ],
    }
    async with Mockup(fixtures / "redfish" / "cdu.json") as service:
        service.bodies["/redfish/v1/EventService"]["ServerSentEventUri"] = "/sse"
        one = opened("redfish", targets={service.url: "cdu"}).sources[0]
        try:
            await poll(one)
            one.take_events()
            text = json.dumps(sent, indent=1).replace("\n", "\ndata: ")
            await service.events.put(f": hello\n\nid: 1\ndata: {text}\n\ndata: no json\n\n".encode())
            for _ in range(100):
                if told := one.take_events():
                    break
                await asyncio.sleep(0.02)
            assert [(e.asset, e.code, e.severity, e.time.isoformat()) for e in told] == [
                ("cdu", "redfish/Environmental.1.2.LeakDetectorStateCritical", "critical", "2026-11-25T11:59:58+00:00")
            ]
            assert one.take_events() == []
        finally:
            await service.events.put(None)
            await one.close()


async def test_a_gpu_is_found_by_its_number_on_the_baseboard_and_its_power_limit_set(tmp_path):
    board = "Systems/HGX_Baseboard_0"
    bodies = {".": {"Systems": link("Systems")}, "Systems": links(board), board: {"Processors": link(f"{board}/Processors")},
              f"{board}/Processors": {**links(f"{board}/Processors/GPU_0"), "Members@odata.nextLink": "/redfish/v1/page2"},
              "page2": links(f"{board}/Processors/GPU_1")}  # fmt: skip
    for i in range(2):
        at = f"{board}/Processors/GPU_{i}"
        bodies[at] = {"EnvironmentMetrics": link(f"{at}/EnvironmentMetrics")}
        bodies[f"{at}/EnvironmentMetrics"] = {
            "@odata.type": "#EnvironmentMetrics.v1_3_1.EnvironmentMetrics",
            "PowerWatts": {"Reading": 600 + i},
            "TemperatureCelsius": {"Reading": 55 + i},
            "PowerLimitWatts": {"SetPoint": 700, "AllowableMin": 200, "AllowableMax": 1000},
        }
    for path, body in bodies.items():
        (tmp_path / path).mkdir(parents=True, exist_ok=True)
        (tmp_path / path / "index.json").write_text(json.dumps(body))
    async with Mockup(tmp_path) as service:
        centre = opened("redfish", targets={service.url: "node"}, events=False)
        try:
            frames = await poll(centre.sources[0])
            assert frames["gpu"].rows.tolist() == [0, 1]
            assert columns(frames["gpu"]) == {"power_w": [600, 601], "temp_c": [55, 56], "power_cap_w": [700, 700]}
            frame = await centre.actuators["gpu1"].apply(action("gpu1", "power_cap_w", 550), NOW)
            assert (frame.rows.tolist(), columns(frame)) == ([1], {"power_cap_w": [550]})
            assert "reports no power_cap_w" in await refused(
                centre.actuators["gpu5"].apply(action("gpu5", "power_cap_w", 550), NOW)
            )
        finally:
            await centre.sources[0].close()


async def test_a_sick_service_is_one_clear_error():
    for answer, says in ((silent, "within 0.3 s"), (garbage, "127.0.0.1"), (endless, "127.0.0.1")):
        async with tcp(answer) as port:
            one = opened("redfish", targets={f"http://127.0.0.1:{port}": "cdu"}, timeout_s=0.3, events=False).sources[0]
            assert says in await refused(one.poll(NOW))
            await one.close()

    async def page(request):
        return web.Response(text="<html>", content_type="text/html")

    async def huge(request):
        return web.Response(text="[" + "1," * 3_000_000 + "1]", content_type="application/json")

    async def broken(request):
        return web.Response(status=503)

    async def elsewhere(request):
        return web.json_response({"Chassis": {"@odata.id": "//other.example/redfish"}, "ThermalEquipment": 3, "Systems": []})

    async def absurd(request):
        return web.Response(
            text='{"ThermalEquipment": {"@odata.id": "/t"}, "CDUs": {"@odata.id": "/c"}, "Members": [{"@odata.id": "/m"}], '
            '"Status": {"Conditions": 5}, "Reading": 1%s}' % ("0" * 400),
            content_type="application/json",
        )

    assert members({"Members": 5}, "*") == []
    for answer, says in (
        (page, "no JSON"),
        (huge, "is over"),
        (broken, "status 503"),
        (elsewhere, "another server"),
        (absurd, "Reading is '1000000"),
    ):
        app = web.Application()
        app.router.add_get("/{path:.*}", answer)
        async with TestServer(app, host="127.0.0.1") as server:
            one = opened("redfish", targets={str(server.make_url("/")): "cdu"}, events=False).sources[0]
            assert says in await refused(one.poll(NOW))
            await one.close()


def test_a_password_in_an_address_and_half_a_login_are_refused():
    for options, says in (
        ({"targets": {"https://root:calvin@10.0.0.1": "cdu"}}, "secret"),
        ({"targets": {"10.0.0.1": "cdu"}, "user": "root"}, "belong together"),
        ({"targets": {"10.0.0.1": "cdu"}, "fingerprint": "abc"}, "pattern"),
    ):
        with pytest.raises(ValueError, match=says):
            opened("redfish", of=site(), **options)
