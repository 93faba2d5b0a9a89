"""What is quiet is told by something else: nothing that fires is lost behind a cause, an event of a calendar or a channel."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from energy_house import MemoryRecords
from small import rows

from analytics.alerts import OURS, begin, step
from analytics.fold import UNDECIDED_S
from analytics.oncall import desk as desk_module
from analytics.oncall.desk import Ack, Desk, Page
from analytics.oncall.desk import step as desk_step
from analytics.oncall.folding import fold
from analytics.oncall.labels import Signal, parse_matchers
from analytics.oncall.others import Others, other_of
from analytics.oncall.policy import Escalation, Level, Policy, Route
from analytics.oncall.quiet import signals_of
from analytics.oncall.schedule import Schedule, read_schedule
from analytics.oncall.silence import Silence, calendar_windows, make_silence, silenced
from analytics.rule import Domain, Rules, Severity
from analytics.rules import load_rules
from analytics.week import parse_week
from tests.test_oncall_desk import HOT, POLICY, ROUTE, Night, signal
from twin.errors import ConfigError
from twin.frame import Frame, frame_of
from twin.load import build_site
from twin.state import State
from ui.oncall.book import Book
from ui.oncall.file import load_oncall
from ui.oncall.service import OnCall

AT = datetime(2026, 11, 26, 2, 0, tzinfo=UTC)  # a Thursday, at night
CENTRE = build_site(
    "c",
    "UTC",
    rows(
        "id=h1 kind=hall",
        "id=r1 kind=rack parent=h1",
        "id=c1 kind=cdu parent=h1",
        "id=p1 kind=pump parent=c1",
        "id=n1 kind=node parent=r1",
        *[f"id=g{i} kind=gpu parent=n1 rated_w=700" for i in range(8)],
    ),
    rows("from=c1 to=r1 relation=cools"),
)
COOLING = [rule for rule in load_rules().rules if rule.breaks is Domain.COOLING or Domain.COOLING in rule.suffers]
RULES = Rules(tuple(rule for rule in COOLING if set(rule.parts) <= {one.name for one in COOLING}))
URGENT = Route("urgent", parse_matchers(["severity=critical"]), ("phone",))
OFFICE = Route("rest", (), ("noc",), during=parse_week("mon-fri 08:00-18:00"))


def hot_night(policy: Policy, silences: Sequence[Silence] = ()) -> list[tuple[Page, float]]:
    """Pages of half an hour at night in which a pump stops (a warning of the shipped rules) and its GPUs get too hot."""
    state, desk, pages = State(CENTRE), Desk(silences=tuple(silences)), []
    table = begin(RULES, CENTRE, AT)
    for k in range(0, 1800, 10):
        now = AT + timedelta(seconds=k)
        state.absorb(frame_of("pump", now, 0, pump_speed_frac=0.8 if k < 60 else 0.0), now)
        values = {"temp_c": np.full(8, 60.0 if k < 150 else 92.0), "power_w": np.full(8, 600.0)}
        state.absorb(Frame("gpu", now, CENTRE.all_rows("gpu"), values), now)
        table = step(RULES, CENTRE, state, table, now)
        holds = frozenset(route.name for route in policy.routes if route.during.holds(now, "UTC"))
        groups = [group.told for group in desk.groups.values()]
        found = signals_of(fold(table, Others()), Others(), policy, groups, desk.silences, holds)
        result = desk_step(policy, desk, found, now.timestamp(), holds=holds)
        desk = result.desk
        pages += [(page, float(k)) for page in result.pages]
    return pages


def test_a_cause_is_told_as_urgently_as_the_worst_that_it_explains() -> None:
    ((page, after_s),) = hot_night(Policy((URGENT, OFFICE)))
    assert (page.channel, page.severity) == ("phone", Severity.CRITICAL)
    assert [one.key for one in page.signals] == ["pump_stopped:p1"]
    assert page.signals[0].folded >= 8
    assert after_s < 300


def test_what_a_cause_explains_speaks_for_itself_where_nobody_is_told_of_the_cause() -> None:
    known = make_silence("s", ["asset=p1"], "li", "its bearing is known", AT.timestamp() - 60, AT.timestamp() + 9999)
    gpus = replace(URGENT, matchers=parse_matchers(["severity=critical", "kind=gpu"]))
    dropped = Route("dropped", parse_matchers(["kind=pump"]))
    for policy, silences in (
        (Policy((URGENT, OFFICE)), [known]),
        (Policy((gpus,)), []),
        (Policy((dropped, URGENT, OFFICE)), []),
    ):
        told = {page.signals[0].key.partition(":")[0] for page, _ in hot_night(policy, silences)}
        assert "gpu_too_hot" in told, policy
        assert "pump_stopped" not in told


def test_who_was_told_of_a_cause_and_silences_it_is_left_in_peace_unless_it_gets_worse() -> None:
    feed, hot, warm = signal("feed:a"), replace(HOT, cause="feed:a"), signal("warm:r9", Severity.WARNING)
    night = Night()
    night.at(0, feed)
    assert night.at(1, feed, hot) == [("chat", "trigger")]
    window = make_silence("s", ["alertname=feed"], "li", "on it", 0.0, 1e5)
    assert night.at(400, feed, hot, windows=[window]) == []
    assert night.at(401, feed, hot, windows=[window]) == []
    mild = Night()
    mild.at(0, replace(feed, severity=Severity.WARNING))
    mild.at(1, replace(feed, severity=Severity.WARNING), warm)
    mild.at(400, feed, hot, windows=[window])  # nobody was told of anything critical
    assert mild.at(401, feed, hot, windows=[window]) == [("chat", "trigger")]


def test_a_cause_that_has_got_worse_is_news_at_once() -> None:
    night = Night(replace(POLICY, routes=(replace(ROUTE, interval_s=86400.0),)))
    night.at(0, replace(HOT, severity=Severity.WARNING))
    night.at(1, replace(HOT, severity=Severity.WARNING))
    assert night.at(60, HOT) == [("chat", "update")]
    assert night.at(61, replace(HOT, severity=Severity.WARNING)) == []
    assert night.at(62, HOT) == []


def test_a_pending_cause_whose_readings_stop_hides_nothing_for_long() -> None:
    state = State(CENTRE)
    rules = Rules(tuple(replace(rule, hold_s=300.0) if rule.name == "pump_stopped" else rule for rule in RULES.rules))
    table, quiet = begin(rules, CENTRE, AT), []
    for k in range(0, 900, 10):
        now = AT + timedelta(seconds=k)
        if k < 70:  # the pump's last word is that it stands, and has not stood for long
            state.absorb(frame_of("pump", now, 0, pump_speed_frac=0.8 if k < 40 else 0.0), now)
        values = {"temp_c": np.full(8, 60.0 if k < 60 else 92.0), "power_w": np.full(8, 600.0)}
        state.absorb(Frame("gpu", now, CENTRE.all_rows("gpu"), values), now)
        table = step(rules, CENTRE, state, table, now)
        hot = [alert for alert in fold(table, Others()).table.alerts() if alert.rule == "gpu_too_hot"]
        quiet += [k for alert in hot if alert.phase == "firing" and alert.cause.startswith("pump")]
    assert 300 < max(quiet) <= 40 + 300 + UNDECIDED_S
    assert any(alert.rule == "gpu_too_hot" and not alert.cause for alert in hot)


# --- to whom, and when
# ------------------------------------------------------------------------------------------------------------------

LEVELS = (Level(0.0, ("chat",)), Level(300.0, schedule="duty"), Level(900.0, ("boss",)))
ONLY_UP = Policy(
    (replace(ROUTE, channels=(), escalation="up"),),
    {"up": Escalation("up", LEVELS, rounds=3)},
    {"li": ("li-phone",), "wu": ("wu-phone",)},
)
MORE = signal("hot:r2")


def test_news_of_a_route_without_channels_goes_to_the_levels_that_were_told_and_to_whoever_has_duty_now() -> None:
    night = Night(ONLY_UP, {"duty": ("li",)})
    night.at(0, HOT)
    night.at(1, HOT)
    night.at(300, HOT)
    (group,) = night.desk.groups.values()
    night.at(400, HOT, acks=[Ack(group.incident, "li", 400.0)])
    night.duty = {"duty": ("wu",)}
    night.at(500, HOT)
    assert night.at(4000, HOT, MORE) == [("chat", "update"), ("wu-phone", "update")]
    assert {one.key for one in night.pages[-1].signals} == {"hot:r1", "hot:r2"}
    assert night.at(4001, HOT, MORE) == []


def test_news_of_what_was_taken_before_anybody_was_told_is_not_lost() -> None:
    late = replace(ONLY_UP, escalations={"up": Escalation("up", (Level(600.0, ("boss",)),))})
    night = Night(late)
    night.at(0, HOT)
    night.at(1, HOT)
    (group,) = night.desk.groups.values()
    assert night.at(2, HOT, acks=[Ack(group.incident, "li", 2.0)]) == []
    assert night.at(700, HOT) == []
    assert night.at(800, HOT, MORE) == []
    assert night.at(1401, HOT, MORE) == [("boss", "trigger")]


@pytest.mark.parametrize("quiet", ["away", "silenced"])
def test_levels_never_come_closer_together_than_they_are_written_down(quiet: str) -> None:
    night = Night(ONLY_UP, {"duty": ("li",)})
    night.at(0, HOT)
    assert night.at(1, HOT) == [("chat", "trigger")]
    window = make_silence("s", ["rack=r1"], "li", "known", 2.0, 7200.0)
    for at_s in range(60, 7200, 60) if quiet == "silenced" else ():
        assert night.at(at_s, HOT, windows=[window]) == []
    found = [(at_s, event) for at_s in range(7201, 9301, 30) for event in night.at(at_s, HOT)]
    levels = [(at_s - 7201, channel) for at_s, (channel, event) in found if event == "escalate"]
    assert levels[:2] == [(0, "li-phone"), (600, "boss")]
    assert len(levels) == 2 + (2100 - 600) // 2700 * 3
    assert len(found) <= 4  # and a repeat


def test_an_acknowledgement_lapses_and_a_channel_is_not_told_twice_in_one_breath() -> None:
    twice = replace(ONLY_UP, routes=(replace(ONLY_UP.routes[0], channels=("chat",)),), ack_lasts_s=36000.0)
    night = Night(twice, {"duty": ("li",)})
    night.at(0, HOT)
    assert night.at(1, HOT) == [("chat", "trigger")]
    (group,) = night.desk.groups.values()
    night.at(5, HOT, acks=[Ack(group.incident, "li", 5.0)])
    assert night.at(36000, HOT) == []
    assert night.at(36006, HOT) == [("chat", "repeat")]
    assert night.at(36310, HOT) == [("li-phone", "escalate")]
    for_ever = Night(replace(twice, ack_lasts_s=0.0))
    for_ever.at(0, HOT)
    for_ever.at(1, HOT)
    for_ever.at(5, HOT, acks=[Ack(group.incident, "li", 5.0)])
    assert for_ever.at(1e6, HOT) == []


def test_whoever_begins_duty_is_told_of_what_nobody_could_be_told() -> None:
    night = Night(replace(ONLY_UP, escalations={"up": Escalation("up", (Level(0.0, schedule="duty"),))}), {"duty": ()})
    night.at(0, HOT)
    assert night.at(1, HOT) == []
    night.duty = {"duty": ("li",)}
    assert night.at(2, HOT) == [("li-phone", "handover")]


def test_a_group_that_is_full_has_news_only_of_what_is_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk_module, "MAX_TOLD", 2)
    night, many = Night(), [signal(f"hot:r{i}", Severity.WARNING) for i in range(4)]
    night.at(0, *many)
    assert night.at(1, *many) == [("chat", "trigger")]
    assert night.at(400, *many) == []
    assert night.at(800, *many, signal("hot:r9")) == [("chat", "update")]
    assert night.at(1200, *many, signal("hot:r9")) == []
    assert night.at(1300) == [("chat", "resolve")]


# --- alerts of others
# ------------------------------------------------------------------------------------------------------------------


def said(origin: str, end_s: float = np.nan, at_s: float = 0.0) -> Others:
    labels = {"alertname": "RowDown", "severity": "critical", "asset": "c1"}
    return Others().heard([other_of(CENTRE, {"c1": "c1"}, origin, labels, {}, at_s, end_s, at_s)], at_s)


def fires(others: Others, at_s: float) -> bool:
    return any(one.ended_s != one.ended_s for one in others.at(at_s).known.values())


def test_an_alert_of_another_lasts_for_as_long_as_its_sender_means() -> None:
    hook = said("webhook:am")
    assert all(fires(hook, hours * 3600.0) for hours in (1, 4, 24, 120)), "it says when it is over, and repeats after hours"
    assert not fires(hook, 122 * 3600.0)
    for others, last_s in ((said("alertmanager"), 300.0), (said("event"), 300.0), (said("alertmanager", 1200.0), 1200.0)):
        assert fires(others, last_s)
        assert not fires(others, last_s + 1)


def device(key: str, severity: Severity, origin: str, since_s: float = 0.0) -> Signal:
    labels = {"alertname": key, "severity": severity.value, "asset": "ups-1", "origin": origin}
    return replace(signal(f"{key}:ups-1", severity, since_s), labels=labels, origin=origin)


def test_a_rule_hides_an_event_only_where_it_may_say_the_same() -> None:
    trap, fault = device("trap", Severity.CRITICAL, "event"), device("fault", Severity.WARNING, "event", 5000.0)
    for rule, event, told in (
        (device("ups", Severity.INFO, OURS), trap, True),
        (device("ups", Severity.CRITICAL, OURS), trap, False),
        (device("ups", Severity.CRITICAL, OURS, -3600.0), trap, True),
        (device("ups", Severity.WARNING, OURS), fault, False),
        (device("ups", Severity.INFO, OURS), fault, True),
    ):
        night = Night()
        night.at(5000, rule, event)
        night.at(5001, rule, event)
        assert (event.key in {one.key for page in night.pages for one in page.signals}) == told
    quiet = make_silence("s", ["alertname=ups"], "li", "known", 0.0, 1e5)
    night, worst = Night(), device("ups", Severity.CRITICAL, OURS)
    night.at(0, worst, trap, windows=[quiet])
    assert night.at(1, worst, trap, windows=[quiet]) == [("chat", "trigger")], "nobody is told of the rule's"


# --- calendars
# ------------------------------------------------------------------------------------------------------------------


def calendar(*events: str) -> bytes:
    """Events that last from 01:00 to 09:00 of the night, each with further lines."""
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//test//EN"]
    for i, event in enumerate(events):
        lines += [
            "BEGIN:VEVENT",
            f"UID:{i}",
            "DTSTART:20261126T010000Z",
            "DTEND:20261126T090000Z",
            *event.split("|"),
            "END:VEVENT",
        ]
    return "\r\n".join([*lines, "END:VCALENDAR", ""]).encode()


def test_an_event_that_names_nothing_silences_nothing_and_is_named() -> None:
    odd: list[str] = []
    text = calendar("SUMMARY:Quarterly fire drill", "SUMMARY:see https://x/?id=7", "SUMMARY:move https://x/?id=7 rack=r1")
    windows = calendar_windows("works", (), text, AT, "UTC", odd)
    assert [window.matchers for window in windows] == [parse_matchers(["rack=r1"])]
    assert "'Quarterly fire drill' of 2026-11-26 01:00" in odd[0]
    assert len(odd) == 2
    (given, *_) = calendar_windows("works", ["hall=h1"], text, AT, "UTC")
    assert given.matchers == parse_matchers(["hall=h1"])
    assert silenced([replace(given, matchers=())], {"alertname": "ups_on_battery"}, AT.timestamp()) is None


def rota(*events: str) -> Schedule:
    return read_schedule("duty", calendar(*events), {"Wang": (), "Li": ()}, AT, "UTC")


def test_what_is_cancelled_is_neither_a_turn_nor_a_window() -> None:
    assert rota("SUMMARY:Wang", "SUMMARY:Li|STATUS:CANCELLED").on_duty(AT.timestamp()) == ("Wang",)
    assert calendar_windows("works", ["hall=h1"], calendar("SUMMARY:off|STATUS:CANCELLED"), AT, "UTC") == []
    daily = calendar("SUMMARY:Wang|RRULE:FREQ=DAILY", "SUMMARY:Wang|RECURRENCE-ID:20261126T010000Z|STATUS:CANCELLED")
    off = read_schedule("duty", daily.replace(b"UID:1", b"UID:0"), {"Wang": ()}, AT, "UTC")
    assert off.on_duty(AT.timestamp()) == ()
    assert off.on_duty(AT.timestamp() + 86400) == ("Wang",)


@pytest.mark.parametrize(
    ("wang", "li", "called"),
    [
        ("", "", {"Wang", "Li"}),  # the calendar does not say who stands in for whom
        ("|RRULE:FREQ=DAILY", "", {"Li"}),
        ("", "|SEQUENCE:1", {"Li"}),
        ("|LAST-MODIFIED:20261101T000000Z", "|LAST-MODIFIED:20261120T000000Z", {"Li"}),
        ("|SEQUENCE:2", "|SEQUENCE:1", {"Wang"}),
    ],
)
def test_a_swap_over_a_whole_shift_is_the_one_who_is_called(wang: str, li: str, called: set[str]) -> None:
    at = AT.timestamp()
    for schedule in (rota(f"SUMMARY:Wang{wang}", f"SUMMARY:Li{li}"), rota(f"SUMMARY:Li{li}", f"SUMMARY:Wang{wang}")):
        assert set(schedule.called(at)) == called
        assert set(schedule.on_duty(at)) == {"Wang", "Li"}


def test_all_who_are_called_are_told() -> None:
    night = Night(
        replace(ONLY_UP, escalations={"up": Escalation("up", (Level(0.0, schedule="duty"),))}), {"duty": ("li", "wu")}
    )
    night.at(0, HOT)
    assert night.at(1, HOT) == [("li-phone", "trigger"), ("wu-phone", "trigger")]


def test_one_calendar_that_is_wrong_keeps_no_other_from_being_renewed(tmp_path: Path) -> None:
    """Two rotas and a maintenance; one rota breaks, the other goes on with a name that nobody knows, and both are said."""
    texts = {
        "duty": calendar("SUMMARY:Li|RRULE:FREQ=DAILY"),
        "night": calendar("SUMMARY:Li|RRULE:FREQ=DAILY"),
        "works": calendar("SUMMARY:rack=r1", "SUMMARY:lunch"),
    }
    file = '[[channel]]\nname = "c"\ntype = "webhook"\nurl = "https://noc.example.org/x"\n'
    file += '[[person]]\nname = "Li"\nchannels = ["c"]\n[[person]]\nname = "Wang"\nchannels = ["c"]\n'
    file += '[[schedule]]\nname = "duty"\ncalendar = "duty.ics"\n[[schedule]]\nname = "night"\ncalendar = "night.ics"\n'
    file += '[[maintenance]]\nname = "works"\ncalendar = "works.ics"\n'
    (tmp_path / "oncall.toml").write_text(file)
    for name, text in texts.items():
        (tmp_path / f"{name}.ics").write_bytes(text)
    book = Book(tmp_path / "book.db")
    oncall = OnCall(CENTRE, book, MemoryRecords(), load_oncall(tmp_path / "oncall.toml", "UTC", {}), AT)
    assert ["lunch" in str(one) and "works.ics" in str(one) for one in oncall.odd] == [True]
    (tmp_path / "duty.ics").write_bytes(b"half a calen")
    (tmp_path / "night.ics").write_bytes(calendar("SUMMARY:Wang|RRULE:FREQ=DAILY", "SUMMARY:nobody|RRULE:FREQ=DAILY"))
    later = AT + timedelta(days=1)
    oncall.step(begin(RULES, CENTRE, later), later)
    duty = oncall.duty(later.timestamp())
    assert {name: people for name, (people, _) in duty.items()} == {"duty": ("Li",), "night": ("Wang",)}
    said = "\n".join(map(str, oncall.odd))
    assert [word in said for word in ("duty.ics: ", "'nobody', who is no", "'lunch'")] == [True] * 3
    assert [window.matchers for window in oncall.quiet_windows()] == [parse_matchers(["rack=r1"])]
    with pytest.raises(ConfigError):
        oncall.use(oncall.file, later)
    book.close()
