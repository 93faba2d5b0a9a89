"""The desk: told once, to the right person, with nothing forgotten over a restart."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.alerts import Alert, Phase
from analytics.oncall.desk import Ack, Desk, Event, Page, step
from analytics.oncall.keep import desk_of, desk_text, page_of, page_text
from analytics.oncall.labels import Signal, parse_matcher, parse_matchers
from analytics.oncall.policy import Escalation, Level, Policy, Route
from analytics.oncall.report import noise, times
from analytics.oncall.schedule import read_schedule
from analytics.oncall.silence import calendar_windows, make_silence, reservation_windows
from analytics.rule import Severity
from analytics.rules import load_rules
from analytics.week import parse_week
from ingest.stores.records import record_text
from twin.errors import SourceError
from twin.message import Message
from ui.oncall.service import ALERT_LOG, alert_record
from ui.oncall.spoken import sentence
from ui.words import words

ROUTE = Route("all", (), ("chat",), group_by=("alertname",), wait_s=0.5, interval_s=300.0, repeat_s=3600.0)
POLICY = Policy((ROUTE,))


def signal(key: str, severity: Severity = Severity.CRITICAL, since_s: float = 0.0) -> Signal:
    name, _, asset = key.partition(":")
    labels = {"alertname": name, "asset": asset, "severity": severity.value, "metric": "temp_c", "rack": asset[:2]}
    return Signal(key, labels, severity, Message("{asset} is {what}", {"asset": asset, "what": name}), since_s)


class Night:
    """Steps a desk through time, kept and read back between any two steps."""

    def __init__(self, policy: Policy = POLICY, duty: Mapping[str, tuple[str, ...]] | None = None) -> None:
        self.policy, self.desk, self.duty, self.now_s = policy, Desk(), duty or {}, 0.0
        self.pages: list[Page] = []
        self.records: list[dict[str, object]] = []

    def at(
        self, now_s: float, *firing: Signal, acks: Sequence[Ack] = (), windows: Sequence[object] = ()
    ) -> list[tuple[str, str]]:
        told = step(self.policy, self.desk, firing, now_s, acks=acks, windows=windows, duty=self.duty)  # type: ignore[arg-type]
        self.desk, self.now_s = desk_of(desk_text(told.desk)), now_s
        self.pages += [page_of(page_text(page)) for page in told.pages]
        self.records += [{"what": h.what, "incident": h.group.incident, "at_s": h.at_s} for h in told.happened]
        return [(page.channel, page.event.value) for page in told.pages]


HOT = signal("hot:r1")


def test_a_clock_that_is_set_back_delays_no_page_and_renames_no_incident() -> None:
    other = signal("leak:r2")
    night = Night(
        replace(
            POLICY, routes=(replace(ROUTE, escalation="up"),), escalations={"up": Escalation("up", (Level(60.0, ("boss",)),))}
        )
    )
    night.at(3600, HOT)
    assert night.at(3601, HOT) == [("chat", "trigger")]
    assert night.at(3602, HOT, other) == []  # it waits half a second for its like
    assert night.at(2, HOT, other) == []  # the clock was an hour ahead and is set right
    assert night.at(3, HOT, other) == [("chat", "trigger")]
    assert night.at(70, HOT, other) == [("boss", "escalate")] * 2, "a minute after it was told, as it would have been"
    assert night.at(80, other) == [("chat", "resolve"), ("boss", "resolve")]
    assert night.pages[0].incident == night.pages[-1].incident


def test_one_page_then_news_then_repeats_then_the_end() -> None:
    night = Night()
    assert night.at(0, HOT) == []  # waits for company
    assert night.at(0.5, HOT) == [("chat", "trigger")]
    assert night.at(10, HOT) == []
    more = signal("hot:r2")
    assert night.at(60, HOT, more) == []  # not sooner than the interval
    assert night.at(301, HOT, more) == [("chat", "update")]
    assert night.at(302 + 3600, HOT, more) == [("chat", "repeat")]
    assert night.at(4000, HOT) == []
    assert night.at(4001) == [("chat", "resolve")]
    assert [p.number for p in night.pages] == [1, 2, 3, 4]
    assert len({p.incident for p in night.pages}) == 1
    assert [len(p.signals) for p in night.pages] == [1, 2, 2, 1]
    assert all(not s.fires for s in night.pages[-1].signals)
    assert night.at(4002) == []


def test_what_ends_before_the_wait_is_over_is_not_told() -> None:
    night = Night()
    assert [night.at(t, *fires) for t, fires in ((0, [HOT]), (0.4, []), (0.6, []), (5, []))] == [[]] * 4
    assert night.desk.groups == {}


def test_an_acknowledgement_ends_repeats_and_escalation_until_it_gets_worse() -> None:
    levels = (Level(0.0, ("chat",)), Level(300.0, schedule="duty"), Level(900.0, ("boss",)))
    policy = Policy(
        (replace(ROUTE, channels=(), escalation="night"),),
        {"night": Escalation("night", levels, rounds=2, again_s=600.0)},
        {"li": ("li-phone", "li-mail"), "wu": ("wu-phone",)},
    )
    warm = signal("hot:r1", Severity.WARNING)
    night = Night(policy, {"duty": ("li",)})
    night.at(0, warm)
    assert night.at(1, warm) == [("chat", "trigger")]
    assert night.at(300, warm) == [("li-phone", "escalate"), ("li-mail", "escalate")]
    (group,) = night.desk.groups.values()
    acked = night.at(400, warm, acks=[Ack(group.incident, "li", 399.0, "on my way")])
    assert acked == [("chat", "acknowledge"), ("li-phone", "acknowledge"), ("li-mail", "acknowledge")]
    assert night.pages[-1].note == "on my way"
    assert night.at(5000, warm) == []
    worse = signal("hot:r9", Severity.CRITICAL)
    updated = [("chat", "update"), ("li-phone", "update"), ("li-mail", "update")]
    assert night.at(5001, warm, worse) == updated  # it has got worse: nobody has taken that yet, and who was told hears at once
    assert night.at(5002, warm, worse) == []
    assert night.at(5301, warm, worse) == [("li-phone", "escalate"), ("li-mail", "escalate")]
    assert night.at(5900, warm, worse) == []
    assert night.at(5901, warm, worse) == [("boss", "escalate")]
    figures = times([*night.records, {"what": "closed", "incident": group.incident, "at_s": 6001.0}])
    assert (figures.acknowledged, figures.mtta_s, figures.mttr_s) == (1, 399.0, 6000.0)


def test_escalation_goes_round_as_often_as_it_says_and_somebody_hears_when_nobody_has_duty() -> None:
    policy = Policy(
        (replace(ROUTE, channels=(), escalation="e", repeat_s=1e6),),
        {"e": Escalation("e", (Level(0.0, ("chat",)), Level(60.0, schedule="duty")), rounds=2, again_s=100.0)},
        fallback="office",
    )
    night = Night(policy, {"duty": ()})
    found = [(t, what) for t in range(0, 1000, 10) for what in night.at(t, HOT)]
    assert found == [
        (10, ("chat", "trigger")),
        (60, ("office", "escalate")),
        (160, ("chat", "escalate")),
        (220, ("office", "escalate")),
    ]


def test_whoever_takes_over_is_told_what_is_open() -> None:
    policy = Policy(
        (replace(ROUTE, channels=(), escalation="e"),),
        {"e": Escalation("e", (Level(0.0, schedule="duty"),))},
        {"li": ("li-phone",), "wu": ("wu-phone",)},
    )
    night = Night(policy, {"duty": ("li",)})
    night.at(0, HOT)
    assert night.at(1, HOT) == [("li-phone", "trigger")]
    night.duty = {"duty": ("wu",)}
    assert night.at(2, HOT) == [("wu-phone", "handover")]
    assert [s.key for s in night.pages[-1].signals] == ["hot:r1"]
    assert night.at(3, HOT) == []


def test_silences_inhibition_and_causes_keep_quiet_and_what_was_told_still_ends() -> None:
    night = Night()
    quiet = make_silence("s", ["rack=r1"], "li", "rack is being moved", 0.0, 100.0)
    assert night.at(0, HOT, windows=[quiet]) == []
    assert night.at(50, HOT, windows=[quiet]) == []
    night.at(101, HOT)
    assert night.at(102, HOT) == [("chat", "trigger")]
    assert night.at(9999, HOT, windows=[replace(quiet, end_s=1e6)]) == []  # no repeats while it is silenced
    assert night.at(10000, windows=[replace(quiet, end_s=1e6)]) == [("chat", "resolve")]
    mild = signal("warm:r1", Severity.WARNING)
    night = Night()
    night.at(0, HOT, mild)
    assert [p.signals[0].key for p in night.pages] == []
    assert night.at(1, HOT, mild) == [("chat", "trigger")]
    assert night.at(2, replace(HOT, since_s=0.0), replace(mild, cause="feed:a")) == []
    folded, feed = Night(), signal("feed:a")
    folded.at(0, replace(HOT, cause="feed:a", waits=True))
    folded.at(5, replace(HOT, cause="feed:a"), feed)
    assert folded.at(6, replace(HOT, cause="feed:a"), feed) == [("chat", "trigger")]
    assert [one.key for one in folded.pages[0].signals] == ["feed:a"]
    folded = Night()
    folded.at(0, replace(HOT, cause="feed:a", waits=True))
    folded.at(10, HOT)  # the cause came to nothing
    assert folded.at(11, HOT) == [("chat", "trigger")]


def test_what_flaps_is_told_once_and_ends_when_it_has_been_quiet() -> None:
    night = Night()
    for i in range(40):
        night.at(i * 60.0, HOT)
        night.at(i * 60.0 + 1, HOT)
        night.at(i * 60.0 + 30)
    events = [page.event for page in night.pages]
    assert events.count(Event.TRIGGER) <= 4  # until it is seen to flap
    assert events[-1] is Event.TRIGGER
    assert night.at(39 * 60 + 1 + 1799) == []
    assert night.at(39 * 60 + 1 + 1801) == [("chat", "resolve")]


def test_a_damaged_memory_is_a_clear_word() -> None:
    for text in ("", "[]", '{"version":9}', desk_text(Desk()).replace("groups", "group")):
        with pytest.raises(SourceError, match="they start anew"):
            desk_of(text)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sets(st.sampled_from(["a:1", "a:2", "b:1"])), st.sampled_from([0.3, 1.0, 200.0, 400.0])), max_size=40)
)
def test_nothing_is_forgotten_and_every_page_is_ended(steps: list[tuple[set[str], float]]) -> None:
    """Whatever comes and goes, with a restart after each step: what fires long enough is told, triggers and ends alternate for
    each group, and when all is over nothing is open."""
    night, now_s = Night(replace(POLICY, flap_count=100)), 0.0
    for keys, after_s in steps:
        now_s += after_s
        night.at(now_s, *(signal(key) for key in sorted(keys)))
        told = {key for group in night.desk.groups.values() for key in group.told}
        if after_s == 400.0:
            night.at(now_s + 1, *(signal(key) for key in sorted(keys)))
            night.at(now_s + 301, *(signal(key) for key in sorted(keys)))
            now_s += 301
            told = {key for group in night.desk.groups.values() for key in group.told}
            assert keys <= told
    night.at(now_s + 1)
    night.at(now_s + 1000)
    assert night.desk.groups == {}
    for name in ("a", "b"):
        mine = [p.event for p in night.pages if name in p.labels.values() and p.event in (Event.TRIGGER, Event.RESOLVE)]
        assert mine[::2] == [Event.TRIGGER] * len(mine[::2])
        assert mine[1::2] == [Event.RESOLVE] * len(mine[1::2])
        assert len(mine) % 2 == 0


# --- calendars
# -----------------------------------------------------------------------------------------------------------------

ROTA = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//test//rota//EN
BEGIN:VEVENT
UID:1
SUMMARY:li
DTSTART;TZID=Asia/Shanghai:20261102T090000
DTEND;TZID=Asia/Shanghai:20261103T090000
RRULE:FREQ=DAILY;INTERVAL=2
END:VEVENT
BEGIN:VEVENT
UID:2
SUMMARY:wu
DTSTART;TZID=Asia/Shanghai:20261103T090000
DTEND;TZID=Asia/Shanghai:20261104T090000
RRULE:FREQ=DAILY;INTERVAL=2
EXDATE;TZID=Asia/Shanghai:20261105T090000
END:VEVENT
BEGIN:VEVENT
UID:3
SUMMARY:wu
DTSTART;TZID=Asia/Shanghai:20261102T120000
DTEND;TZID=Asia/Shanghai:20261102T140000
END:VEVENT
END:VCALENDAR
""".replace("\n", "\r\n").encode()


