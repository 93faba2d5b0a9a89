"""NetBox's exports become a site that loads; what does not fit is named with file and line, and nothing is made up."""

import json
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin.errors import ConfigError
from twin.load import Row, build_site, load_site, read_table
from twin.netbox import Import, read_netbox
from twin.site import Site
from twin.starter import Machine, starter_files, starter_rows
from twin.tables import table_text, write_table


@pytest.fixture
def folder(fixtures: Path) -> Path:
    return fixtures / "netbox"


def site_of(found: Import) -> Site:
    return build_site("centre", "UTC", found.assets, found.links)


def links_of(found: Import) -> set[tuple[str, str, str]]:
    return {(row.cells["from"], row.cells["relation"], row.cells["to"]) for row in found.links}


def test_csv_exports(folder: Path) -> None:
    found = read_netbox([folder / name for name in ("power-feeds.csv", "devices.csv", "racks.csv")])
    site = site_of(found)
    counts = {
        kind: site.count(kind) for kind in ("hall", "row", "rack", "node", "gpu", "switch", "storage", "pdu", "cdu", "ups")
    }
    assert counts == {
        "hall": 3, "row": 1, "rack": 5, "node": 4, "gpu": 16, "switch": 2, "storage": 1, "pdu": 3, "cdu": 1, "ups": 1
    }  # fmt: skip
    assert site.ids_of("rack") == ["A01", "A02", "B01", "Hall B/A01", "C01"]  # two racks A01, in two halls
    assert site.ids[site.parent[site.position["nas-1"]]] == "Hall B/A01"
    node = site.row("gpu-a01-2")
    assert (site.text("node", "address")[node], site.number("node", "u")[node]) == ("10.0.1.12", 18)
    assert site.text("node", "hostname")[node] == "gpu-a01-2"
    assert links_of(found) == {("Panel A", "feeds", "A01"), ("Panel B", "feeds", "A01"), ("Panel A", "feeds", "A02")}
    assert list(site.links["feeds"].share) == [0.5, 0.5, 1.0]


def test_everything_left_out_is_named_with_its_reason(folder: Path) -> None:
    found = read_netbox([folder / name for name in ("racks.csv", "devices.csv", "power-feeds.csv")], gpus_per_node=4)
    said = [str(problem).removeprefix(f"{folder}/") for problem in found.left_out]
    assert said == [
        "racks.csv:5: rack 'B02' is planned",
        "devices.csv:5: 'gpu-c01-1': its number of GPUs is 'eight'; write a whole number from 0 to 64",
        "devices.csv:9: device 'pp-b01': role 'Patch Panel' is not known; say which kind it is: --role",
        "devices.csv:13: device 'old-1' is decommissioning",
        "devices.csv:14: device 'lost-1': a node stands in a rack, and it has no rack",
        "devices.csv:15: 'lost-2': rack 'A99' is not in the export of racks",
        "power-feeds.csv:6: power feed 'A02-B' is offline",
        "power-feeds.csv:7: power feed 'spare' names no rack",
        "pdu-a01-a: the export does not say what this pdu feeds: add to links",
        "cdu-a: the export does not say what this cdu cools: add to links",
        "ups-b: the export does not say what this ups feeds: add to links",
        "primary IP: 2 of 10 devices have none, and icctwin discover finds them by it: fill in the column address",
    ]
    assumed = "\n".join(map(str, found.assumed))
    for word in ("'gpu-a02-1' has 4 GPUs", "rack group 'Row 1'", "has no location", "hall of its rack 'B01'", "one link here"):
        assert word in assumed
    assert site_of(found).count("gpu") == 20
    # every object of the files is an asset, a link, or named in one of the two lists
    objects = sum(len(read_table(folder / name)) for name in ("racks.csv", "devices.csv", "power-feeds.csv"))
    made = sum(row.cells["kind"] not in ("gpu", "hall", "row") and "Panel" not in row.cells["id"] for row in found.assets)
    refused = sum(".csv:" in str(problem) for problem in found.left_out) - 1  # gpu-c01-1 itself stands, without GPUs
    merged = 1  # A02-A2
    assert made + len(found.links) + refused + merged == objects


def test_rest_answers_follow_the_cable_through_the_rack_pdu(folder: Path) -> None:
    names = ("power-feeds.json", "devices.json", "racks.json", "power-panels.json")
    found = read_netbox([folder / name for name in names])
    site = site_of(found)
    assert links_of(found) == {
        ("Panel A", "feeds", "pdu-a01-a"), ("pdu-a01-a", "feeds", "A01"),
        ("Panel B", "feeds", "pdu-a01-b"), ("pdu-a01-b", "feeds", "A01"), ("Panel A", "feeds", "A02"),
    }  # fmt: skip
    assert site.count("gpu") == 16  # from the custom field
    assert site.ids[site.parent[site.position["Panel A"]]] == "Hall A"
    no_ip = "2 of 4 devices have none, and icctwin discover finds them by it: fill in the column address"
    assert [problem.what for problem in found.left_out] == ["a device without a name; name it in NetBox", no_ip]
    assert site.text("node", "model") == ["SYS-821GE", "SYS-821GE"]


def test_roles_of_the_operator_come_first(folder: Path) -> None:
    files = [folder / "racks.csv", folder / "devices.csv"]
    found = read_netbox(files, roles={"patch panel": "switch", "Leaf Switch": "", "GPU Server": "node"})
    site = site_of(found)
    assert "pp-b01" in site.position
    assert "leaf-a" not in site.position
    with pytest.raises(ConfigError, match="no kind 'serverr'"):
        read_netbox(files, roles={"GPU Server": "serverr"})


