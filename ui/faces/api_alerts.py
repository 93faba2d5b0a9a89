"""``/api/v1/alerts/…``, ``/api/v1/oncall/…`` and ``/api/v2/alerts``: what is open, who took it, what is quiet, how it went; and
the alerts of others in.

Who may is for ``ui.access``: the token of the on-call file counts as an operator's for what is here, and where it is set and
nobody signs in, it must be shown.
"""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request, Response
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from analytics.alerts import OURS
from analytics.oncall.keep import plain
from analytics.oncall.others import WEBHOOK, names_of, other_of
from analytics.oncall.report import noise, times
from analytics.rule import Rule, Severity
from ui.access.door import note, speaker
from ui.faces.answers import Failure, Foreign, Moment, When
from ui.faces.api_reports import named, refused
from ui.faces.push import Pulse
from ui.oncall.picture import series_picture
from ui.oncall.service import ALERT_LOG, AUDIT, INCIDENTS, OnCall
from ui.oncall.spoken import lead, phase, sentence
from ui.report.span import MAX_SPAN
from ui.view import Live
from ui.words import LANGUAGES, words

MAX_PAGE = 10_000
MAX_LOG = 100_000  # records looked at for a report, as many as the report of a centre does
MAX_IN = 1000  # alerts of one request
MAX_DAYS = 92
MAX_ODD = 100  # problems of calendars that are shown
_ORDER = list(Severity)


class AckIn(BaseModel):
    """Who takes an incident (``by``, where neither session nor token says it), and what they say."""

    by: str = Field("", max_length=100)
    note: str = Field("", max_length=500)


class SilenceIn(BaseModel):
    """What is to be quiet, who says so (``author``, where neither session nor token does) and why, and until when; ``start``
    none: from now on."""

    matchers: list[str] = Field(min_length=1, max_length=20)
    author: str = Field("", max_length=100)
    reason: str = Field(min_length=1, max_length=500)
    start: Moment | None = None
    end: Moment


@dataclass(frozen=True, slots=True)
class Asked:
    """From when until when: a span by its name, or two moments, or the last days."""

    span: Annotated[str | None, Query(min_length=4, max_length=40, description="as 2026-W46, 2026-11 or 2026-Q4")] = None
    start: Annotated[When | None, Query(description="ISO 8601 with zone; none: so many days before the end")] = None
    end: Annotated[When | None, Query(description="ISO 8601 with zone; none: now")] = None
    days: Annotated[float | None, Query(gt=0, le=MAX_DAYS, description="the last so many, or from start, or until end")] = None


class ForeignAlert(BaseModel):
    """An alert as Alertmanager's API v2 takes it, and as its webhook gives it."""

    status: str = Field("", max_length=20)
    labels: dict[str, str] = Field(max_length=100)
    annotations: dict[str, str] = Field(default_factory=dict, max_length=100)
    startsAt: Foreign | None = None
    endsAt: Foreign | None = None
    generatorURL: str = Field("", max_length=2000)


class ForeignPage(BaseModel):
    """The webhook payload of version 4, as much of it as is read."""

    version: str = "4"
    receiver: str = Field("", max_length=200)
    alerts: list[ForeignAlert] = Field(max_length=MAX_IN)


def add_alert_api(server: FastAPI, pulse: Pulse) -> None:
    """Serve it on ``server``."""
    live = pulse.live

    router = APIRouter(responses={422: {"model": Failure}, 503: {"model": Failure}})
    guarded = APIRouter(responses={401: {"model": Failure}, 403: {"model": Failure}, 422: {"model": Failure}})
    _add_reading(router, live)
    _add_reports(router, live)
    _add_saying(guarded, live)
    _add_hearing(guarded, live)
    server.include_router(router)
    server.include_router(guarded)


def _oncall(live: Live) -> OnCall:
    if live.oncall is None:
        raise HTTPException(503, "Nobody is on call yet; the centre is still starting.")
    return live.oncall


