"""A wrong configuration is refused before anything starts: every problem at once, each with file, line and what to do."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from twin.errors import ConfigError
from ui.app import WHOLE, prepared
from ui.config import WallSection, line_of, load_config, site_of

GOOD = """
[site]
name = "test"
timezone = "Asia/Shanghai"

[[source]]
name = "here"
type = "host"
node = "n1"
"""
ASSETS = "id,kind,parent\nh1,hall,\nr1,rack,h1\nn1,node,r1\n"


def _write(folder: Path, toml: str, assets: str = ASSETS) -> Path:
    (folder / "assets.csv").write_text(assets)
    path = folder / "site.toml"
    path.write_text(toml)
    return path


def test_a_good_configuration_gives_a_site_with_our_own_assets(tmp_path: Path) -> None:
    config = load_config(_write(tmp_path, GOOD))
    site = site_of(config, ())
    assert site.ids_of("source") == ["here"]
    assert site.kind("icctwin") == "process"
    assert config.site.assets == tmp_path / "assets.csv"
    assert config.wall.host == "127.0.0.1"


@pytest.mark.parametrize(
    ("toml", "line", "says"),
    [
        ("[site]\nname = 5\n", 2, "name"),
        ("[site]\nname = 'x'\ntimezone = 'Mars/Base'\n", 3, "no time zone 'Mars/Base'"),
        ("[site]\nname = 'x'\n[wall]\nport = 99999\n", 4, "port"),
        ("[site]\nname = 'x'\n[wal]\nport = 1\n", 3, "no section 'wal'; did you mean wall?"),
        ("[site]\nname = 'x'\n[[sources]]\nname='x'\n", 3, "no section 'sources'; did you mean source?"),
        ("[site]\nname = 'x'\ntimezone = 'Asia/Shangai'\n", 3, "no time zone 'Asia/Shangai'; write Asia/Shanghai"),
        (GOOD + "[energy]\nmodes={supply_temprature='advise'}\n", 11, "'supply_temprature'; did you mean supply_temperature?"),
        (GOOD + "[[source]]\nname='b'\ntype='promethues'\n", 12, "no type 'promethues'; did you mean prometheus?"),
        (GOOD + "[[source]]\nname='b'\ntype='prometheus'\nendpoints=['x']\n", 13, "no such option; there are targets, file_sd"),
        (GOOD + "[[source]]\nname='b'\ntype='telex'\n", 12, "no type 'telex'"),
        (GOOD + "[[source]]\nname='here'\ntype='host'\nnode='n1'\n", 11, "two sources are named 'here'"),
        (GOOD + "[[source]]\nname='b'\ntype='host'\nnode='n1'\nspeed=3\n", 14, "speed"),
        (GOOD + "[energy]\nmodes={warp='auto'}\n", 11, "no lever 'warp'"),
        (GOOD + "[[source]]\nname='b'\ntype=['host']\n", 12, "no type ['host']"),
        ("source = [1]\n[site]\nname = 'x'\n", 1, "a source is a table"),
        ("[site\n", 1, "is not a TOML file"),
        ("[site]\nname = 'x'\ntimezon = 'UTC'\n", 3, "[site] timezon: there is no such option; did you mean timezone?"),
        (
            "[site]\nname = 'x'\n[energy.limits]\nlockd = []\n",
            4,
            "[energy] limits.lockd: there is no such option; did you mean locked?",
        ),
        ("[wall]\nport = 1\n", 1, "[site] name is missing; write name = …"),
        (
            GOOD + "[[source]]\nname='b'\ntype='host'\nnod='n1'\n",
            13,
            "[[source]] 2 nod: there is no such option; did you mean node?",
        ),
        ("[site]\nname = x\n", 2, 'is not a TOML file: Invalid value; a text stands in quotes: "…"'),
        ("[site]\nname = 'x'\nname = 'y'\n", 3, "the same key stands twice"),
        (
            GOOD + '[[source]]\nname="b\\nERROR c"\ntype="host"\n',
            11,
            r"source 'b\nERROR c': its name begins a line or steers a terminal",
        ),
    ],
)
def test_each_mistake_is_named_with_its_line(tmp_path: Path, toml: str, line: int, says: str) -> None:
    path = _write(tmp_path, toml)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    said = "\n".join(str(problem) for problem in caught.value.problems)
    assert says in said
    assert f"{path}:{line}:" in said


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    path = _write(tmp_path, "[site]\nname=5\n[wall]\nport=0\n[[source]]\ntype='host'\n[odd]\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert len(caught.value.problems) == 4


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="icctwin init"):
        load_config(tmp_path / "none.toml")


def test_mistakes_of_the_tables_come_with_their_own_line(tmp_path: Path) -> None:
    path = _write(tmp_path, GOOD, "id,kind,parent\nh1,hall,\nr1,rack,h9\nn1,node,r1\n")
    with pytest.raises(ConfigError) as caught:
        site_of(load_config(path), ())
    assert f"{tmp_path / 'assets.csv'}:3" in str(caught.value)


def test_a_name_of_the_site_that_steers_a_terminal_has_its_line(tmp_path: Path) -> None:
    config = load_config(_write(tmp_path, GOOD.replace('"test"', '"x\\u001bc"')))
    with pytest.raises(ConfigError) as caught:
        prepared(config, WHOLE, datetime(2026, 11, 26, tzinfo=UTC))
    assert str(caught.value).startswith(rf"{tmp_path}/site.toml:3: [site] name: column 'id': 'x\x1bc' has a character")


def test_lines_are_found_in_sections_and_lists() -> None:
    lines = ["[a]", "x = 1", "[[b]]", "x = 2", "[[b]]", "y = 3", "x = 4"]
    assert line_of(lines, ("a", "x")) == 2
    assert line_of(lines, ("b", 0, "x")) == 4
    assert line_of(lines, ("b", 1, "x")) == 7
    assert line_of(lines, ("b", 1, "missing")) == 5


def test_lines_are_found_within_tables_of_tables_and_not_in_comments() -> None:
    text = """[[source]]
