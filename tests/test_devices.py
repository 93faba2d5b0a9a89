"""What all sources of devices hold to: tables that ship are right, targets find their asset, orders nobody can send are
refused."""

import importlib
import tomllib

import pytest
from devices import NOW, action, columns, opened, refused, site

from ingest.mappings import FOLDER, known_mappings, load_mapping, load_table
from ingest.mappings.device import Bound, DeviceTable, points
from ingest.registry import SOURCES, source_module
from ingest.sources.bacnet import BacnetTable
from ingest.sources.device import DeviceActuator, DeviceOptions, DeviceSource, host_of, host_port
from ingest.sources.device_targets import settable
from ingest.sources.gnmi import GnmiTable
from ingest.sources.modbus import ModbusTable
from ingest.sources.mqtt import MqttTable
from ingest.sources.redfish_points import RedfishTable
from ingest.sources.snmp import SnmpTable
from twin.errors import ConfigError, SourceError
from twin.kinds import KINDS
from twin.metrics import METRICS

FAMILIES = {
    "bacnet": BacnetTable,
    "gnmi": GnmiTable,
    "modbus": ModbusTable,
    "mqtt": MqttTable,
    "redfish": RedfishTable,
    "snmp": SnmpTable,
}
SHIPPED = [(family, name) for family in FAMILIES for name in known_mappings(FOLDER / family)]


def test_every_family_is_seen():
    folders = {path.name for path in FOLDER.iterdir() if path.is_dir() and any(path.glob("*.toml"))}
    assert folders == {*FAMILIES, "snmp_traps"}
    assert len(SHIPPED) >= 13
    assert all(family in SOURCES for family in folders)


@pytest.mark.parametrize(("family", "name"), SHIPPED)
def test_a_table_that_ships_is_right_and_says_what_it_is_for(family, name):
    table = load_table(name, FAMILIES[family], FOLDER / family)
    assert table.about
    assert table.device or family == "mqtt"
    text = tomllib.loads((FOLDER / family / f"{name}.toml").read_text())
    assert set(table.words) <= table.names, "words for points that nobody reads"
    assert len(text["metric"]) == len(table.metric)


def test_a_name_that_no_table_has_is_answered_with_those_of_its_protocol():
    with pytest.raises(ConfigError) as caught:
        load_table("cdux", ModbusTable, FOLDER / "modbus")
    said = str(caught.value)
    assert f"mapping is {', '.join(known_mappings(FOLDER / 'modbus'))} or the path of a TOML file" in said
    assert "auto" not in said
    with pytest.raises(ConfigError, match=r"mapping is auto, .*dcgm"):
        load_mapping("cdux")


CDU = DeviceTable.model_validate(
    {
        "device": ["cdu"],
        "assets": {"pump": {"index": ["n"]}},
        "words": {"state": {"OK": 0, "2": 1}},
        "metric": [
            {"kind": "cdu", "metric": "supply_temp_setpoint_c", "series": "sp", "scale": 0.1, "offset": 1},
            {"kind": "cdu", "metric": "leak_flag", "series": "state"},
            {"kind": "pump", "metric": "pump_speed_frac", "series": "speed", "scale": 0.01},
        ],
        "set": [
            {"kind": "cdu", "metric": "supply_temp_setpoint_c", "low": 18, "high": 40},
            {"kind": "pump", "metric": "pump_speed_frac", "low": 0.3, "high": 1, "write": "order"},
        ],
    }
)


class Plant:
    """A device in memory: what it is told it holds, but for ``deaf`` points."""

    def __init__(self):
        self.held = {("sp", ""): 290.0, ("state", ""): "OK", ("speed", "1"): 50.0, ("speed", "2"): 60.0}
        self.told, self.deaf = [], False

    async def read(self, now):
        return points((name, {"n": n} if n else {}, value) for (name, n), value in self.held.items())

    async def write(self, series, value):
        self.told.append((series[0], series[1].get("n", ""), value))
        if not self.deaf:
            self.held["speed" if series[0] == "order" else series[0], series[1].get("n", "")] = value

    async def close(self):
        pass


def centre(places=None):
    of, plant = site(), Plant()
    options = DeviceOptions(targets={"h": "cdu"}, mapping="x", every_s=1)
    bound = Bound(CDU, of, "cdu", places or {})
    source = DeviceSource("x", "h", plant, bound, options)
    actuators = {
        asset: DeviceActuator(source, plant, bound, of, settings) for asset, settings in settable(CDU, of, "cdu").items()
    }
    return source, plant, actuators


