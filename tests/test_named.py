"""What a configuration names goes into its backup, or is listed as what a person brings: no option is forgotten."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import trustme
from pydantic import BaseModel
from test_store_crash import START

from ingest.registry import SOURCES, source_module
from ui.backup import backup
from ui.cli import main
from ui.config import SECTIONS, load_config
from ui.named import TEXTS, named_files
from ui.oncall.file import load_oncall
from ui.restoring import restore

SITE = """
[site]
name = "x"
assets = "tables/assets.csv"

[wall]
tls_cert = "cert.pem"
tls_key = "key.pem"

[alerts]
rules = "rules"
oncall = "duty/oncall.toml"

[energy]
tariff_file = "tariff.toml"
tenants = "tenants.csv"

[[source]]
name = "exporters"
type = "prometheus"
mapping = "mine.toml"
file_sd = ["targets-*.json"]

[[source]]
name = "price"
type = "grid"
provider = "csv"
path = "price.csv"

[[source]]
name = "pushed"
type = "push"
mapping = ["dcgm", "own.toml"]
token_file = "token"
"""
ONCALL = """
[delivery]
token = "file:desk"

[[channel]]
name = "chat"
type = "slack"
url = "file:hook"

[[person]]
name = "li"
channels = ["chat"]

[[schedule]]
name = "duty"
calendar = "duty.ics"