def test_a_rota_says_who_has_duty_swaps_first_and_where_nobody_has() -> None:
    start = datetime(2026, 11, 2, 1, 0, tzinfo=UTC)  # 9:00 in Shanghai
    rota = read_schedule("duty", ROTA, {"li": (), "wu": ()}, start, "Asia/Shanghai")
    at = start.timestamp()
    assert rota.on_duty(at) == ("li",)
    assert rota.on_duty(at + 3.5 * 3600) == ("wu", "li")  # the swap over lunch
    assert rota.on_duty(at + 86400) == ("wu",)
    assert rota.next_change(at) == at + 3 * 3600
    gap = (at + 3 * 86400, at + 4 * 86400)
    assert rota.unmanned(at, at + 5 * 86400) == [gap]
    with pytest.raises(ValueError, match="'wu', who is no"):
        read_schedule("duty", ROTA, {"li": ()}, start, "Asia/Shanghai")


def test_maintenance_comes_from_calendars_and_reservations() -> None:
    start = datetime(2026, 11, 2, 1, 0, tzinfo=UTC)
    text = ROTA.replace(b"SUMMARY:li", b"SUMMARY:rack=r1 moves")
    windows = calendar_windows("works", ["rack=r9"], text, start, "Asia/Shanghai")
    assert any(w.active(start.timestamp()) and w.matchers == parse_matchers(["rack=r1"]) for w in windows)
    assert any(w.matchers == parse_matchers(["rack=r9"]) for w in windows)  # an event that names nothing: the window's own
    maint = {"name": "fw", "nodes": ["r1", "n.2"], "start_s": 0.0, "end_s": 9.0, "flags": ["MAINT", "IGNORE_JOBS"]}
    (window,) = reservation_windows("slurm", [maint, {**maint, "name": "jobs", "flags": ["FLEX"]}])
    (named,) = reservation_windows("slurm", [{**maint, "name": "fw-maint", "flags": []}], ["*maint*"])
    assert named.matchers == window.matchers
    assert window.matchers[0].fits({"node": "n.2"})
    assert not window.matchers[0].fits({"node": "nx2"})


