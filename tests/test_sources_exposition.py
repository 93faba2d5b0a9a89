"""The fast page reader says what prometheus_client says, or nothing."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_reference
from prometheus_client.parser import text_string_to_metric_families as text_reference

from ingest.sources.exposition import Garbage, Page, Reader

REFUSALS = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError)


def number(value):
    if value is None:
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf


def reference(text, openmetrics):
    """(name, labels, value, time) of each sample, or None where prometheus_client refuses the page."""
    parse = openmetrics_reference if openmetrics else text_reference
    try:
        samples = [sample for family in parse(text) for sample in family.samples]
    except REFUSALS:
        return None
    return [(s.name, s.labels or {}, number(s.value), number(s.timestamp)) for s in samples]


def assert_same(page: Page, expected, openmetrics):
    assert expected is not None, "the reference refuses this page"
    assert len(page.layout.series) == len(page.values) == len(expected)
    times = page.times_s if page.times_s is not None else np.full(len(expected), np.nan)
    for (name, labels), value, time, wanted in zip(page.layout.series, page.values, times, expected, strict=True):
        # prometheus_client renames the counters of text pages that lack _total
        assert wanted[0] in ((name,) if openmetrics else (name, name + "_total"))
        assert (dict(labels), repr(float(value)), repr(float(time))) == (wanted[1], repr(wanted[2]), repr(wanted[3]))


def check(reader, text, fast=None):
    """Read and learn ``text`` as the reference reads it; ``fast``: whether the fast way must (True) take it."""
    expected = reference(text, reader.openmetrics)
    quick = reader.read(text)
    if quick is not None:
        assert_same(quick, expected, reader.openmetrics)
    assert fast is None or (quick is not None) == fast
    if expected is None or not expected or not text.endswith("\n"):
        with pytest.raises(Garbage):
            reader.learn(text)
    else:
        assert_same(reader.learn(text), expected, reader.openmetrics)
        again = reader.read(text)
        if again is not None:
            assert_same(again, expected, reader.openmetrics)


RECORDED = [
    "dcgm-exporter-t4.txt",
    "dcgm-exporter-readme.txt",
    "ascend-npu-exporter.txt",
    "../telegraf/prometheus/benchmark/input.txt",
    "../telegraf/prometheus/valid_histogram/input.txt",
    "../telegraf/prometheus/valid_summary/input.txt",
    "../telegraf/prometheus/metric_with_timestamp/input.txt",
]


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_pages_read_as_the_reference_reads_them(shared_data, name):
    text = (shared_data / "prometheus" / name).read_text()
    reader = Reader(openmetrics=False)
    check(reader, text, fast=False)
    check(reader, text, fast=True)


def test_own_openmetrics_page_reads_as_the_reference_reads_it(fixtures):
    text = (fixtures / "prometheus" / "openmetrics.txt").read_text()
    reader = Reader(openmetrics=True)
    check(reader, text, fast=False)
    changed = text.replace('opened_total{door="1"} 17.0', 'opened_total{door="1"} 18').replace("0.067", "0.068")
    check(reader, changed, fast=True)


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ("17.0", "-1"),  # a counter below 0
        ("17.0", "NaN"),
        ('_bucket{le="+Inf"} 5', '_bucket{le="+Inf"} 2'),  # buckets that fall
        ("# EOF\n", ""),  # cut
        ("# EOF\n", "# EOF\nmore 1\n"),
        ("orphan 7", "orphan 7 "),
        ("orphan 7", "orphan 7\r"),
        ("orphan 7", "orphan 1_0"),
        ('watts{feed="B"} NaN', 'watts{feed="B"} nan nan'),
        ('watts{feed="B"} NaN', 'watts{feed="B",} NaN'),
    ],
)
def test_an_openmetrics_page_that_breaks_the_rules_is_refused_even_when_its_layout_is_known(fixtures, was, becomes):
    text = (fixtures / "prometheus" / "openmetrics.txt").read_text()
    assert was in text
    reader = Reader(openmetrics=True)
    reader.learn(text)
    broken = text.replace(was, becomes)
    assert reference(broken, openmetrics=True) is None
    check(reader, broken)


NAMES = st.from_regex(r"[a-zA-Z_:][a-zA-Z0-9_:]{0,8}", fullmatch=True)
LABELS = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,5}", fullmatch=True).filter(lambda name: not name.startswith("__"))
TEXTS = st.text(alphabet='ab \\"\n{}=,#1é', max_size=8)
VALUES = st.one_of(
    st.floats().map(repr),
    st.integers(-(10**20), 10**20).map(str),
    st.sampled_from(["NaN", "+Inf", "-Inf", "0", "1e5", "9223372036854775794"]),
)


def escaped(text):
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


@st.composite
def text_pages(draw):
    """A page of the text format with all that it allows, and the same page with the numbers of the next scrape."""
    now, later = [], []
    for name in draw(st.lists(NAMES, min_size=1, max_size=4, unique=True)):
        kind = draw(st.sampled_from(["gauge", "counter", "untyped"]))
        typed = f"# TYPE {name} {kind}\n"
        head = draw(st.sampled_from(["", typed, f"# HELP {name} a \\n b\n{typed}", "#\n\n", f"  {typed}"]))
        now.append(head)
        later.append(head)
        stamped = draw(st.booleans())
        for labels in draw(st.lists(st.dictionaries(LABELS, TEXTS, max_size=3), min_size=1, max_size=3)):
            block = ",".join(f'{key}="{escaped(value)}"' for key, value in labels.items())
            gap = draw(st.sampled_from([" ", " ", " ", "  ", "\t"]))
            series = name + (f"{{{block}}}" if block or draw(st.booleans()) else "") + gap
            for page in (now, later):
                time = f" {draw(st.integers(0, 2**45))}" if stamped else ""
                page.append(f"{series}{draw(VALUES)}{time}\n")
    return "".join(now), "".join(later)


@settings(max_examples=80, deadline=None)
@given(text_pages())
def test_any_text_page_reads_as_the_reference_reads_it(pages):
    reader = Reader(openmetrics=False)
    for page in (*pages, *pages):
        check(reader, page)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_garbled_page_is_read_as_the_reference_reads_it_or_refused_as_it_does(fixtures, data):
    openmetrics = data.draw(st.booleans())
    name = "openmetrics.txt" if openmetrics else "dcgm-h100x8.txt"
    lines = (fixtures / "prometheus" / name).read_text().splitlines(keepends=True)
    text = "".join(lines if openmetrics else lines[:4] + lines[40:46])
    reader = Reader(openmetrics)
    reader.learn(text)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text) - 1))
        put = data.draw(
            st.sampled_from(
                ["", " ", "\t", "\n", "\r", "{", "}", '"', "\\", "#", "_", "1", ".", "e", "N", ",", "=", "\x0b", "\xa0"]
            )
        )
        text = text[:at] + put + text[at + data.draw(st.integers(0, 2)) :]
    check(reader, text)


ODD = [
    'a{b="c"} 5 # {d="e"} 0.5',  # an exemplar, which the text format does not have
    'a{b="c"} 1} 0.5',
    'a{b="} 1"} 2',
    'a {b="c"} 2 3',
    "a\t2 3",
    '{"a.b",c="d"} 2',
    'a{b="c"}2',
    "a 2 3 4",
    " a 2",
    "a 1_0",
    "a 2 NaN",
    "a{ 2",
    "7",
    "a",
]


@pytest.mark.parametrize("line", ODD)
def test_an_odd_line_is_what_the_reference_takes_it_for_also_in_the_place_of_a_known_one(line):
    reader = Reader(openmetrics=False)
    check(reader, f"{line}\nb 2\n")
    reader.learn('a{b="c"} 1\nb 2\n')
    check(reader, f"{line}\nb 2\n")


def test_a_text_page_whose_last_line_has_no_end_is_cut():
    with pytest.raises(Garbage, match="cut"):
        Reader(openmetrics=False).learn("a 1\nb 12")
    with pytest.raises(Garbage, match="no sample"):
        Reader(openmetrics=False).learn("# all is well\n")


def test_what_is_remembered_is_bounded_by_a_page():
    reader = Reader(openmetrics=False)
    for day in range(50):
        reader.learn("".join(f'm{{job="{day}-{i}"}} 1\n' for i in range(20)))
    assert len(reader._blocks._new) + len(reader._blocks._old) <= 40