[[maintenance]]
name = "works"
calendar = "../works.ics"
"""
CALENDAR = "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:x\nEND:VCALENDAR\n"
MAPPING = '[[metric]]\nkind = "node"\nmetric = "power_w"\nseries = "watts"\n'
RULE = """
[[rule]]
name = "hot"
kind = "gpu"
metric = "temp_c"
above = 90
clear = 85
hold_s = 60
severity = "warning"
suffers = []
summary = "{asset} is hot"
runbook = "Look at its coolant."
"""
TARIFF = 'name = "mine"\nsource = "x"\ndated = 2026-01-01\notherwise = "flat"\n[per_kwh]\nflat = 1.0\n'
TAKEN = {
    "site.toml": SITE,
    "tables/assets.csv": "id,kind,parent\nh,hall,\nr,rack,h\nn,node,r\ngrid,grid,\n",
    "rules/hot.toml": RULE,
    "duty/oncall.toml": ONCALL,
    "duty/duty.ics": CALENDAR,
    "works.ics": CALENDAR,
    "tariff.toml": TARIFF,
    "tenants.csv": "project,tenant\np,acme\n",
    "mine.toml": MAPPING,
    "own.toml": MAPPING,
    "targets-a.json": "[]",
    "targets-b.json": "[]",
    "price.csv": "time,price_per_mwh\n2026-11-27T00:00:00Z,50\n",
}
SECRETS = {
    "token": "0123456789abcdef0123456789",
    "duty/desk": "a-token-of-the-desk-that-is-long",
    "duty/hook": "https://x.test/y",
}


@pytest.fixture
def centre(tmp_path: Path) -> Path:
    """A configuration that names a file wherever one can be named."""
    folder = tmp_path / "centre"
    for name, text in {**TAKEN, **SECRETS}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    made = trustme.CA().issue_cert("127.0.0.1")
    (folder / "cert.pem").write_bytes(made.cert_chain_pems[0].bytes())
    (folder / "key.pem").write_bytes(made.private_key_pem.bytes())
    return folder / "site.toml"


def test_what_a_configuration_names_is_in_its_backup_or_listed(
    centre: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def checked(config: Path) -> tuple[int, Any]:
        capsys.readouterr()
        status = main(["check", "--config", str(config), "--json"])
        return status, json.loads(capsys.readouterr().out.replace(str(config.parent), "…"))

    taken = backup(centre, tmp_path / "one.tar.zst", START, "1")
    assert set(taken.files) == {f"site/{name}" for name in TAKEN}
    here = [*SECRETS, "cert.pem", "key.pem"]
    assert sorted(taken.left_out) == sorted(
        f"{centre.parent / one}: a secret or a certificate; bring it yourself" for one in here
    )
    back = restore(tmp_path / "one.tar.zst", tmp_path / "new").config
    for one in here:
        shutil.copy(centre.parent / one, back.parent / one)
    before, after = checked(centre), checked(back)
    assert before == after
    assert [row["name"] for row in before[1]["rows"] if not row["ok"]] == ["exporters"], "which lists no target"


def test_a_centre_is_backed_up_whose_on_call_file_cannot_be_read(centre: Path, tmp_path: Path) -> None:
    oncall = centre.parent / "duty" / "oncall.toml"
    for text in ("[[", "channel = 3\nschedule = [1]\ndelivery = []\n[[maintenance]]\ncalendar = 3\n"):
        oncall.write_text(text)
        taken = backup(centre, tmp_path / f"{len(text)}.tar.zst", START, "1")
        assert taken.files["site/duty/oncall.toml"] == len(text)


def models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """``model`` and those inside it."""
    yield model
    for field in model.model_fields.values():
        yield from (one for inner in parts(field.annotation) if isinstance(inner, type) and issubclass(inner, BaseModel)
                    for one in models(inner))  # fmt: skip


def parts(annotation: Any) -> Iterator[Any]:
    """The types that a type is made of."""
    yield annotation
    for one in get_args(annotation):
        yield from parts(one)


def test_every_option_that_names_a_file_is_known_as_one() -> None:
    taken, texts = set(), set()
    for top in (*SECTIONS.values(), *(source_module(name).Options for name in SOURCES)):
        for model in models(top):
            paths = {name for name, field in model.model_fields.items() if Path in parts(field.annotation)}
            placed = {
                field
                for name, one in model.__pydantic_decorators__.field_validators.items()
                if "beside" in name
                for field in one.info.fields
            }
            texts |= placed - paths
            taken |= {name for name in paths if not name.endswith("_file")}
    assert texts == set(TEXTS)
    assert taken == {"path", "assets", "links", "rules", "oncall", "tenants", "conf", "publishers", "tls_cert", "tls_key"}


def test_files_in_a_table_are_named_each(centre: Path) -> None:
    more = '[[source]]\nname = "bus"\ntype = "flexbus"\nbroker = "b"\npublishers = { a = "a.pem", b = "b.pem" }\n'
    centre.write_text(SITE + more)
    named = [(one.path.name, one.secret) for one in named_files(load_config(centre)) if one.option == "publishers"]
    assert named == [("a.pem", False), ("b.pem", False)]


def mounted(folder: Path, revision: str, files: dict[str, str]) -> Path:
    """A ConfigMap as kubelet mounts it, anew for each revision: links to ``..data``, a link to what holds the files."""
    (folder / revision).mkdir(parents=True)
    for name, text in files.items():
        (folder / revision / name).write_text(text)
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(Path("..data") / name)
    (folder / "..new").symlink_to(revision)
    (folder / "..new").replace(folder / "..data")
    return folder / "site.toml"


MOUNTED = {
    "site.toml": '[site]\nname = "x"\nlinks = "links.csv"\n[alerts]\noncall = "oncall.toml"\n'
    '[[source]]\nname = "price"\ntype = "grid"\nprovider = "csv"\npath = "price.csv"\n',
    "assets.csv": TAKEN["tables/assets.csv"],
    "links.csv": "from,to,kind\n",
    "oncall.toml": '[[person]]\nname = "li"\nchannels = ["c"]\n[[schedule]]\nname = "duty"\ncalendar = "duty.ics"\n'
    '[[channel]]\nname = "c"\ntype = "webhook"\nurl = "https://x.test/y"\n',
    "duty.ics": CALENDAR,
    "price.csv": TAKEN["price.csv"],
}


def test_a_backup_of_a_mounted_config_map_comes_back_under_the_names_of_its_files(tmp_path: Path) -> None:
    config = mounted(tmp_path / "etc", "..2026_11_27", MOUNTED)
    taken = backup(config, tmp_path / "one.tar.zst", START, "1")
    assert (set(taken.files), taken.left_out) == ({f"site/{name}" for name in MOUNTED}, [])
    back = restore(tmp_path / "one.tar.zst", tmp_path / "new").config
    assert {path.name: path.read_text() for path in back.parent.iterdir()} == MOUNTED


def test_a_file_of_a_configuration_is_read_where_a_link_leads_by_then(tmp_path: Path) -> None:
    path = mounted(tmp_path / "etc", "..2026_11_27", MOUNTED)
    config = load_config(path)
    assert config.alerts.oncall is not None
    calendar = load_oncall(config.alerts.oncall, "UTC", {}).schedules[0].calendar
    mounted(tmp_path / "etc", "..2026_11_28", {**MOUNTED, "assets.csv": "id,kind,parent\n", "duty.ics": "anew"})
    shutil.rmtree(tmp_path / "etc" / "..2026_11_27")
    assert config.site.assets.read_text() == "id,kind,parent\n"
    assert calendar.read_text() == "anew"