async def test_points_become_frames_by_place_and_word_and_what_is_no_word_is_counted():
    source, plant, _ = centre()
    plant.held["state", ""] = 2.0
    frames = {frame.kind: frame for frame in await source.poll(NOW)}
    assert columns(frames["cdu"]) == {"supply_temp_setpoint_c": [30], "leak_flag": [1]}
    assert columns(frames["pump"]) == {"pump_speed_frac": [0.5, 0.6]}
    assert source.unmapped == 0
    plant.held["state", ""] = "PURPLE"
    frames = {frame.kind: frame for frame in await source.poll(NOW)}
    assert columns(frames["cdu"])["leak_flag"] == pytest.approx([float("nan")], nan_ok=True)
    assert (source.unmapped, source.unmapped_names) == (1, ("state = PURPLE",))


async def test_an_asset_that_the_configuration_names_for_a_devices_own_number_is_taken():
    source, _, _ = centre({"n": {"1": "pump2", "2": "pump1"}})
    frames = {frame.kind: frame for frame in await source.poll(NOW)}
    assert (frames["pump"].rows.tolist(), columns(frames["pump"])) == ([0, 1], {"pump_speed_frac": [0.6, 0.5]})


async def test_an_order_goes_to_its_own_point_in_the_devices_unit_and_to_no_other_pump():
    _, plant, actuators = centre()
    assert set(actuators) == {"cdu", "pump1", "pump2"}
    frame = await actuators["pump2"].apply(action("pump2", "pump_speed_frac", 0.65), NOW)
    assert plant.told == [("order", "2", pytest.approx(65))]
    assert (frame.kind, frame.rows.tolist(), columns(frame)) == ("pump", [1], {"pump_speed_frac": [pytest.approx(0.65)]})
    await actuators["cdu"].apply(action("cdu", "supply_temp_setpoint_c", 30.5), NOW)
    assert plant.told[1] == ("sp", "", pytest.approx(295))  # (30.5 - 1) / 0.1


async def test_a_deaf_device_is_read_back_as_it_stands_and_a_silent_setpoint_is_not_ordered():
    _, plant, actuators = centre()
    plant.deaf = True
    frame = await actuators["cdu"].apply(action("cdu", "supply_temp_setpoint_c", 30.5), NOW)
    assert columns(frame) == {"supply_temp_setpoint_c": [30]}
    plant.held["sp", ""] = None
    assert "stands at nan" in await refused(actuators["cdu"].apply(action("cdu", "supply_temp_setpoint_c", 30.5), NOW))
    del plant.held["sp", ""]
    assert "nothing is ordered blindly" in await refused(
        actuators["cdu"].apply(action("cdu", "supply_temp_setpoint_c", 30), NOW)
    )
    assert len(plant.told) == 1


@pytest.mark.parametrize("family", [*FAMILIES, "snmp_traps"])
def test_a_missing_library_is_one_sentence_that_says_how_to_get_it(family, monkeypatch):
    if family == "redfish":
        return  # aiohttp is always there
    module = source_module(family)
    told = {"bind": "127.0.0.1"} if family == "bacnet" else {}
    mapping = {} if family == "snmp_traps" else {"mapping": known_mappings(FOLDER / family)[0]}
    targets = {} if family == "snmp_traps" else {"targets": {"h": ""}}
    options = module.Options(**targets, **mapping, **told)

    def absent(name):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(ConfigError, match=r"needs the library \w+, which is not installed; run: make field"):
        module.build("x", options, site())