def _add_reading(router: APIRouter, live: Live) -> None:
    @router.get("/api/v1/oncall")
    def desk(lang: str = "en") -> dict[str, Any]:
        """What is open: groups of alerts by severity, who was told, who took it; who has duty; how delivery does; what is wrong
        with the calendars. ``text`` says what a group is about in ``lang``."""
        said = words(lang if lang in LANGUAGES else "en")
        oncall, now_s = _oncall(live), live.clock.now().timestamp()
        groups = [
            {
                "incident": group.incident,
                "labels": dict(group.labels),
                "severity": group.severity.value,
                "summary": group.summary,
                "text": said.sentence(lead(group)),
                "opened": _time(group.opened_s),
                "told": _time(group.told_s),
                "channels": list(group.channels),
                "pages": group.number,
                "acknowledged": _time(group.acked_s),
                "acknowledged_by": group.acked_by,
                "note": group.note,
                "alerts": list(group.told)[:100],
                "count": len(group.told),
                "folded": sum(signal.folded for signal in group.shown.values()),
            }
            for group in sorted(oncall.desk.groups.values(), key=lambda group: (_ORDER.index(group.severity), group.opened_s))
        ]
        duty = {
            name: {"people": list(people), "until": _time(until_s)} for name, (people, until_s) in oncall.duty(now_s).items()
        }
        odd = [str(problem) for problem in oncall.odd[:MAX_ODD]]
        odd += [f"heartbeat {name}: {why}" for name, why in oncall.silent.items()]
        return {"time": _time(now_s), "groups": groups, "duty": duty, "delivery": oncall.health(now_s), "problems": odd}

    @router.get("/api/v1/oncall/silences")
    def silences() -> list[dict[str, Any]]:
        """Silences, maintenance windows and reservations that are known, with who and why."""
        now_s = live.clock.now().timestamp()
        found = []
        for one in _oncall(live).quiet_windows()[:MAX_PAGE]:
            shown = one.as_json()
            found.append(shown | {"start": _time(one.start_s), "end": _time(one.end_s), "active": one.active(now_s)})
        return found

    @router.get("/api/v1/alerts/{key}/picture.png", response_class=Response)
    def the_picture(key: str, lang: str = "en") -> Response:
        """The last hours of what an alert is about, as PNG; 404 where there is no such alert or nothing to draw."""
        found = next((alert for alert in live.alerts if alert.key == key), None)
        drawn = None
        if found is not None:
            labels = {"kind": found.kind, "metric": found.metric, "asset": found.asset}
            about = {"limit": found.limit, "since_s": found.since.timestamp()}
            said = words(lang if lang in LANGUAGES else "en")
            drawn = series_picture(live.store, live.site, key, labels, live.clock.now(), about, said)
        if drawn is None:
            raise HTTPException(404, "There is no such alert, or nothing to draw of it.")
        return Response(drawn, media_type="image/png", headers={"cache-control": "no-store"})

    @router.get("/api/v1/oncall/rules")
    def rules() -> list[dict[str, Any]]:
        """The rules in force, with source, reason and runbook page."""
        return [_rule(rule) for rule in _oncall(live).rules]


def _rule(rule: Rule) -> dict[str, Any]:
    shown: dict[str, Any] = plain(rule)
    return {key: value for key, value in shown.items() if value not in (None, "", [], 0.0) and key != "during"}


def _over(live: Live, last_days: float, asked: Asked) -> tuple[datetime, datetime]:
    """``[start, end)`` that is asked for, the last ``last_days`` where nothing is; an answer that says why it is none."""
    now = live.clock.now()
    if asked.span is not None:
        if asked.start or asked.end or asked.days:
            raise HTTPException(422, f"span={asked.span} says from when until when; leave out start, end and days.")
        with refused(asked.span):
            when, _ = named(live, asked.span, "centre")
        return when.start, when.end
    if asked.days and asked.start and asked.end:
        raise HTTPException(422, "start and end say from when until when; leave out days.")
    length = timedelta(days=asked.days or last_days)
    start = asked.start or (asked.end or now) - length
    end = asked.end or (start + length if asked.days else max(now, start))
    if not timedelta(0) < end - start <= MAX_SPAN:
        raise HTTPException(
            422, f"{start} to {end} is not between nothing and {MAX_SPAN.days} days; give another start or end."
        )
    return start, end


def _add_reports(router: APIRouter, live: Live) -> None:
    @router.get("/api/v1/oncall/timeline")
    def timeline(
        asked: Annotated[Asked, Depends()], limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 1000, lang: str = "en"
    ) -> list[dict[str, Any]]:
        """What began, was taken and ended, the newest first: alerts and incidents in one list. ``text`` says it in ``lang``."""
        start, end = _over(live, 1.0, asked)
        rows = []
        for topic in (ALERT_LOG, INCIDENTS):
            found = live.records.read(topic, start, end, limit, newest=True)
            rows += [{"time": when, "topic": topic, "number": number, **record} for number, when, record in found]
        rows.sort(key=lambda row: (row["time"], row["number"]), reverse=True)
        said = words(lang if lang in LANGUAGES else "en")
        spoken = [{"text": f"{phase(row, said)} {sentence(row, said)}"} for row in rows[:limit]]
        return [row | {"time": row["time"].isoformat()} | text for row, text in zip(rows, spoken, strict=False)]

    @router.get("/api/v1/oncall/audit")
    def audit(limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100) -> list[dict[str, Any]]:
        """Who acknowledged, silenced and reloaded what, the newest first."""
        found = live.records.read(AUDIT, limit=limit, newest=True)
        return [{"time": when.isoformat(), **record} for _, when, record in reversed(found)]

    @router.get("/api/v1/oncall/report")
    async def report(asked: Annotated[Asked, Depends()], lang: str = "en") -> dict[str, Any]:
        """How well it went: mean times to acknowledge and to resolve, what fires most, what nobody takes, what flaps, with
        proposals."""
        return await run_in_threadpool(_report, live, *_over(live, 30.0, asked), lang)


