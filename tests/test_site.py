"""Sites: what is wrong is reported whole, with file and line; and the index arithmetic against slow loops."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.small import rows, small_site
from twin.errors import SiteError
from twin.load import MAX_PROBLEMS, Row, build_site, load_site
from twin.site import Site, asset_path, children

GOOD = "id,kind,parent,rated_w\nh1,hall,,\nr1,rack,h1,40000\nr2,rack,h1,40000\nu1,ups,,\nu2,ups,,\n"
GOOD_LINKS = "from,to,relation,share\nu1,r1,feeds,\nu2,r1,feeds,\n"


def load(folder: Path, assets: str | bytes = GOOD, links: str = GOOD_LINKS) -> Site:
    a, b = folder / "assets.csv", folder / "links.csv"
    a.write_bytes(assets if isinstance(assets, bytes) else assets.encode())
    b.write_text(links, encoding="utf-8")
    return load_site("test", "UTC", a, b)


def problems(folder: Path, assets: str | bytes = GOOD, links: str = GOOD_LINKS) -> list[str]:
    with pytest.raises(SiteError) as caught:
        load(folder, assets, links)
    return [str(p).replace(f"{folder}/", "") for p in caught.value.problems]


def test_the_site_keeps_its_name_whatever_flows_in_it(tmp_path: Path) -> None:
    for last in ("", "pg25"):
        assets = f"id,kind,parent,coolant\nh,hall,,\nc,cdu,h,eg30\nr1,rack,h,{last}\n"
        assert load(tmp_path, assets, "from,to,relation\n").name == "test"


def test_numbers_lie_where_their_kind_of_number_can(tmp_path: Path) -> None:
    """Places south, west and below the sea are places; a share in per cent is no share."""
    header = "id,kind,parent,rated_w,latitude_deg,longitude_deg,altitude_m,azimuth_deg,liquid_frac\n"
    south = load(tmp_path, header + "p,pv,,1000,-33.9,-70.7,-10,0,\n", "from,to,relation\n")
    assert [float(south.number("pv", name)[0]) for name in ("latitude_deg", "longitude_deg", "altitude_m")] == [
        -33.9,
        -70.7,
        -10,
    ]
    wrong = problems(tmp_path, header + "p,pv,,1000,-91,181,-501,361,\nh,hall,,,,,,,\nr,rack,h,,,,,,74\n", "from,to,relation\n")
    assert [line.split(";")[0] + line[line.index(", digits only") :] for line in wrong] == [
        "assets.csv:2: latitude_deg is '-91', digits only, from -90 to 90",
        "assets.csv:2: longitude_deg is '181', digits only, from -180 to 180",
        "assets.csv:2: altitude_m is '-501', digits only, from -500 to 9000",
        "assets.csv:2: azimuth_deg is '361', digits only, from 0 to 360",
        "assets.csv:4: liquid_frac is '74', digits only, from 0 to 1",
    ]


ONE_WRONG = [
    ("h2,hal,,\n", "", "assets.csv:7: no kind 'hal'; did you mean hall?"),
    ("r3,rack,h9,\n", "", "assets.csv:7: 'r3': parent 'h9' is no asset; a rack stands in a hall or row"),
    ("r3,rack,,\n", "", "assets.csv:7: 'r3': has no parent; a rack stands in a hall or row"),
    ("n1,node,h1,\n", "", "assets.csv:7: 'n1': a node cannot stand in a hall, only in rack"),
    ("h2,hall,,\nr1,rack,h2,\n", "", "assets.csv:8: asset 'r1': two parents, 'h1' and 'h2' (first at assets.csv:3)"),
    ("r1,rack,h1,\n", "", "assets.csv:7: asset 'r1': listed twice (first at assets.csv:3); keep one line"),
    (",rack,h1,\n", "", "assets.csv:7: an asset without an id"),
    ("s1,site,,\ns2,site,,\n", "", "assets.csv:8: a second asset of kind 'site'"),
    ("s1,site,h1,\n", "", "assets.csv:7: the site cannot have a parent; leave 'h1' out"),
    ("r3,rack,h1,40 kW\n", "", "assets.csv:7: rated_w is '40 kW'; write a number of design power of the asset [W]"),
    ("r3,rack,h1,-1\n", "", "assets.csv:7: rated_w is '-1'"),
    ("r3,rack,h1,nan\n", "", "assets.csv:7: rated_w is 'nan'"),
    ("r3,rack,h1,1,2\n", "", "assets.csv:7: 5 cells under 4 columns; quote cells that hold a comma"),
    ("", "u1,r9,feeds,\n", "links.csv:4: link to 'r9', which is no asset"),
    ("", "u1,r2,feed,\n", "links.csv:4: no relation 'feed'; relations are feeds, cools, connects"),
    ("", "u1,u1,feeds,\n", "links.csv:4: 'u1' feeds itself"),
    (
        "",
        "r1,u1,cools,\n",
        "links.csv:4: 'r1' cools 'u1': a rack cools nothing, as the relation carries heat; turn the link round",
    ),
    ("h2,hall,,\n", "h2,u1,feeds,\n", "links.csv:4: 'h2' feeds 'u1': a hall feeds nothing, as the relation carries power"),
    ("", "u1,r1,feeds,\n", "links.csv:4: 'u1' feeds 'r1' stands twice (first at links.csv:2)"),
    ("", "u1,r2,feeds,1.5\n", "links.csv:4: share is '1.5'; write a fraction from 0 to 1"),
    ("", "u2,r2,feeds,half\n", "links.csv:4: share is 'half'"),
    ("", "u1,r2,feeds,0.5\nu2,r2,feeds,0.4\n", "links.csv:4: the shares of what feeds 'r2' sum to 0.9"),
    ("", "u1,r2,feeds,0\n", "links.csv:4: the shares of what feeds 'r2' sum to 0"),
    ("", "u1,u2,feeds,\nu2,u1,feeds,\n", "links.csv:4: a cycle in 'feeds': u"),
]


@pytest.mark.parametrize(("more_assets", "more_links", "expected"), ONE_WRONG, ids=[e for _, _, e in ONE_WRONG])
def test_each_problem_is_one_sentence_with_file_and_line(
    tmp_path: Path, more_assets: str, more_links: str, expected: str
) -> None:
    found = problems(tmp_path, GOOD + more_assets, GOOD_LINKS + more_links)
    assert len(found) == 1, found
    assert found[0].startswith(expected)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ('"r\x1b[2J3",rack,h1,,\n', r"assets.csv:3: column 'id': 'r\x1b[2J3' has a character that begins a line"),
        ('"a\nERROR b",rack,h1,,\n', r"assets.csv:4: column 'id': 'a\nERROR b' has a character that begins a line"),
        ("r3,rack,h1,Rack\u202e3,\n", r"assets.csv:3: column 'name': 'Rack\u202e3' has a character that begins a line"),
        ("r3,rack,h1,,/dev/\x07sda\n", r"assets.csv:3: column 'device': '/dev/\x07sda' has a character that begins a line"),
    ],
)
def test_what_begins_a_line_or_steers_a_terminal_is_no_text_of_an_asset(tmp_path: Path, more: str, expected: str) -> None:
    (found,) = problems(tmp_path, "id,kind,parent,name,device\nh1,hall,,机房 A\u3000一,\n" + more, "from,to,relation\n")
    assert found.startswith(expected)
    assert found.isprintable()


SLIPS = (("ID", "id"), ("parnet", "parent"))


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    """Every single-line fault of the list above in one pair of files, each at its own line, and nothing beside."""
    assets, links, expected = GOOD, GOOD_LINKS, []
    for k, (asset, link, sentence) in enumerate(ONE_WRONG):
        if (asset + link).count("\n") != 1 or "sum to" in sentence:
            continue
        here = f"assets.csv:{assets.count(chr(10)) + 1}:" if asset else f"links.csv:{links.count(chr(10)) + 1}:"
        fresh = f"r3{k}"  # the list uses one id again and again
        assets, links = assets + asset.replace("r3", fresh), links + link
        expected.append(here + sentence.split(":", 2)[2].replace("r3", fresh))
    found = problems(tmp_path, assets, links)
    assert len(found) == len(expected) >= 15
    assert all(any(f.startswith(e) for f in found) for e in expected), set(expected) - set(found)


def test_a_refused_asset_is_one_problem_and_not_one_for_each_that_hangs_on_it(tmp_path: Path) -> None:
    found = problems(tmp_path, GOOD.replace("r1,rack", "r1,rak") + "n1,node,r1,\nn2,node,r1,\n")
    assert found == [found[0]]
    assert found[0].startswith("assets.csv:3: no kind 'rak'")


@pytest.mark.parametrize("column", ["rated_kw", "rated_mw"])
def test_a_column_in_another_unit_is_named(tmp_path: Path, column: str) -> None:
    found = problems(tmp_path, GOOD.replace("rated_w", column))
    assert len(found) == 1
    assert f"no column '{column}' in an assets table; its unit here is that of 'rated_w': convert it" in found[0]


def test_unknown_link_columns_and_bad_headers_are_told(tmp_path: Path) -> None:
    shar = problems(tmp_path, links=GOOD_LINKS.replace("share", "shar"))
    assert shar == ["links.csv:1: no column 'shar' in a links table; did you mean share?"]
    parent = problems(tmp_path, "# ours\n" + GOOD.replace("id,kind,parent", "ID,kind,parnet"))
    told = [f"assets.csv:2: no column {column!r} in an assets table; did you mean {near}?" for column, near in SLIPS]
    assert parent == told, "of the header alone, though every line below has no parent now"
    assert "no column 'colour' in an assets table; known: id, kind," in problems(tmp_path, GOOD.replace("rated_w", "colour"))[0]
    for sign, name in ((";", "a semicolon"), ("\t", "a tab")):
        says = f"assets.csv:1: {name} stands between the columns; save it with commas, as in id,kind,…"
        assert problems(tmp_path, GOOD.replace(",", sign), "from,to,relation\n") == [says]
    assert "assets.csv:1: no column 'id' in the header" in problems(tmp_path, "name,kind\nh,hall\n", "from,to,relation\n")[0]
    assert "column 'kind' stands twice" in problems(tmp_path, GOOD.replace("rated_w", "kind"), "from,to,relation\n")[0]


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(SiteError, match=r"cannot be read \(No such file"):
        load_site("test", "UTC", tmp_path / "none.csv", None)
    save = "save it as UTF-8 (in Excel: CSV UTF-8, comma delimited)"
    for raw, says in (
        (b"id,kind\n\xff\xfe,hall\n", f"2: is not UTF-8 text; {save}"),
        ("id,kind\n一号机房,hall\n".encode("gbk"), f"2: looks like GBK, not UTF-8; {save}"),
        ("id,kind\nh,hall\n".encode("utf-16-le"), f"1: is UTF-16 without its mark; {save}"),
        ("\ufeffid,kind\n".encode("utf-16-le") + b"h", f"2: is not UTF-8 text; {save}"),
    ):
        assert problems(tmp_path, raw, "from,to,relation\n") == [f"assets.csv:{says}"]
    empty = "assets.csv: is empty; its first line names the columns, as in id,kind,…"
    assert problems(tmp_path, "\n", "from,to,relation\n") == [empty]
    nothing = "assets.csv: names no asset; write one a line, as in hall-1,hall"
    assert problems(tmp_path, "id,kind\n# none yet\n", "from,to,relation\n") == [nothing]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_what_excel_saves_is_read(tmp_path: Path, encoding: str) -> None:
    text = "id,kind,parent\r\n一号机房,hall,\r\n机柜甲,rack,一号机房\r\n"
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    (tmp_path / "assets.csv").write_bytes((mark + text).encode(encoding))
    site = load_site("test", "UTC", tmp_path / "assets.csv", None)
    assert (site.ids_of("hall"), site.ids_of("rack")) == (["一号机房"], ["机柜甲"])


def test_every_cycle_is_reported_and_found_behind_others(tmp_path: Path) -> None:
    ids = [f"p{i}" for i in range(7)]
    assets = GOOD + "".join(f"{i},pdu,h1,\n" for i in ids)
    two = "p0,p1,feeds,\np1,p2,feeds,\np2,p0,feeds,\np2,p3,feeds,\np4,p5,feeds,\np5,p4,feeds,\n"
    found = problems(tmp_path, assets, GOOD_LINKS + two)
    assert len(found) == 2
    rings = {frozenset(f.split("'feeds': ")[1].split(";")[0].split(" -> ")) for f in found}
    assert rings == {frozenset({"p0", "p1", "p2"}), frozenset({"p4", "p5"})}
    load(tmp_path, assets, GOOD_LINKS + two.replace("feeds", "connects"))  # a network may have rings


def test_many_problems_are_counted_not_listed(tmp_path: Path) -> None:
    found = problems(tmp_path, GOOD + "".join(f"x{i},rak,h1,\n" for i in range(MAX_PROBLEMS + 50)))
    assert len(found) == MAX_PROBLEMS + 1
    assert found[-1].endswith("50 more problems are not listed")


def test_a_table_as_spreadsheets_write_it(tmp_path: Path) -> None:
    """BOM, CRLF, quotes, a comma in a cell, blank lines, comments, spaces, short rows."""
    text = (
        '\ufeff# the hall\r\nid,kind,parent,name,rated_w\r\n\r\n , ,\r\nh1 , hall,,"Hall ""one"", east",\r\n'
        '# racks\r\nr1,rack,h1,"two, too",4e4\r\n,,,,\r\nr2,rack,h1\r\n'
    )
    site = load(tmp_path, text.encode(), "from,to,relation\n")
    assert site.ids == ("test", "h1", "r1", "r2")
    assert site.text("hall", "name") == ['Hall "one", east']
    assert site.text("rack", "name") == ["two, too", ""]
    np.testing.assert_equal(site.number("rack", "rated_w"), [40000, np.nan])
    np.testing.assert_equal(site.number("rack", "rated_w", 7.0), [40000, 7])
    late = text.replace("r2,rack,h1", "r2,rack,h9")
    assert problems(tmp_path, late.encode(), "from,to,relation\n")[0].startswith("assets.csv:9: 'r2': parent 'h9'")


def test_shares_given_and_left_out_sum_to_one(tmp_path: Path) -> None:
    more = "u1,r2,feeds,0.7\nu2,r2,feeds,\n"
    site = load(tmp_path, links=GOOD_LINKS + more)
    feeds = site.links["feeds"]
    np.testing.assert_allclose(feeds.share, [0.5, 0.5, 0.7, 0.3])
    source, target, share = site.linked("feeds", "ups", "rack")
    assert list(zip(source, target, share, strict=True)) == [(0, 0, 0.5), (1, 0, 0.5), (0, 1, 0.7), (1, 1, pytest.approx(0.3))]
    assert all(len(column) == 0 for column in site.linked("cools", "cdu", "rack"))


def test_a_hundred_thousand_gpus_load(tmp_path: Path) -> None:
    with (tmp_path / "assets.csv").open("w", encoding="utf-8") as file:
        file.write("id,kind,parent,index\nh0,hall,,\nh1,hall,,\n")
        for r in range(1563):
            file.write(f"r{r},rack,h{r % 2},\n")
            for n in range(8):
                file.write(f"r{r}n{n},node,r{r},{n}\n")
                file.writelines(f"r{r}n{n}g{g},gpu,r{r}n{n},{g}\n" for g in range(8))
    site = load_site("big", "UTC", tmp_path / "assets.csv", None)
    assert (site.count("gpu"), site.count("node"), site.count("rack")) == (100_032, 12_504, 1563)
    per_hall = site.sum_into("gpu", "hall", np.ones(100_032))
    np.testing.assert_array_equal(per_hall, [782 * 64, 781 * 64])
    assert asset_path(site, "r1562n7g7") == ["big", "h0", "r1562", "r1562n7", "r1562n7g7"]
    assert site.row("r1562n7g7") == 100_031


@st.composite
def trees(draw: st.DrawFn) -> Site:
    """Sites of random shape; kinds in random order in the table."""
    lines = []
    for h in range(draw(st.integers(1, 3))):
        lines.append({"id": f"h{h}", "kind": "hall", "parent": ""})
        for r in range(draw(st.integers(0, 3))):
            lines.append({"id": f"h{h}r{r}", "kind": "rack", "parent": f"h{h}"})
            lines += [{"id": f"h{h}r{r}p{p}", "kind": "pdu", "parent": f"h{h}r{r}"} for p in range(draw(st.integers(0, 2)))]
            for n in range(draw(st.integers(0, 3))):
                lines.append({"id": f"h{h}r{r}n{n}", "kind": "node", "parent": f"h{h}r{r}"})
        lines += [{"id": f"h{h}p{p}", "kind": "pdu", "parent": f"h{h}"} for p in range(draw(st.integers(0, 2)))]
    lines += [{"id": f"p{p}", "kind": "pdu", "parent": ""} for p in range(draw(st.integers(0, 2)))]
    return build_site("tree", "UTC", [Row(f"t:{i}", line) for i, line in enumerate(draw(st.permutations(lines)))])


@settings(max_examples=40)
@given(trees(), st.data())
def test_within_and_sum_into_agree_with_a_slow_loop(site: Site, data: st.DataObject) -> None:
    for kind in ("pdu", "node", "rack"):
        values = np.array(
            data.draw(st.lists(st.sampled_from([1.0, 2.5, np.nan]), min_size=site.count(kind), max_size=site.count(kind)))
        )
        for container in ("site", "hall", "rack", "row"):
            names, sums = site.ids_of(container), {}
            for row, asset in enumerate(site.ids_of(kind)):
                held = [a for a in asset_path(site, asset) if site.kind(a) == container]
                where = site.within(kind, container)[row]
                assert (names[where] if where >= 0 else None) == (held[-1] if held else None)
                if held and not np.isnan(values[row]):
                    sums[held[-1]] = sums.get(held[-1], 0.0) + values[row]
            np.testing.assert_allclose(site.sum_into(kind, container, values), [sums.get(name, np.nan) for name in names])


@settings(max_examples=40)
@given(trees())
def test_rows_positions_and_children_agree(site: Site) -> None:
    for position, asset in enumerate(site.ids):
        kind = site.kind(asset)
        assert site.of_kind(kind)[site.row(asset)] == position
        assert all(site.parent[site.position[child]] == position for child in children(site, asset))
    assert sum(site.count(kind) for kind in ("site", "hall", "rack", "node", "pdu")) == len(site.ids) == len(site.all_assets)


def test_the_small_site_of_the_tests() -> None:
    site = small_site("id=u1 kind=ups")
    assert (site.count("gpu"), site.count("node"), site.count("source"), site.count("ups")) == (16, 4, 2, 1)
    with pytest.raises(SiteError, match="test:1: no kind 'gnu'"):
        build_site("x", "UTC", rows("id=a kind=gnu"))


def test_two_gpus_of_a_node_with_one_index_are_refused_unless_their_serial_numbers_tell_them_apart() -> None:
    places = ["id=h kind=hall", "id=r kind=rack parent=h", "id=n kind=node parent=r", "id=m kind=node parent=r"]
    ours = ["id=a kind=gpu parent=n index=7", "id=b kind=gpu parent=n index=7", "id=c kind=gpu parent=m index=7"]
    with pytest.raises(SiteError) as caught:
        build_site("t", "UTC", rows(*places, *ours))
    (found,) = caught.value.problems
    assert str(found) == "test:6: 'b': gpu 7 of n is 'a' already (test:5); give each its own index"
    known = [f"{one} uuid=GPU-{k}" for k, one in enumerate(ours)]
    assert build_site("t", "UTC", rows(*places, *known)).count("gpu") == 3
