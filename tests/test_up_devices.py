"""The program itself on a real field: ``icctwin up`` reads an exporter, a cooling unit over Modbus, a PDU over SNMP, a switch
over gNMI and a broker over MQTT, shows all of them on its wall and keeps them in its store."""

import asyncio
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from brokers import broker, device
from processes import get_json
from test_source_gnmi import T0, Switch, counters, serving
from test_source_modbus import CDU, server
from test_source_modbus import device as modbus_device
from test_source_snmp import snmpd

from ingest.stores.registry import open_kept
from ui.app import TASK_NAMES
from ui.benches.demo import free_port
from ui.benches.ingest import exporters
from ui.config import load_config, site_of

pytestmark = pytest.mark.server
ASSETS = """id,kind,parent,hostname,index,device
hall,hall,,,,
rack,rack,hall,,,
n0,node,rack,node0,,
{gpus}
cdu,cdu,hall,,,
pdu,pdu,rack,,,
sw,switch,rack,,,
sw/1,port,sw,,,Ethernet1
sw/2,port,sw,,,Ethernet2
meter,meter,hall,,,
"""
MQTT = """
about = "a plant's meters"
[[topic]]
filter = "plant/{meter}/telemetry"
[assets.meter]
id = ["meter"]
[[metric]]
kind = "meter"
metric = "power_w"
scale = 1000
series = "kw"
"""
WANTED = {
    ("gpu", "temp_c"): 8,
    ("cdu", "supply_temp_c"): 1,
    ("pdu", "power_w"): 1,
    ("port", "up_flag"): 2,
    ("meter", "power_w"): 1,
    ("source", "up_flag"): 5,
}


def config(folder: Path, wall: int, ports: dict[str, int]) -> Path:
    gpus = "\n".join(f"n0g{g},gpu,n0,,{g}," for g in range(8))
    (folder / "assets.csv").write_text(ASSETS.format(gpus=gpus))
    (folder / "meter.toml").write_text(MQTT)
    at = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
    (folder / "site.toml").write_text(
        f'[site]\nname = "field"\n[wall]\nport = {wall}\n[store]\npath = "store"\n'
        f'[[source]]\nname = "dcgm"\ntype = "prometheus"\nmapping = "dcgm"\nevery_s = 2\n'
        f"targets = {json.dumps(['http://' + at['exporter'] + '/n0/metrics'])}\n"
        f'[[source]]\nname = "cooling"\ntype = "modbus"\nmapping = "cdu"\nevery_s = 2\n'
        f'targets = {{ "{at["modbus"]}" = "cdu" }}\n'
        f'[[source]]\nname = "power"\ntype = "snmp"\nmapping = "raritan"\nevery_s = 2\ntargets = {{ "{at["snmp"]}" = "pdu" }}\n'
        f'[[source]]\nname = "net"\ntype = "gnmi"\ntls = false\nevery_s = 5\ntargets = {{ "{at["gnmi"]}" = "sw" }}\n'
        f'[[source]]\nname = "plant"\ntype = "mqtt"\nmapping = "meter.toml"\nevery_s = 2\n'
        f'targets = "{at["mqtt"]}"\n'
    )
    return folder / "site.toml"


async def shown(wall: int) -> bool:
    """Whether the wall's API has a fresh value of everything that is wanted, and every source is up."""
    try:
        for (kind, metric), count in WANTED.items():
            answer = await asyncio.to_thread(get_json, f"http://127.0.0.1:{wall}/api/v1/state?kind={kind}&metric={metric}")
            told = answer["metrics"][metric]
            if sum(told["fresh"]) < count or (kind == "source" and told["value"] != [1.0] * count):
                return False
    except (OSError, KeyError):
        return False
    return True


async def test_up_reads_devices_of_five_protocols_shows_and_keeps_them(tmp_path: Path) -> None:
    (tmp_path / "snmp").mkdir()
    wall, began = free_port(), datetime.now(UTC)
    with exporters(1) as exporter:
        async with (
            server(modbus_device({"input": CDU, "holding": {0: 455, 1: 320}})) as modbus,
            snmpd(tmp_path / "snmp") as snmp,
            serving(switch := Switch()) as gnmi,
            broker() as mqtt,
            device(mqtt) as meter,
        ):
            await meter.publish("plant/meter/telemetry", json.dumps({"kw": 12.5}), retain=True)
            ports = {"exporter": exporter[0], "modbus": modbus, "snmp": snmp, "gnmi": gnmi, "mqtt": mqtt}
            path = config(tmp_path, wall, ports)
            words = ("-m", "ui", "--log-level", "warning", "up", "--config", str(path))
            program = await asyncio.create_subprocess_exec(sys.executable, *words)
            try:
                async with asyncio.timeout(240):
                    while not await shown(wall):
                        switch.responses = counters(round(datetime.now(UTC).timestamp()) - T0, 1000)  # it gives its own times
                        await asyncio.sleep(0.2)
                        await meter.publish("plant/meter/telemetry", json.dumps({"kw": 12.5}))
            finally:
                program.terminate()
                assert await program.wait() == 0
    loaded = load_config(path)
    site = site_of(loaded, TASK_NAMES)
    store = open_kept(loaded.store, site, readonly=True)
    for kind, metric, value in (
        ("cdu", "supply_temp_c", 32.5),
        ("pdu", "power_w", 138.0),
        ("meter", "power_w", 12_500.0),
        ("port", "up_flag", 1.0),
        ("gpu", "temp_c", None),
    ):
        start, end = began - timedelta(minutes=1), datetime.now(UTC) + timedelta(minutes=1)
        found = store.series(kind, [metric], start, end, rows=site.all_rows(kind)[:1])
        kept = found.values[metric][~np.isnan(found.values[metric])]
        assert len(kept), f"{kind} {metric} is not kept"
        assert value is None or set(kept.tolist()) == {value}
    store.close()