def test_targets_find_their_asset_by_address_or_say_how_to_name_it():
    of = site({"id": "c2", "kind": "cdu", "parent": "hall", "address": "10.0.0.2"})
    assert set(opened("modbus", of, targets="10.0.0.2:502", mapping="cdu").actuators) == {"c2"}
    for targets, says in (
        ({"10.0.0.9": ""}, r'no cdu has address 10.0.0.9; write targets = \{ "10.0.0.9" = "id of the cdu" \}'),
        ({"10.0.0.9": "nobody"}, "no asset 'nobody'$"),
        ({"c2": "cdu-2.mgmt"}, '\'cdu-2.mgmt\'; write it the other way round, address = asset: "cdu-2.mgmt" = "c2"$'),
        ({"10.0.0.9": "rack"}, "is a rack; the mapping is for cdu"),
    ):
        with pytest.raises(ConfigError, match=says):
            opened("modbus", of, targets=targets, mapping="cdu")
    with pytest.raises(ConfigError, match=r"places\.n: the site has no asset 'nobody'"):
        opened("modbus", of, targets="10.0.0.2", mapping="cdu", places={"n": {"1": "nobody"}})
    with pytest.raises(ValueError, match="stands twice"):
        opened("modbus", of, targets=["10.0.0.2", "10.0.0.2"], mapping="cdu")


@pytest.mark.parametrize(("target", "host", "port"), [
    ("h", "h", 1), ("h:2", "h", 2), ("10.0.0.1:3", "10.0.0.1", 3), ("[::1]:4", "::1", 4), ("::1", "::1", 1), ("[::1]",
    "::1", 1), ("https://h:5/x", "h", 5),
])  # fmt: skip
def test_addresses_are_read(target, host, port):
    assert (host_of(target), host_port(target, 1)) == (host, (host, port))


@pytest.mark.parametrize(("setting", "says"), [
    ({"kind": "cdu", "metric": "heat_w", "low": 1, "high": 2}, "no metric that can be set"),
    ({"kind": "cdu", "metric": "supply_temp_setpoint_c", "low": 1, "high": 40}, "must lie within 5 to 60"),
    ({"kind": "cdu", "metric": "pump_speed_frac", "low": 0.1, "high": 1}, "needs a \\[\\[metric\\]\\] of one scaled series"),
])  # fmt: skip
def test_a_setting_that_could_hurt_is_refused_when_it_is_read(setting, says):
    metric = [
        {"kind": "cdu", "metric": "heat_w", "series": "h"},
        {"kind": "cdu", "metric": "supply_temp_setpoint_c", "series": "s"},
    ]
    with pytest.raises(ValueError, match=says):
        DeviceTable.model_validate({"device": "cdu", "metric": metric, "set": [setting]})


def test_too_many_points_are_refused(monkeypatch):
    monkeypatch.setattr("ingest.mappings.device.MAX_POINTS", 10)
    with pytest.raises(SourceError, match="more than 10 points"):
        points((f"p{i}", {}, 1.0) for i in range(11))


def test_every_metric_that_can_be_set_is_of_a_kind_that_exists():
    settable = {(kind, row.name) for kind, rows in METRICS.items() for row in rows.values() if row.step is not None}
    shipped = {
        (s.kind, s.metric) for family, name in SHIPPED for s in load_table(name, FAMILIES[family], FOLDER / family).settings
    }
    assert shipped <= settable
    assert {kind for kind, _ in shipped} <= set(KINDS)


def test_one_asset_is_set_by_one_source_alone(tmp_path):
    from ui.app import open_sources
    from ui.config import load_config, site_of

    (tmp_path / "assets.csv").write_text("id,kind,parent\nh,hall,\nc,cdu,h\n")
    text = '[site]\nname = "t"\nassets = "assets.csv"\n'
    for i, more in enumerate(("", "orders = false\n", "")):
        text += f'[[source]]\nname = "s{i}"\ntype = "modbus"\nmapping = "cdu"\ntargets = {{ "10.0.0.{i}" = "c" }}\n{more}'
    (tmp_path / "site.toml").write_text(text)
    config = load_config(tmp_path / "site.toml")
    with pytest.raises(ConfigError) as caught:
        open_sources(config, site_of(config, ()))
    assert [str(problem) for problem in caught.value.problems] == [
        "source s2: would set c, as source s0 does; an order goes one way: say orders = false at one of them"
    ]


def test_orders_name_the_assets_that_may_be_ordered():
    targets = {"h": "cdu"}
    assert set(opened("modbus", targets=targets, mapping="cdu", orders=False).actuators) == set()
    assert set(opened("modbus", targets=targets, mapping="cdu", orders=["cdu"]).actuators) == {"cdu"}
    assert opened("mqtt", targets="h", mapping="bms").actuators == {}
    with pytest.raises(ConfigError, match="orders: the site has no asset 'nobody'"):
        opened("mqtt", targets="h", mapping="bms", orders=["nobody"])