def _report(live: Live, start: datetime, end: datetime, lang: str) -> dict[str, Any]:
    said = words(lang if lang in LANGUAGES else "en")
    days = (min(end, max(live.clock.now(), start + timedelta(seconds=1))) - start).total_seconds() / 86400.0  # that are over
    incidents = [record for _, _, record in live.records.read(INCIDENTS, start, end, MAX_LOG, newest=True)]
    log = [(when, record) for _, when, record in live.records.read(ALERT_LOG, start, end, MAX_LOG, newest=True)]
    opened, acked = Counter[str](), Counter[str]()
    for record in incidents:
        counter = {"opened": opened, "acknowledged": acked}.get(record["what"])
        if counter is not None:
            counter.update(record["rules"])
    rules = live.oncall.rules if live.oncall else ()
    found = noise([row for row in log if row[1]["asset"] != "*"], acked, opened, days * 86400.0, rules)
    rows = []
    for one in found:
        row = plain(one)
        row["proposal"] = said.sentence(one.proposal) if one.proposal else ""
        rows.append(row)
    span = {"start": start.isoformat(), "end": end.isoformat(), "days": days}
    alerts = sum(record.get("count", 1) for _, record in log if record["phase"] == "firing")  # a storm is one record
    return {**span, "alerts": alerts, "times": plain(times(incidents)), "noise": rows, "records": len(log)}


def _add_saying(router: APIRouter, live: Live) -> None:
    @router.post("/api/v1/oncall/incidents/{incident:path}/acknowledge")
    def acknowledge(incident: str, said: AckIn, request: Request) -> dict[str, str]:
        """Take an incident: repeats and escalation end."""
        by = speaker(request, live, said.by)
        if not _oncall(live).acknowledge(incident, by, said.note, live.clock.now()):
            raise HTTPException(404, "No incident of that name is open; /api/v1/oncall lists them.")
        note(request, "incident acknowledged", about=incident, after={"by": by, "note": said.note})
        return {"incident": incident, "by": by}

    @router.post("/api/v1/oncall/silences", status_code=201)
    def silence(said: SilenceIn, request: Request) -> dict[str, Any]:
        """Keep something quiet, with who, why and until when."""
        now, by = live.clock.now(), speaker(request, live, said.author, "author")
        start = max(said.start or now, now - timedelta(minutes=5))
        try:
            made = _oncall(live).silence(said.matchers, by, said.reason, start, said.end, now).as_json()
        except ValueError as error:
            raise HTTPException(422, f"{error}.") from None
        note(request, "silence made", about=str(made.get("id", "")), after=made)
        return made

    @router.delete("/api/v1/oncall/silences/{name}")
    def end_silence(name: str, request: Request, by: Annotated[str, Query(max_length=100)] = "") -> dict[str, str]:
        """End a silence now."""
        by, known = speaker(request, live, by), _oncall(live).desk.silences
        before = next((one.as_json() for one in known if one.id == name), None)
        if not _oncall(live).end_silence(name, by, live.clock.now()):
            raise HTTPException(404, "There is no silence of that name; /api/v1/oncall/silences lists them.")
        note(request, "silence ended", about=name, before=before, after={"by": by})
        return {"id": name, "by": by}


def _add_hearing(router: APIRouter, live: Live) -> None:
    @router.post("/api/v2/alerts")
    def alerts(given: Annotated[list[ForeignAlert], Field(max_length=MAX_IN)]) -> dict[str, int]:
        """Alerts as Prometheus sends them to an Alertmanager. Those with the same labels are one, whoever sends them: of two
        replicas each tells every alert."""
        return _heard(live, given, "alertmanager")

    @router.post("/api/v1/oncall/webhook")
    def webhook(given: ForeignPage) -> dict[str, int]:
        """Alerts as an Alertmanager's or Grafana's webhook sends them."""
        return _heard(live, given.alerts, f"{WEBHOOK}{given.receiver}")


def _heard(live: Live, given: list[ForeignAlert], origin: str) -> dict[str, int]:
    oncall, now = _oncall(live), live.clock.now()
    names, now_s = names_of(live.site), now.timestamp()
    said = [
        other_of(
            live.site, names, origin, one.labels, one.annotations, _seconds(one.startsAt, now_s), _end_s(one, now_s), now_s,
            one.generatorURL,
        )
        for one in given
        if one.labels.get("origin") != OURS  # what we sent to an Alertmanager comes back from it
    ]  # fmt: skip
    oncall.hear(said, now)
    return {"taken": len(said), "unknown": sum(not one.asset for one in said)}


def _end_s(one: ForeignAlert, now_s: float) -> float:
    """When it ended, or is to end; what is resolved is over, whatever the sender's clock says."""
    end_s = _seconds(one.endsAt)
    return min(end_s if end_s == end_s else now_s, now_s) if one.status == "resolved" else end_s


def _seconds(when: datetime | None, missing: float = float("nan")) -> float:
    return missing if when is None or when.year < 1970 else when.timestamp()


def _time(time_s: float) -> str | None:
    return datetime.fromtimestamp(time_s, UTC).isoformat() if time_s == time_s and abs(time_s) != float("inf") else None
