"""The how-to's devices, as printed: tables make a site, mappings read a meter and a broker, the meter is the facility's."""

import json
import re
import struct
from datetime import UTC, datetime
from pathlib import Path

import pytest
from brokers import broker, device
from test_source_modbus import device as registers
from test_source_modbus import server

from ingest.mappings import FOLDER
from twin.frame import Frame
from twin.meters import read_meters
from twin.state import State
from ui.app import WHOLE, prepared
from ui.check import reach
from ui.config import load_config

pytestmark = pytest.mark.server

HOWTO = (Path(__file__).resolve().parent.parent / "docs" / "howto.md").read_text(encoding="utf-8")
SAID = datetime(2026, 11, 19, 10, 26, 40, tzinfo=UTC)
WATTS = 123_456.0


def shown(folder: Path, meter: int, mosquitto: int) -> Path:
    """The page's blocks as files, with the test's ports in them; the path of the configuration."""
    (table,) = re.findall(r"^```csv\n(.*?)^```", HOWTO, re.M | re.S)
    files = dict(re.findall(r"^```toml\n# ([\w.]+)[^\n]*\n(.*?)^```", HOWTO, re.M | re.S))
    assert files.keys() == {"site.toml", "meter.toml", "cooling.toml"}
    at = {"meter.mgmt:502": f"127.0.0.1:{meter}", "broker.mgmt:1883": f"127.0.0.1:{mosquitto}"}
    for old, new in at.items():
        assert old in files["site.toml"]
        files["site.toml"] = files["site.toml"].replace(old, new)
    files["site.toml"] = f'[site]\nname = "x"\nassets = "assets.csv"\n[store]\npath = "store"\n{files["site.toml"]}'
    (folder / "secrets").mkdir()
    for name, text in ({"assets.csv": table, "secrets/community": "a-community"} | files).items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "secrets" / "community").chmod(0o600)
    return folder / "site.toml"


async def test_the_devices_of_the_how_to_are_read_as_it_prints_them(tmp_path: Path) -> None:
    high, low = struct.unpack(">HH", struct.pack(">f", WATTS / 1000))
    meter = registers({"input": {52: high, 53: low}})
    async with server(meter) as port, broker() as mosquitto, device(mosquitto) as plant:
        config = load_config(shown(tmp_path, port, mosquitto))
        said = {"ts": SAID.timestamp(), "secondary": {"supply": 31.5}}
        await plant.publish("plant/CDU_07/telemetry", json.dumps(said), retain=True)
        await plant.publish("plant/CDU_99/telemetry", json.dumps(said), retain=True)  # of no place
        ready = prepared(config, WHOLE, SAID)
        site, state = ready.site, State(ready.site)
        _, utility, cooling = (one.sources[0] for one in ready.opened)
        frames: list[Frame] = [*await utility.poll(SAID), *await cooling.poll(SAID)]
        for source in (utility, cooling):
            await source.close()
        for frame in frames:
            state.absorb(frame, SAID)
        assert state.column("meter", "power_w", SAID).tolist() == [pytest.approx(WATTS, rel=1e-6)]
        assert state.column("cdu", "supply_temp_c", SAID).tolist() == [31.5]
        assert read_meters(site, state, SAID).facility.value.tolist() == [pytest.approx(WATTS, rel=1e-6)]
        rows = {row["name"]: row for row in await reach(config, SAID)}
        assert (rows["power"]["what"], rows["power"]["says"]) == ("facility", "from meter utility")
        assert rows["meters"]["says"] == "1 values every 10 s (0.1/s), every series has its place"


def test_every_mapping_of_a_device_that_ships_is_named() -> None:
    families = {path.parent.name: set() for path in FOLDER.glob("*/*.toml")}
    for path in FOLDER.glob("*/*.toml"):
        families[path.parent.name].add(path.stem)
    rows = dict(
        re.findall(r"^\| `(\w+)` \| ((?:.*`\w+`.*)) \|$", HOWTO.split("### Devices")[1].split("A meter and a topic")[0], re.M)
    )
    assert {family: set(re.findall(r"`(\w+)`", row)) for family, row in rows.items()} == families