name = "a"  # x = 1
[source.labels]
rack = "r1"
# [[source]]
[[source]]
name = "b"
federation.east.url = "u"
[[energy.place]]
name = "p"
[energy.limits] # bounds
locked = [
  "cdu-1",
]
[[energy.place]]
cluster = "c"
"""
    lines = text.splitlines()
    places = [
        ("source",), ("source", 0, "labels", "rack"), ("source", 1), ("source", 1, "federation", "east", "url", "more"),
        ("energy", "place", 0, "name"), ("energy", "place", 1, "cluster"), ("energy", "limits", "locked", 0), ("nothing",),
    ]  # fmt: skip
    assert [line_of(lines, place) for place in places] == [1, 4, 6, 8, 10, 16, 12, 1]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ('[[source]]\nname = "b"\ntype = "host"\nnode = "n9"\n', "site.toml:10: source b: node 'n9' is no node of the site"),
        (
            '[energy]\n\n[[energy.place]]\nname = "east"\nqueue = "q"\npartitions = ["p"]\n',
            "site.toml:12: [[energy.place]] east: ",
        ),
        ('[energy.limits]\nlocked = ["cdu-9"]\n', "site.toml:11: [energy.limits] locked: "),
        ('[energy]\nregion = "Mars"\n', "site.toml:11: [energy] region: "),
        (
            '[energy]\ntariff = "mars-2021"\n',
            "site.toml:11: [energy] tariff: none that ships is called 'mars-2021'; there are ",
        ),
        ('[report]\nrecipients = ["nobody"]\n', "site.toml:11: [report] recipients: "),
    ],
)
def test_what_only_the_site_shows_to_be_wrong_has_its_line_too(tmp_path: Path, more: str, says: str) -> None:
    config = load_config(_write(tmp_path, GOOD + more))
    with pytest.raises(ConfigError) as caught:
        prepared(config, WHOLE, datetime(2026, 11, 26, tzinfo=UTC))
    assert f"{tmp_path}/{says}" in str(caught.value)


def test_a_wall_on_an_ipv6_address_is_told_as_browsers_take_it() -> None:
    assert WallSection(host="::1").address(8050) == "http://[::1]:8050"
    assert WallSection(host="127.0.0.1").address(8050) == "http://127.0.0.1:8050"


def test_how_the_file_was_saved_is_no_riddle(tmp_path: Path) -> None:
    path, text = tmp_path / "site.toml", '[site]\nname = "\u4e2d\u5fc3"\n'
    path.write_text(text, encoding="utf-8-sig")
    assert load_config(path).site.name == "\u4e2d\u5fc3"
    for encoding, line in (("gbk", 2), ("utf-16", 1)):
        path.write_text(text, encoding=encoding)
        with pytest.raises(ConfigError) as caught:
            load_config(path)
        assert [str(one) for one in caught.value.problems] == [f"{path}:{line}: is not UTF-8; save it as UTF-8"]
