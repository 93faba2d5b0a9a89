"""The life of an alert: no faster than its evidence, no flapping, no forgetting, nothing twice."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics import alerts as alerting
from analytics import judge
from analytics.alerts import RESOLVED_KEPT_S, AlertTable, Phase, begin, restore, step
from analytics.rule import Of
from analytics.rules import Rule, Rules, Severity, parse_rules
from analytics.tracks import Past
from tests.small import small_site
from twin.errors import SourceError
from twin.frame import Floats, Frame, Origin
from twin.site import Site
from twin.state import State

START = datetime(2026, 1, 1, tzinfo=UTC)
SITE = small_site()
N = SITE.count("gpu")
HOT = Rule("hot", "gpu", "temp_c", Severity.WARNING, "{asset} {value:.1f} {unit} over {limit:.0f}", "look", 60.0, 85.0, 80.0)
SILENT = Rule("silent", "gpu", "temp_c", Severity.WARNING, "{asset}", "look", 30.0, absent_s=100.0)
GREW = Rule(
    "grew",
    "gpu",
    "ecc_uncorrected_count",
    Severity.CRITICAL,
    "{asset} {value:.0f}",
    "look",
    0.0,
    3.0,
    1.0,
    window_s=1200.0,
    of=Of.INCREASE,
)


class Seen:
    """A look at one asset of which one value is known."""

    def __init__(self, now_s: float, value: Floats) -> None:
        self.now_s, self.value = now_s, value

    def column(self, *_: object) -> Floats:
        return self.value


class Run:
    """Feeds readings of GPU 0 (the others read 50 °C) into a table of rules, one step at a time."""

    def __init__(self, *rules: Rule, site: Site = SITE) -> None:
        self.rules, self.site, self.state, self.now = Rules(rules), site, State(site), START
        self.table = begin(self.rules, site, START)

    def at(self, value: float | None, after_s: float = 10.0, metric: str = "temp_c") -> Phase | None:
        """One step; the phase of GPU 0 under the first rule. None: no reading at all."""
        self.now += timedelta(seconds=after_s)
        if value is not None:
            column = np.full(N, 50.0)
            column[0] = value
            self.state.absorb(Frame("gpu", self.now, SITE.all_rows("gpu"), {metric: column}), self.now)
        self.table = step(self.rules, self.site, self.state, self.table, self.now)
        return next((alert.phase for alert in self.table.alerts() if alert.asset == "r1n1g0"), None)


def test_life_cycle() -> None:
    run = Run(replace(HOT, keep_firing_s=20.0))
    assert [run.at(v) for v in (50, 84.9)] == [None, None]
    assert [run.at(85.0) for _ in range(6)] == [Phase.PENDING] * 6
    assert run.at(85.0) is Phase.FIRING
    assert [alert.phase for alert in run.table.changes] == [Phase.FIRING]
    (alert,) = run.table.alerts()
    assert (alert.since, alert.fired, alert.resolved) == (START + timedelta(seconds=30), run.now, None)
    assert str(alert.summary) == "r1n1g0 85.0 °C over 85"
    assert [(run.at(v), float(run.table.alerts()[0].value)) for v in (88, 81, 79, 80)] == [
        (Phase.FIRING, value) for value in (88.0, 81.0, 81.0, 81.0)
    ]
    assert run.table.changes == ()
    assert run.at(70) is Phase.RESOLVED
    assert [(a.phase, a.resolved, a.value) for a in run.table.changes] == [(Phase.RESOLVED, run.now, 81.0)]
    assert run.at(53, RESOLVED_KEPT_S - 10) is Phase.RESOLVED
    assert str(run.table.alerts()[0].summary) == "r1n1g0 81.0 °C over 85", "what ended says what it was about"
    assert run.at(70) is None


def test_pending_ends_without_a_word_when_the_value_goes_back() -> None:
    run = Run(HOT)
    assert [run.at(v) for v in (90, 90, 84)] == [Phase.PENDING, Phase.PENDING, None]
    assert run.table.changes == ()
    assert [run.at(90) for _ in range(6)] == [Phase.PENDING] * 6  # the hold begins anew


def test_silence_neither_fires_nor_clears() -> None:
    run = Run(HOT)
    run.at(90)
    run.at(90)
    # stale after 90 s: the pending alert waits, however long
    assert [run.at(None, 100) for _ in range(20)] == [Phase.PENDING] * 20
    while run.at(90) is Phase.PENDING:
        pass
    assert [run.at(None, 100) for _ in range(20)] == [Phase.FIRING] * 20
    assert run.at(79) is Phase.RESOLVED


def test_what_falls_silent_is_said_and_what_never_spoke_is_not() -> None:
    run = Run(SILENT)
    assert [run.at(None, 1000) for _ in range(3)] == [None] * 3
    run.at(60)
    assert run.at(None, 100) is None
    assert run.at(None, 10) is Phase.PENDING
    assert run.at(None, 30) is Phase.FIRING
    alert = run.table.alerts()[0]
    assert np.isnan(alert.value)
    assert alert.limit == 100
    assert run.at(60) is Phase.RESOLVED


def test_what_fell_silent_while_we_were_away_is_said() -> None:
    """With a state that remembers nothing: of what was heard before the restart, silence counts from the start."""
    run = Run(SILENT)
    run.state.absorb(Frame("gpu", run.now, SITE.all_rows("gpu")[:4], {"temp_c": np.full(4, 50.0)}), run.now)
    run.at(None)
    for steps, silent in ((5, []), (16, ["r1n1g0"])):  # two restarts in a row
        run.state, run.table = State(SITE), restore(run.rules, SITE, run.table.dump())
        run.now += timedelta(hours=1)
        found = []
        for i in range(steps):
            if i > 2:  # its source takes half a minute to come back
                run.state.absorb(Frame("gpu", run.now, SITE.all_rows("gpu")[1:4], {"temp_c": np.full(3, 50.0)}), run.now)
            run.at(None)
            found.append([alert.asset for alert in run.table.alerts() if alert.phase is Phase.FIRING])
        assert found[:10] == [[]] * min(steps, 10)
        assert found[-1] == silent
    run.state.absorb(Frame("gpu", run.now, SITE.all_rows("gpu")[:4], {"temp_c": np.full(4, 50.0)}), run.now)
    run.at(None)
    assert [alert.phase for alert in run.table.alerts()] == [Phase.RESOLVED]


def test_a_pause_of_ours_is_no_evidence() -> None:
    run = Run(replace(HOT, hold_s=300.0))
    run.at(90)
    assert run.at(90, 86400) is Phase.PENDING  # a value speaks for 90 s at most


def test_increase_counts_within_its_window_and_survives_a_restart_of_the_counter() -> None:
    run = Run(GREW)
    phases = [run.at(v, 60, "ecc_uncorrected_count") for v in (100, 101, 102)]
    assert phases == [None] * 3  # what stood there at first is no increase
    assert run.at(1, 60, "ecc_uncorrected_count") is Phase.FIRING  # the counter began again: one more, three in all
    assert run.at(1, 60, "ecc_uncorrected_count") is Phase.FIRING
    while run.at(1, 60, "ecc_uncorrected_count") is Phase.FIRING:
        pass
    # over when at most one of the three (at 120, 180 and 240 s) is within 20 min, true to a twelfth of that
    assert 1200 + 180 <= (run.now - START).total_seconds() <= 1200 + 180 + 100 + 60


def test_growth_and_change_forget_in_time_what_a_clock_that_was_set_back_puts_ahead() -> None:
    run = Run(GREW)
    for count in (100, 101, 102, 103):
        run.at(count, 60, "ecc_uncorrected_count")
    assert run.at(103, -7200, "ecc_uncorrected_count") is Phase.FIRING  # nothing has grown, and nothing is over
    for _ in range(24):
        run.at(103, 60, "ecc_uncorrected_count")
    assert run.at(103, 60, "ecc_uncorrected_count") is not Phase.FIRING  # a window later, not two hours
    run = Run(replace(HOT, limit=20.0, clear=5.0, hold_s=0.0, of=Of.CHANGE, window_s=120.0))
    for _ in range(13):
        run.at(50)
    for _ in range(13):
        run.at(50, -7200 if run.now > START + timedelta(seconds=120) else 10)
    assert run.at(75) is Phase.FIRING


def test_a_change_is_judged_where_a_part_of_the_window_began_in_silence() -> None:
    part = Past(np.empty(0, dtype=np.int64), np.empty((0, 1)))
    rule, known = replace(HOT, of=Of.CHANGE, window_s=1200.0), []
    for i in range(400):
        value = np.array([20.0 + i if i % 2 else np.nan])  # parts are ten looks long: each begins with a stale one
        change, part = judge._change(Seen(1e9 // 1200 * 1200 + 10.0 * i, value), rule, part)  # type: ignore[arg-type,assignment]
        known.append(np.isfinite(change[0]))
    assert sum(known[-100:]) == 50


def test_rules_of_codes_bits_and_globs() -> None:
    xid = Rule("xid", "gpu", "xid_code", Severity.CRITICAL, "{asset}", "look", 0.0, codes=(48, 79))
    run = Run(xid)
    assert [run.at(v, metric="xid_code") for v in (0, 78, 79, 31)] == [None, None, Phase.FIRING, Phase.RESOLVED]
    throttle = Rule("slow", "gpu", "throttle_code", Severity.WARNING, "{asset}", "look", 0.0, bits=0x60, assets="*g0")
    run = Run(throttle)
    run.at(float(2**31 + 64), metric="throttle_code")  # the others read 50: bits 0x32, of which 0x20 is meant
    assert {alert.asset for alert in run.table.alerts()} == {"r1n1g0", "r1n2g0", "r2n1g0", "r2n2g0"}


def test_order_bound_and_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerting, "MAX_ALERTS", 5)
    cold = Rule("cold", "gpu", "temp_c", Severity.CRITICAL, "{asset}", "look", 0.0, 50.0, 60.0, rising=False)
    run = Run(replace(HOT, hold_s=0.0), cold)
    run.at(90)
    shown = run.table.alerts()
    assert [alert.severity for alert in shown] == [Severity.CRITICAL] * 5
    assert len(run.table.changes) == 5
    assert run.table.overflow == N - 1 + 1 - 5
    assert run.table.firing == {Severity.CRITICAL: N - 1, Severity.WARNING: 1, Severity.INFO: 0}


def test_what_people_were_told_of_is_there_whatever_storm_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerting, "MAX_ALERTS", 5)
    monkeypatch.setattr(alerting, "MIN_NEWS", 3)
    cold = Rule("cold", "gpu", "temp_c", Severity.CRITICAL, "{asset}", "look", 0.0, 45.0, 60.0, rising=False)
    run = Run(replace(HOT, hold_s=0.0), cold)
    run.at(90)
    told = [alert.key for alert in run.table.spoken(())]
    assert told == ["hot:r1n1g0"]
    run.state.absorb(Frame("gpu", run.now, SITE.all_rows("gpu")[1:], {"temp_c": np.full(N - 1, 40.0)}), run.now)
    run.at(None, after_s=1)
    run.state.absorb(Frame("gpu", run.now, SITE.all_rows("gpu")[1:], {"temp_c": np.full(N - 1, 40.0)}), run.now)
    run.at(None, after_s=1)
    spoken = [alert.key for alert in run.table.spoken(told)]
    assert spoken[0] == "hot:r1n1g0", "it still fires: left out, it would count as ended"
    assert len(spoken) == 5
    more = run.table.spoken(spoken)
    assert [alert.key for alert in more][:5] == [*spoken[1:], spoken[0]], "the worst first"
    assert len(more) == 5 + 3, "a storm that has been told hides no news"


def test_a_rule_judges_the_origin_it_names() -> None:
    run = Run(replace(HOT, hold_s=0.0, origin=Origin.MODELLED))
    assert run.at(90) is None


# --- properties ------------------------------------------------------------------------------------------------------------

readings = st.lists(
    st.tuples(st.sampled_from([70.0, 79.9, 80.0, 80.1, 84.9, 85.0, 90.0, None]), st.sampled_from([5.0, 10.0, 40.0, 95.0])),
    min_size=1,
    max_size=60,
)


@given(readings)
def test_never_fires_before_hold_of_unbroken_evidence(steps: list[tuple[float | None, float]]) -> None:
    """An oracle in plain Python: time with a fresh reading at the limit or over, broken by any fresh one under it."""
    run, evidence, hot, last, age = Run(HOT), 0.0, False, None, np.inf
    was: Phase | None = None
    for value, after_s in steps:
        age = 0.0 if value is not None else age + after_s
        last = value if value is not None else last
        fresh = last is not None and age <= 90
        if fresh and last >= 85:
            evidence, hot = (evidence + min(after_s, 90.0) if hot else 0.0), True
        elif fresh:
            evidence, hot = 0.0, False
        phase = run.at(value, after_s)
        if phase is Phase.FIRING and was is not Phase.FIRING:
            assert fresh
            assert last >= 85
            assert evidence >= 60
        if was is Phase.FIRING and phase is not Phase.FIRING:
            assert fresh
            assert last <= 80
            hot = False
        was = phase


@given(st.lists(st.floats(80.0, 85.0, exclude_min=True, exclude_max=True), min_size=1, max_size=40), st.booleans())
def test_never_flips_within_the_band(values: list[float], firing: bool) -> None:
    run = Run(replace(HOT, hold_s=0.0))
    run.at(90.0 if firing else 70.0)
    for value in values:
        assert run.at(value) is (Phase.FIRING if firing else None)
        assert run.table.changes == ()


@settings(max_examples=40, deadline=None)
@given(readings)
def test_a_restart_after_every_step_is_no_restart(steps: list[tuple[float | None, float]]) -> None:
    rules = (HOT, replace(HOT, name="warm", hold_s=0.0, keep_firing_s=30.0), SILENT, replace(GREW, metric="pcie_replay_count"))
    rules += (replace(HOT, name="rises", hold_s=0.0, limit=8.0, clear=2.0, of=Of.CHANGE, window_s=60.0),)
    rules += (replace(HOT, name="armed", hold_s=0.0, armed=True),)
    through, restarted = Run(*rules), Run(*rules)
    for i, (value, after_s) in enumerate(steps):
        for run in (through, restarted):
            if value is not None:
                count = np.full(N, float(int(value) % 7 + i))
                frame = Frame("gpu", run.now, SITE.all_rows("gpu"), {"pcie_replay_count": count})
                run.state.absorb(frame, run.now)
            run.at(value, after_s)
        assert restarted.table.alerts() == through.table.alerts() or has_nan(restarted.table)
        assert [a.key for a in restarted.table.changes] == [a.key for a in through.table.changes]
        assert restarted.table.dump() == through.table.dump()
        restarted.table = restore(restarted.rules, SITE, restarted.table.dump())
        assert restarted.table.changes == ()


def has_nan(table: AlertTable) -> bool:
    """NaN is not equal to itself: such tables are compared by their dumps."""
    return any(np.isnan(alert.value) or np.isnan(alert.limit) for alert in table.alerts())


def test_a_change_is_judged_on_over_a_restart() -> None:
    run = Run(replace(HOT, limit=20.0, clear=5.0, hold_s=0.0, of=Of.CHANGE, window_s=120.0))
    for _ in range(13):
        run.at(50)
    run.table = restore(run.rules, SITE, run.table.dump())
    assert run.at(75) is Phase.FIRING


def test_what_was_never_well_is_left_alone_until_it_was() -> None:
    run = Run(replace(HOT, hold_s=0.0, armed=True))
    assert [run.at(90) for _ in range(3)] == [None] * 3
    assert run.at(79) is None
    run.table = restore(run.rules, SITE, run.table.dump())
    assert run.at(90) is Phase.FIRING


# --- restart, reload --------------------------------------------------------------------------------------------------------


def test_a_reload_keeps_what_is_still_meant_and_names_what_is_lost() -> None:
    run = Run(replace(HOT, hold_s=0.0), replace(HOT, name="gone", hold_s=0.0))
    run.at(90)
    run.rules = Rules((replace(HOT, hold_s=0.0, limit=95.0, clear=94.0),))
    assert run.at(94.5) is Phase.FIRING  # another limit, the same alert: not fired again
    assert run.table.changes == ()
    assert run.table.lost == ("gone:r1n1g0",)
    run.at(94.5)
    assert run.table.lost == ()
    run.rules = Rules((replace(HOT, assets="r2*"),))
    run.at(94.5)
    assert run.table.alerts() == ()
    assert run.table.lost == ("hot:r1n1g0",)


def test_what_was_kept_and_cannot_be_read_is_a_clear_word() -> None:
    for text in ("", "[]", '{"version":9}', Run(HOT).table.dump().replace('"phase"', '"face"')):
        with pytest.raises(SourceError, match="they start anew"):
            restore(Rules((HOT,)), SITE, text)


def test_a_noisy_rack_fires_once_a_day_and_not_hundreds_of_times() -> None:
    """A rack hot on each of seven days, read every 10 s with 0.5 K of noise (the figure behind limit, clear and hold). The
    seven days are seven racks side by side, which comes to the same and takes a seventh of the time."""
    rng = np.random.default_rng(20261)
    site = small_site(*(f"id=day{i} kind=rack parent=h1" for i in range(5)))
    racks = site.count("rack")
    assert racks == 7
    plain = Rule("plain", "rack", "supply_temp_c", Severity.WARNING, "{asset}", "look", 20.0, 40.0, 40.0 - 1e-9)
    rules = Rules((plain, replace(plain, name="gapped", hold_s=300.0, clear=38.0)))
    state, table, fired = State(site), begin(rules, site, START), {"plain": 0, "gapped": 0}
    for seconds in np.arange(0.0, 86400.0, 10.0):
        now = START + timedelta(seconds=float(seconds))
        hot = 37.0 + 4.5 * np.sin(2 * np.pi * (seconds / 86400 - 0.25)) + rng.normal(0, 0.5, racks)
        state.absorb(Frame("rack", now, site.all_rows("rack"), {"supply_temp_c": hot}), now)
        table = step(rules, site, state, table, now)
        for alert in table.changes:
            fired[alert.rule] += alert.phase is Phase.FIRING
    assert fired["gapped"] == 7
    assert fired["plain"] > 200


def test_an_alert_on_a_code_keeps_the_code_it_is_about() -> None:
    rules = parse_rules(_RULE_ON_CODES, Path("codes.toml"))
    site = small_site()
    state, table = State(site), begin(rules, site, START)
    for i, code in enumerate((79.0, 0.0)):
        now = START + timedelta(seconds=10 * i)
        values = np.zeros(site.count("gpu"))
        values[3] = code
        state.absorb(Frame("gpu", now, site.all_rows("gpu"), {"xid_code": values}), now)
        table = step(rules, site, state, table, now)
    assert [(str(alert.summary), alert.value) for alert in table.alerts()] == [("r1n1g3 says 79", 79.0)]


_RULE_ON_CODES = """
[[rule]]
name = "xid"
kind = "gpu"
metric = "xid_code"
codes = [79]
hold_s = 0
keep_firing_s = 60
severity = "critical"
summary = "{asset} says {value:.0f}"
runbook = "None: this is a test."
"""
