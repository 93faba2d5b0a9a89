"""``icctwin check`` says of each source whether it is reached, how much it gives, and what of it nobody can place."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from brokers import broker, device

from ui.check import Row, reach
from ui.config import load_config

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
PAGE = """DCGM_FI_DEV_GPU_TEMP{gpu="0"} 50
DCGM_FI_DEV_POWER_USAGE{gpu="0"} 400
mystery{gpu="0"} 1
DCGM_FI_DEV_GPU_TEMP{gpu="9"} 1
"""


async def rows_of(folder: Path, sources: str) -> dict[str, Row]:
    (folder / "assets.csv").write_text(
        "id,kind,parent,index\nhall,hall,,\nrack,rack,hall,\nnode,node,rack,\ng0,gpu,node,0\nnet,grid,,\n"
    )
    (folder / "token").write_text("s3cret-of-senders-0123456789")
    path = folder / "site.toml"
    path.write_text(f'[site]\nname = "x"\n[store]\npath = "store"\n{sources}')
    return {str(row["name"]): row for row in await reach(load_config(path), NOW)}


async def test_reach_rate_and_names_of_each_source(tmp_path: Path) -> None:
    async def page(_: web.Request) -> web.Response:
        return web.Response(text=PAGE, headers={"Content-Type": "text/plain"})

    app = web.Application()
    app.router.add_get("/metrics", page)
    async with TestServer(app, host="127.0.0.1") as server:
        at = f"127.0.0.1:{server.port}"
        (tmp_path / "targets.json").write_text(json.dumps([{"targets": [at, "127.0.0.1:1"], "labels": {"node": "node"}}]))
        source = '[[source]]\nname = "{}"\ntype = "prometheus"\nevery_s = 2\nmapping = "auto"\n{}\n'
        rows = await rows_of(
            tmp_path,
            source.format("one", f'targets = "{at}"\nnode = "node"')
            + source.format("dead", 'targets = "127.0.0.1:1"\nnode = "node"')
            + source.format("many", 'file_sd = "targets.json"')
            + source.format("wrong", f'targets = "{at}"\nnode = "node"').replace('"auto"', '"node_exporter"')
            + '[[source]]\nname = "push"\ntype = "push"\ntoken_file = "token"\n',
        )
    one = rows["one"]
    assert (one["ok"], one["values"], one["values_per_s"], one["unmapped"]) == (True, 2, 1.0, 2)
    assert one["unmapped_names"] == ["mystery", "gpu 9 of node"], "whose metric is known is called by what it speaks of"
    assert "2 values every 2 s (1/s), 2 series belong to nothing known: mystery, gpu 9 of node" in str(one["says"])
    assert (rows["dead"]["ok"], "no connection" in str(rows["dead"]["says"])) == (False, True)
    assert rows["wrong"]["ok"] is False
    assert "the mapping node_exporter knows none of its 3 metrics; dcgm knows them: set mapping" in str(rows["wrong"]["says"])
    assert "of 1 of 2 targets" in str(rows["many"]["says"])
    assert (rows["g0"]["what"], rows["g0"]["ok"]) == ("twice", True)
    assert "is told by one and by many; both are kept and the newest is shown" in str(rows["g0"]["says"])
    assert "precedence = 2" in str(rows["g0"]["says"])
    (target,) = [row for name, row in rows.items() if name.startswith("many: ")]
    assert (target["what"], target["ok"]) == ("target", False)
    assert (rows["push"]["ok"], "takes what is pushed" in str(rows["push"]["says"])) == (True, True)
    (tmp_path / "token").unlink()
    (tmp_path / "next").mkdir()
    pushed = '[[source]]\nname = "push"\ntype = "push"\ntoken_file = "nowhere"\n'
    rows = await rows_of(tmp_path / "next", pushed)
    assert (rows["push"]["ok"], "cannot be read" in str(rows["push"]["says"])) == (False, True)
    assert "s3cret-of-senders-0123456789" not in json.dumps(list(rows.values()))


async def test_what_is_stale_before_it_is_read_again_is_no_source_that_is_well(tmp_path: Path) -> None:
    """Power and temperature of a GPU count for 90 s."""

    async def page(_: web.Request) -> web.Response:
        return web.Response(text=PAGE, headers={"Content-Type": "text/plain"})

    app = web.Application()
    app.router.add_get("/metrics", page)
    async with TestServer(app, host="127.0.0.1") as server:
        source = '[[source]]\nname = "{}"\ntype = "prometheus"\nevery_s = {}\nnode = "node"\nmapping = "dcgm"\n'
        source += f'targets = "127.0.0.1:{server.port}"\n'
        rows = await rows_of(tmp_path, source.format("good", 90) + source.format("late", 91))
    assert (rows["good"]["ok"], rows["late"]["ok"], rows["late"]["values"]) == (True, False, 2)
    said = "; gpu power_w (and 1 more) is stale before it is read again: it counts for 90 s; lower every_s (seconds)"
    assert str(rows["late"]["says"]).endswith(said)


async def test_only_what_the_tables_name_is_counted(tmp_path: Path) -> None:
    rows = await rows_of(tmp_path, "")
    assert rows["x"]["says"] == "6 assets (1 GPUs), 0 links", "with the site itself, without icctwin's own tasks and sources"


async def test_a_tariff_that_has_ended_is_named(tmp_path: Path) -> None:
    rows = await rows_of(tmp_path, '[energy]\ntariff = "national-2021"\n')
    (row,) = [row for row in rows.values() if row["what"] == "tariff"]
    assert (row["ok"], "ended on 2026-02-28" in str(row["says"])) == (False, True)


async def test_of_two_that_tell_the_same_the_one_that_counts_is_named(tmp_path: Path) -> None:
    (tmp_path / "carbon.csv").write_text(f"time,carbon_gco2_per_kwh\n{NOW:%Y-%m-%dT%H:%M:%SZ},400\n")
    source = '[[source]]\nname = "{}"\ntype = "grid"\nprovider = "csv"\npath = "carbon.csv"\nprecedence = {}\n'
    for numbers, says in (
        ((2, 1), "is told by b, which counts, and by a, which counts where b is stale"),
        ((1, 1), "both are kept and the newest is shown: give one precedence = 2"),
    ):
        rows = await rows_of(tmp_path, "".join(source.format(*one) for one in zip("ab", numbers, strict=True)))
        assert (rows["net"]["what"], rows["net"]["ok"]) == ("twice", True)
        assert says in str(rows["net"]["says"])


PDUS = "u,pdu,h\nv,pdu,h\n"


@pytest.mark.parametrize(
    ("assets", "links", "says"),
    [
        ("", "", "nothing tells it: the site has no meter; add the one of its connection, directly in the site; "),
        ("m,meter,h\n", "", "nothing tells it: m: no meter stands directly in the site; leave the parent "),
        ("m,meter,\nn,meter,\n", "", "nothing tells it: m, n: several meters stand directly in the site; link "),
        ("m,meter,\n", "", "from meter m; no power was heard of m in this look: PUE, cost and carbon"),
        (PDUS + "m,meter,\nn,meter,\n", "m,u,feeds\nn,v,feeds\n", "from meter m, meter n; no power was heard of m, n in"),
        (PDUS + "m,meter,h\n", "m,u,feeds\nm,v,feeds\n", "from meter m; no power"),
    ],
)
async def test_what_tells_the_power_of_the_facility_is_said_or_why_nothing_does(
    assets: str, links: str, says: str, tmp_path: Path
) -> None:
    (tmp_path / "assets.csv").write_text(f"id,kind,parent\nh,hall,\n{assets}")
    (tmp_path / "links.csv").write_text(f"from,to,relation\n{links}")
    (tmp_path / "site.toml").write_text('[site]\nname = "x"\nlinks = "links.csv"\n[store]\npath = "store"\n')
    (row,) = [one for one in await reach(load_config(tmp_path / "site.toml"), NOW) if one["what"] == "facility"]
    assert (row["ok"], str(row["says"])[: len(says)]) == (True, says)


TOPICS = """
[[topic]]
filter = "hall/{pdu}"
[assets.pdu]
id = ["pdu"]
[[metric]]
kind = "pdu"
metric = "power_w"
series = "w"
"""


async def test_a_bus_is_listened_to_until_those_behind_it_speak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is retained: u and v speak a second after one has begun to listen, one after the other, and z is nobody's; they
    speak once, so who listens only when another has listened hears nothing."""
    (tmp_path / "assets.csv").write_text("id,kind,parent\nh,hall,\nu,pdu,h\nv,pdu,h\nm,meter,\n")
    for name in ("pdus", "again"):
        (tmp_path / f"{name}.toml").write_text(TOPICS)
    (tmp_path / "others.toml").write_text(TOPICS.replace("hall/", "plant/"))
    monkeypatch.setattr("ui.check.LISTEN_S", 5.0)
    source = '[[source]]\nname = "{0}"\ntype = "mqtt"\ntargets = "127.0.0.1:{1}"\nmapping = "{0}.toml"\n'

    names = ("pdus", "again", "others")

    async def speak(port: int) -> None:
        async with device(port) as plant:
            for name, wait_s in (("z", 1.0), ("u", 0.2), ("v", 0.7)):
                await asyncio.sleep(wait_s)
                await plant.publish(f"hall/{name}", '{"w": 5000}')

    async with broker() as port:
        toml = '[site]\nname = "x"\n[store]\npath = "store"\n' + "".join(source.format(name, port) for name in names)
        (tmp_path / "site.toml").write_text(toml)
        rows, _ = await asyncio.gather(reach(load_config(tmp_path / "site.toml"), NOW), speak(port))
    said = {str(row["name"]): row for row in rows}
    for one in (said["pdus"], said["again"]):
        assert (one["ok"], one["values"], one["unmapped"], one["unmapped_names"]) == (True, 2, 1, ["pdu z"])
    others = said["others"]
    assert (others["ok"], others["values"]) == (True, 0)
    assert str(others["says"]).startswith("connected; in 5 s nothing came that its mapping knows")