@pytest.mark.parametrize("text", ["rack", "rack=~(", r"rack=~(a)\1", "rack=~(?=a)", "=x", "a b=c"])
def test_what_is_no_matcher_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"matcher|regular"):
        parse_matcher(text)


@pytest.mark.parametrize("text", ["rack=~((.+))+!", "rack=~(a+)+b", "rack=~(a|a)*b", "rack=~" + ".*" * 200 + "!"])
def test_no_pattern_takes_longer_than_its_text(text: str) -> None:
    assert not parse_matcher(text).fits({"rack": "a" * 500})  # whoever goes back and tries again never comes here


def test_a_pattern_fits_the_whole_text_and_words_are_words() -> None:
    for text, fit, not_fit in (
        ("rack=~r0[1-4]", ("r01", "r04"), ("r05", "xr01", "r011", "")),
        (r"rack=~a\.b|c", ("a.b", "c"), ("axb", "a.b|c", "")),
        ("rack=~.*", ("", "two\nlines"), ()),
        ("rack=~a|", ("a", ""), ("b",)),
        ("rack!~r0.*", ("x", ""), ("r01",)),
    ):
        matcher = parse_matcher(text)
        assert all(matcher.fits({"rack": one}) for one in fit), text
        assert not any(matcher.fits({"rack": one}) for one in not_fit), text


