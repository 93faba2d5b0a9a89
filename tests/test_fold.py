"""Cause first: what the topology says explains what, and what it must never explain."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.alerts import begin, step
from analytics.fold import DOMAINS, SLACK_S, SOON_S, Conditions, explained
from analytics.oncall.folding import fold
from analytics.oncall.others import Others, names_of, other_of
from analytics.rule import Domain, Rule, Rules, Severity
from analytics.tracks import FIRING, PENDING
from tests.centre import centre, tell
from twin.site import Site
from twin.state import State

NOW = datetime(2026, 11, 1, tzinfo=UTC)
SITE = centre(links=("from=sp to=r1n1 relation=connects", "from=sp to=r2n1 relation=connects"))
ALL = (1 << len(DOMAINS)) - 1


def alerts(*rows: tuple[str, str, str, float] | tuple[str, str, str, float, int], site: Site = SITE) -> Conditions:
    """(asset, what it breaks or "", what it suffers from, began [s], phase)."""
    full = [row if len(row) == 5 else (*row, FIRING) for row in rows]
    suffers = [sum(1 << DOMAINS.index(Domain(word)) for word in row[2].split()) for row in full]
    return Conditions(
        np.array([site.position.get(row[0], -1) for row in full], dtype=np.int32),
        np.array([row[3] for row in full], dtype=np.float64),
        np.zeros(len(full), dtype=np.int16),
        np.array([row[4] for row in full], dtype=np.uint8),
        np.array([DOMAINS.index(Domain(row[1])) if row[1] else -1 for row in full], dtype=np.int8),
        np.array(suffers, dtype=np.uint8),
    )


def causes(*rows: tuple[str, str, str, float]) -> list[int]:
    return explained(SITE, alerts(*rows)).tolist()


def test_power_is_gone_only_where_every_feed_is() -> None:
    late = SOON_S + 500.0
    one_side = causes(("ua", "power", "power", 0), ("r1n1g0", "", "power", late), ("r1pa", "", "power", late))
    assert one_side == [-1, -1, 0]  # the rack has its other side; the PDU of that side has nothing
    both = causes(("ua", "power", "", 0), ("ub", "power", "", 0), ("r1n1g0", "", "power", late), ("sp", "", "power", late))
    assert both[2] in (0, 1)
    assert both[3] == 0  # fed by side A alone


def test_part_of_the_feeds_explains_what_comes_soon_after() -> None:
    assert causes(("ua", "power", "", 0), ("r1n1g0", "", "power", SOON_S - 1)) == [-1, 0]


def test_the_furthest_upstream_explains_all() -> None:
    chain = causes(
        ("tr", "power", "power", 10), ("ua", "power", "power", 0), ("r1pa", "power", "power", 5), ("sp", "", "power", 9)
    )
    assert chain == [-1, 0, 0, 0]


def test_a_dead_feed_stops_the_cooling_that_it_feeds_and_the_racks_get_hot() -> None:
    assert causes(("tr", "power", "", 0), ("c1", "cooling", "power", 5), ("r2n2g3", "", "cooling", 60)) == [-1, 0, 0]
    assert causes(("c1", "cooling", "", 0), ("r1n1g0", "", "cooling", 60), ("r3n1g0", "", "cooling", 60)) == [-1, 0, -1]
    assert causes(("tp", "power", "", 0), ("r1n1g0", "", "cooling", 60)) == [-1, 0]  # chiller and tower stand, r1 gets warm


def test_a_pump_takes_its_unit_along() -> None:
    site = centre("id=c1p kind=pump parent=c1")
    rows = alerts(("c1p", "cooling", "", 0), ("c1", "cooling", "cooling", 20), ("r1n1g0", "", "cooling", 90), site=site)
    assert explained(site, rows).tolist() == [-1, 0, 0]


def test_network_is_gone_behind_a_switch_and_behind_one_without_power() -> None:
    assert causes(("sp", "network", "", 0), ("r1n1g0", "", "network", 9), ("r1n2g0", "", "network", 9)) == [-1, 0, -1]
    assert causes(("ua", "power", "", 0), ("r1n1", "", "network", 2 * SOON_S)) == [-1, 0]


def test_what_began_before_or_suffers_from_something_else_stays_its_own() -> None:
    assert causes(("c1", "cooling", "", 1000), ("r1n1g0", "", "cooling", 1000 - SLACK_S - 1)) == [-1, -1]
    assert causes(("c1", "cooling", "", 0), ("r1", "", "network telemetry", 5)) == [-1, -1]
    assert causes(("c1", "cooling", "", 0), ("nowhere", "", "cooling", 5)) == [-1, -1]


def test_a_source_that_is_down_explains_the_silence_of_what_it_reads() -> None:
    site = centre("id=s1 kind=source", "id=s2 kind=source")
    read_by = np.full(len(site.ids), -1, dtype=np.int32)
    read_by[site.position["r1n1g0"]], read_by[site.position["r1n1g1"]] = site.position["s1"], site.position["s2"]
    rows = alerts(("s1", "telemetry", "", 0), ("r1n1g0", "", "telemetry", 9), ("r1n1g1", "", "telemetry", 9), site=site)
    assert explained(site, rows, read_by).tolist() == [-1, 0, -1]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(SITE.ids),
            st.sampled_from(["", *DOMAINS]),
            st.sets(st.sampled_from(DOMAINS)),
            st.floats(0, 2000),
            st.sampled_from([FIRING, PENDING]),
        ),
        max_size=40,
    )
)
def test_explanations_end_at_something_unexplained(rows: list[tuple[str, str, set[Domain], float, int]]) -> None:
    """Whatever fires: no alert explains itself, and what explains is itself explained by nothing."""
    conditions = alerts(*((a, b, " ".join(s), t, p) for a, b, s, t, p in rows))
    found = explained(SITE, conditions)
    for i, cause in enumerate(found.tolist()):
        assert cause != i
        assert cause < 0 or (found[cause] == -1 and conditions.breaks[cause] >= 0)


def test_ours_fold_under_another_s_alert_and_another_s_under_ours() -> None:
    hot = Rule("hot", "gpu", "temp_c", Severity.WARNING, "{asset}", "look", 0.0, 80.0, 70.0, suffers=(Domain.COOLING,))
    slow = Rule("slow", "cdu", "flow_kgps", Severity.CRITICAL, "{asset}", "look", 0.0, 1.0, 2.0, rising=False)
    rules = Rules((hot, replace(slow, breaks=Domain.COOLING)))
    state = State(SITE)
    tell(state, "gpu", NOW, temp_c=np.where(SITE.within("gpu", "rack") == SITE.row("r1"), 90.0, 50.0))
    tell(state, "cdu", NOW, flow_kgps=5.0)
    names, now_s = names_of(SITE), NOW.timestamp()
    pump = other_of(
        SITE, names, "bms", {"alertname": "PumpFailed", "asset": "c1", "breaks": "cooling"}, {}, now_s, np.nan, now_s
    )
    seen = fold(step(rules, SITE, state, begin(rules, SITE, NOW), NOW), Others().heard([pump], now_s))
    listed = seen.table.alerts()
    assert [(alert.key, alert.cause) for alert in listed[:1]] == [(pump.key, "")]
    assert {alert.cause for alert in listed[1:]} == {pump.key}
    assert (listed[0].origin, listed[0].folded, len(listed), seen.table.firing[Severity.WARNING]) == ("bms", 8, 9, 9)
    tell(state, "cdu", NOW + timedelta(seconds=1), flow_kgps=0.0)
    later = step(rules, SITE, state, seen.table, NOW + timedelta(seconds=1))
    warm = other_of(
        SITE, names, "am", {"alertname": "Hot", "instance": "r1n1:9400", "gpu": "2"}, {}, now_s + 1, np.nan, now_s + 1
    )
    assert warm.asset == "r1n1g2"
    seen = fold(later, Others().heard([warm], now_s))
    top = seen.table.alerts()[0]
    assert (top.key, top.folded, top.cause) == ("slow:c1", 8 + 1, "")
    assert seen.others == {warm.key: "slow:c1"}