def test_a_page_is_not_the_whole(folder: Path, tmp_path: Path) -> None:
    page = json.loads((folder / "racks.json").read_text())
    page |= {"count": 500, "next": "https://netbox.example/api/dcim/racks/?limit=2&offset=2"}
    part = tmp_path / "racks.json"
    part.write_text(json.dumps(page))
    assert "one page of several (2 of 500)" in str(read_netbox([part]).left_out[0])


def test_two_sites_ask_which(tmp_path: Path) -> None:
    racks = tmp_path / "racks.csv"
    racks.write_text("Name,Site,Location,Height\nA1,North,Hall,42U\nA1,South,Hall,42U\n")
    with pytest.raises(ConfigError, match="2 sites: North, South; name one"):
        read_netbox([racks])
    found = read_netbox([racks], site="South")
    assert site_of(found).count("rack") == 1
    assert "is of site 'North'" in str(found.left_out[0])
    with pytest.raises(ConfigError, match="no site 'West'"):
        read_netbox([racks], site="West")


@pytest.mark.parametrize(
    ("name", "body", "says"),
    [
        ("x.csv", b"colour,size\nred,1\n", "is no export of racks, devices"),
        ("x.csv", b"\xff\xfe\x00", "is not UTF-8"),
        ("x.csv", b'Name,Site,Height\n"A1,North,42U\n', "is no CSV"),
        ("x.csv", b"Name,Site,Height\nA1,North,42U,?\n", "4 cells under 3 columns"),
        ("x.json", b'{"count": 1', "is no JSON"),
        ("x.json", b'{"detail": "Invalid token"}', "no list of objects under 'results'"),
        ("x.json", b"[[1]]", "no list of objects"),
        ("x.json", b"[" * 100_000, "is no JSON"),
    ],
)
def test_a_bad_file_is_one_clear_sentence(tmp_path: Path, name: str, body: bytes, says: str) -> None:
    path = tmp_path / name
    path.write_bytes(body)
    with pytest.raises(ConfigError, match=says) as caught:
        read_netbox([path, tmp_path / "absent.csv"])
    assert [problem.where.split(":")[0] for problem in caught.value.problems] == [str(path), str(tmp_path / "absent.csv")]


def test_an_empty_export_is_said(tmp_path: Path) -> None:
    path = tmp_path / "empty.csv"
    path.write_text("Name,Site,Height\n")
    assert "holds no objects" in str(read_netbox([path]).left_out[0])


words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12).map(str.strip)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.fixed_dictionaries({"id": words.filter(lambda t: t and not t.startswith("#")), "name": words}), max_size=6),
    st.lists(words, max_size=3),
)
def test_a_table_is_read_back_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, cells: list[dict[str, str]], notes: list[str]
) -> None:
    path = tmp_path_factory.mktemp("tables") / "t.csv"
    write_table(path, [Row("here", row) for row in cells], notes, ("id", "name"))
    assert [row.cells for row in read_table(path)] == cells


def test_what_would_not_be_read_back_is_not_written() -> None:
    for cell in ("#1", " a", "a\n"):
        with pytest.raises(ValueError, match="would not be read back"):
            table_text([Row("here", {"id": cell})])
    with pytest.raises(ValueError, match="line break"):
        table_text([], ["two\nlines"])


MACHINES = [
    Machine("gpu-01", [("GPU-1a", "NVIDIA H100"), ("GPU-2b", "NVIDIA H100")], ["eth0", "ib0"], ["/", "/data", "/var/lib/x"]),
    Machine("bare"),
    Machine('od"d\\host', [], ["root", "data", "gpu0"], ["/", "/data/", "/data", "/a/b", "/a-b", "/mnt/#x"]),
]


@pytest.mark.parametrize("machine", MACHINES, ids=lambda m: m.hostname)
def test_the_starting_site_loads_as_it_is(machine: Machine, tmp_path: Path) -> None:
    for name, text in starter_files(machine).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    config = tomllib.loads((tmp_path / "site.toml").read_text(encoding="utf-8"))
    site = load_site(config["site"]["name"], config["site"]["timezone"], tmp_path / "assets.csv", tmp_path / "links.csv")
    assert site.count("gpu") == len(machine.gpus)
    assert site.count("port") == len(machine.interfaces)
    assert site.count("storage") == len(machine.mounts)
    assert site.text("storage", "device") == list(machine.mounts)
    source = config["source"][0]
    assert (source["type"], source["every_s"], site.kind(source["node"])) == ("host", 1, "node")
    assert site.text("gpu", "uuid") == [uuid for uuid, _ in machine.gpus]
    assert config["wall"] == {"host": "127.0.0.1", "port": 8050}
    # the examples, once uncommented, are TOML of the same shape
    lines = (tmp_path / "site.toml").read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("# [[source]]"))
    freed = [line.removeprefix("# ").removeprefix("#") if i >= start else line for i, line in enumerate(lines)]
    sources = tomllib.loads("\n".join(freed))["source"]
    assert [(entry["type"], entry.get("mapping")) for entry in sources[1:]] == [
        ("prometheus", "dcgm"),
        ("prometheus", "node_exporter"),
        ("weather", None),
        ("push", None),
    ]


def test_rows_of_a_machine_for_another_hall() -> None:
    rows = starter_rows(MACHINES[0], hall="local", rack="local-rack")
    assert [row.cells["id"] for row in rows[:4]] == ["local", "local-rack", "gpu-01", "gpu-01/gpu0"]