def test_a_week_in_words() -> None:
    week = parse_week("mon-fri 18:00-08:00, sat-sun")
    at = [
        datetime(2026, 11, day, hour, tzinfo=UTC) for day, hour in ((2, 12), (2, 19), (3, 7), (6, 23), (7, 12), (9, 7), (9, 9))
    ]
    assert [week.holds(when, "UTC") for when in at] == [False, True, True, True, True, False, False]
    assert parse_week("thu-tue").holds(at[0], "UTC")
    for wrong in ("", "noon", "mon-fri 25:00-26:00", "mon 08:00", "mon 08:00-08:00"):
        with pytest.raises(ValueError, match=r"time|day"):
            parse_week(wrong)


def test_the_noise_report_proposes_what_fits() -> None:
    when = [datetime(2026, 11, 1, tzinfo=UTC).timestamp() + 120 * i for i in range(40)]
    log = []
    for i, at_s in enumerate(when):
        phase = "firing" if i % 2 == 0 else "resolved"
        log.append((datetime.fromtimestamp(at_s, UTC), {"rule": "flap", "asset": "r1", "key": "flap:r1", "phase": phase}))
    for i in range(6):
        for phase, more_s in (("firing", 0), ("resolved", 60)):
            at = datetime.fromtimestamp(when[i] + more_s, UTC)
            log.append((at, {"rule": "short", "asset": f"r{i}", "key": f"short:r{i}", "phase": phase}))
        log.append((at, {"rule": "ignored", "asset": f"r{i}", "key": f"ignored:r{i}", "phase": "firing"}))
    found = {one.rule: one for one in noise(log, {"flap": 9}, {"flap": 9, "ignored": 6}, 86400.0)}
    assert found["flap"].fired == 20
    assert "flaps on r1 (20 times)" in str(found["flap"].proposal)
    assert "hold_s of 60" in str(found["short"].proposal)
    assert "nobody takes it (6 incidents)" in str(found["ignored"].proposal)
    rule = replace(load_rules().rules[0], name="short", hold_s=120.0, keep_firing_s=20.0)
    held = next(one for one in noise(log, {}, {}, 86400.0, [rule]) if one.rule == "short")
    assert "hold_s of 160" in str(held.proposal)  # it fired after 120 s; its condition was met for 40 s more, then it was kept


@pytest.mark.parametrize(("value", "said"), [(7.5, "{odd} has 7.5"), (math.nan, "{odd} has nan"), (math.inf, "{odd} has nan")])
def test_an_alert_is_written_down_also_where_its_number_is_not_known(value: float, said: str) -> None:
    summary = Message("{asset} has {value:.1f}", {"asset": "{odd}", "value": value})
    alert = Alert("silent", "gpu", "g", "m", Severity.INFO, Phase.FIRING, value, math.nan, summary, "", AT, AT, None)
    record = json.loads(record_text(ALERT_LOG, alert_record(alert)))
    assert record["summary"] == str(summary)
    assert sentence(record, words("en")) == said


AT = datetime(2026, 11, 20, tzinfo=UTC)
