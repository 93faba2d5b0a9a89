"""THE metric table: units by suffix, one unit for a name, ranges and steps that make sense."""

import math

import pytest

from twin.kinds import KINDS, NUMBER_ATTRIBUTES
from twin.metrics import METRICS, Metric, every_metric, metric, suffix

EVERY = list(every_metric())


def test_the_table_is_seen_and_covers_known_kinds_only() -> None:
    assert len(EVERY) > 100
    assert set(METRICS) == set(KINDS)


def test_a_name_has_one_unit_over_all_kinds_and_ends_in_it() -> None:
    units: dict[str, set[str]] = {}
    for row in EVERY:
        assert row.name.endswith("_" + suffix(row.name))
        units.setdefault(row.name, set()).add(row.unit)
    assert {name: found for name, found in units.items() if len(found) != 1} == {}


@pytest.mark.parametrize(("name", "unit"), [
    ("power_w", "w"), ("energy_kwh", "kwh"), ("flow_kgps", "kgps"), ("approach_k", "k"), ("temp_c", "c"), ("rx_bps", "bps"),
    ("carbon_gco2_per_kwh", "gco2_per_kwh"), ("price_per_mwh", "per_mwh"), ("poll_s", "s"), ("used_bytes", "bytes"),
    ("diff_pressure_pa", "pa"), ("current_a", "a"), ("voltage_v", "v"), ("energy_j", "j"), ("frequency_hz", "hz"),
])  # fmt: skip
def test_suffixes_are_read_whole(name: str, unit: str) -> None:
    """``_kwh`` is not ``_h``, ``_kgps`` not ``_s``: no unit is mistaken for the tail of another."""
    assert suffix(name) == unit


@pytest.mark.parametrize("name", ["power", "power_kw", "temp", "w", "_w_", "util_percent"])
def test_a_name_without_a_unit_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="ends in no known unit"):
        suffix(name)


@pytest.mark.parametrize("m", EVERY, ids=lambda row: f"{row.kind}.{row.name}")
def test_ranges_ages_and_steps_are_sane(m: Metric) -> None:
    assert metric(m.kind, m.name) is m
    assert m.low < m.high
    assert m.max_age_s > 0
    assert m.doc
    unit = suffix(m.name)
    if unit in ("frac", "flag") and m.kind != "process":
        assert (m.low, m.high) == (0, 1) or m.name == "loading_frac"
    if unit == "c":
        assert m.low >= -273.15
    if m.counter:
        assert m.low == 0
    if m.step is not None:
        assert 0 < m.step < m.high - m.low
        assert math.isfinite(m.high)


def test_an_unknown_metric_or_kind_says_what_is_known() -> None:
    with pytest.raises(KeyError, match=r"no metric 'pwer_w' of kind 'gpu'; known: power_w"):
        metric("gpu", "pwer_w")
    with pytest.raises(KeyError, match="no such kind"):
        metric("gnu", "power_w")


def test_number_attributes_carry_units_where_they_have_one() -> None:
    bare = {"u", "height_u", "index"}
    for name, doc in NUMBER_ATTRIBUTES.items():
        assert name in bare or doc.endswith("]") or name.endswith("_frac"), name
