"""Alerts that others raise (Prometheus, Grafana, devices): mapped to our assets, so that cause and silence work on them too."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np

from analytics.alerts import Alert, Phase
from analytics.fold import DOMAINS, Conditions
from analytics.oncall.labels import Signal, labels_of
from analytics.rule import Domain, Severity
from analytics.tracks import FIRING
from twin.message import Message
from twin.site import Site

MAX_OTHERS = 10_000
TIMEOUT_S = 300.0  # of an alert that says no end and is not said again (Alertmanager: resolve_timeout 5 min)
# A webhook says when an alert is over, and says it again after its repeat_interval (4 h unless set): at the latest when
# Alertmanager has forgotten that it told it (--data.retention, 120 h), and an hour beyond.
WEBHOOK_S = 121 * 3600.0
KEPT_S = 900.0  # after its end
WEBHOOK = "webhook:"  # begins the origin of what came by one
EVENT = "event"  # the origin of what a device told by itself
MAX_LABELS, MAX_CHARS = 50, 1000
NAMING = (
    "asset",
    "gpu_uuid",
    "UUID",
    "node",
    "hostname",
    "Hostname",
    "host",
    "instance",
    "exported_instance",
    "device",
    "rack",
)
_SEVERITIES = {
    "critical": Severity.CRITICAL, "page": Severity.CRITICAL, "emergency": Severity.CRITICAL, "error": Severity.CRITICAL,
    "high": Severity.CRITICAL, "warning": Severity.WARNING, "warn": Severity.WARNING, "minor": Severity.WARNING,
    "info": Severity.INFO, "none": Severity.INFO, "notice": Severity.INFO,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Other:
    """An alert of somebody else. ``asset``: the id of ours that it is about, "" where it names none; times in s since 1970,
    ``ended_s`` NaN while it fires; ``heard_s``: when it was last said; ``until_s``: when it ends unless it is said again."""

    key: str
    origin: str
    name: str
    asset: str
    severity: Severity
    labels: Mapping[str, str]
    text: str
    link: str
    since_s: float
    ended_s: float
    heard_s: float
    breaks: Domain | None = None
    until_s: float = float("inf")

    @property
    def fires(self) -> bool:
        """Whether it has not ended."""
        return self.ended_s != self.ended_s


@dataclass(frozen=True, slots=True)
class Others:
    """What others said lately, by key."""

    known: Mapping[str, Other] = field(default_factory=dict)

    def heard(self, said: Sequence[Other], now_s: float) -> "Others":
        """With ``said`` in it, and without what ended a while ago; what still fires began when it was first said. Of more
        than ``MAX_OTHERS`` the newest are kept."""
        known = dict(self.known)
        for one in said:
            old = known.get(one.key)
            still = old is not None and old.fires
            known[one.key] = replace(one, since_s=min(one.since_s, old.since_s)) if old and still else one
        return Others(_bounded({key: one for key, one in known.items() if not _gone(one, now_s)}))

    def at(self, now_s: float) -> "Others":
        """What is not said again has ended."""
        due = [one for one in self.known.values() if one.fires and now_s > one.until_s]
        if not due and not any(_gone(one, now_s) for one in self.known.values()):
            return self
        ended = {one.key: replace(one, ended_s=now_s) for one in due}
        return Others({key: one for key, one in ({**self.known, **ended}).items() if not _gone(one, now_s)})


def _gone(one: Other, now_s: float) -> bool:
    return not one.fires and now_s - one.ended_s > KEPT_S


def _bounded(known: dict[str, Other]) -> dict[str, Other]:
    if len(known) <= MAX_OTHERS:
        return known
    newest = sorted(known.values(), key=lambda one: -one.heard_s)[:MAX_OTHERS]
    return {one.key: one for one in newest}


def other_of(
    site: Site,
    names: Mapping[str, str],
    origin: str,
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
    since_s: float,
    ended_s: float,
    now_s: float,
    link: str = "",
) -> Other:
    """An alert in Alertmanager's terms as one of ours, ``names`` as ``names_of`` gives them; ``ended_s`` NaN: it fires until it
    is said to have ended or is not said again for long (``WEBHOOK_S`` of a webhook, else ``TIMEOUT_S``); later than ``now_s``:
    until then, unless it is said again."""
    cut = {key[:100]: str(text)[:MAX_CHARS] for key, text in list(labels.items())[:MAX_LABELS]}
    name = cut.get("alertname", "alert")
    mark = hashlib.sha256("\0".join(f"{key}\1{cut[key]}" for key in sorted(cut)).encode()).hexdigest()[:16]
    text = annotations.get("summary") or annotations.get("description") or annotations.get("message") or name
    ends = ended_s if ended_s <= now_s else float("nan")
    breaks = cut.get("breaks", "")
    return Other(
        f"{origin}:{name}:{mark}",
        origin,
        name,
        asset_of(site, names, cut),
        _SEVERITIES.get(cut.get("severity", "").lower(), Severity.WARNING),
        cut,
        str(text)[:MAX_CHARS],
        link[:MAX_CHARS],
        min(since_s, now_s),
        ends,
        now_s,
        Domain(breaks) if breaks in tuple(Domain) else None,
        _until_s(origin, ended_s, now_s),
    )


def _until_s(origin: str, ended_s: float, now_s: float) -> float:
    if origin.startswith(WEBHOOK):
        return now_s + WEBHOOK_S
    return ended_s if ended_s > now_s else now_s + TIMEOUT_S


def asset_of(site: Site, names: Mapping[str, str], labels: Mapping[str, str]) -> str:
    """The asset that labels name: by id, by the vendor's id, by host name (with or without domain and port), by address; a GPU
    of a node by its number. "" where none fits."""
    for label in NAMING:
        text = labels.get(label, "")
        for form in (text, text.rsplit(":", 1)[0], text.split(".", 1)[0], text.split(":", 1)[0].split(".", 1)[0]):
            if form and (found := names.get(form)):
                return _gpu_of(site, found, labels.get("gpu", ""))
    return ""


def _gpu_of(site: Site, asset: str, number: str) -> str:
    if not number.isdigit() or site.kind(asset) != "node" or "index" not in site.numbers:
        return asset
    mine = np.flatnonzero((site.parent == site.position[asset]) & (site.numbers["index"] == float(number)))
    return site.ids[int(mine[0])] if len(mine) else asset


def names_of(site: Site) -> dict[str, str]:
    """Every name under which others may speak of an asset, and its id. An id is never another asset's name."""
    names = {asset: asset for asset in site.ids}
    for attribute in ("uuid", "hostname", "address", "name"):
        for asset, text in zip(site.ids, site.texts.get(attribute, ()), strict=False):
            if text:
                names.setdefault(text, asset)
    return names


def other_signals(
    site: Site,
    others: Others,
    causes: Mapping[str, str],
    pending: frozenset[str],
    raised: Mapping[str, Severity] | None = None,
) -> list[Signal]:
    """All of ``others`` as signals, in our labels with theirs beside; ``causes``: key -> what explains it; ``raised``: key ->
    the worst severity of what it explains, where that is worse than its own."""
    found = []
    for one in others.known.values():
        kind = _kind(site, one.asset)
        severity = (raised or {}).get(one.key, one.severity)
        ours = labels_of(site, one.name, kind, one.asset, severity, origin=one.origin)
        cause = causes.get(one.key, "")
        found.append(
            Signal(
                one.key,
                {**one.labels, **{key: text for key, text in ours.items() if text}},
                severity,
                Message("{text}", {"text": one.text}),
                one.since_s,
                one.ended_s,
                cause=cause,
                waits=cause in pending,
                origin=one.origin,
                link=one.link,
            )
        )
    return found


def other_alerts(
    site: Site,
    others: Others,
    causes: Mapping[str, str] | None = None,
    folded: Mapping[str, int] | None = None,
    raised: Mapping[str, Severity] | None = None,
) -> tuple[Alert, ...]:
    """All of ``others`` as rows of the list of alerts; each says who told it. ``causes``, ``raised``: as of ``other_signals``;
    ``folded``: key -> how many alerts it explains."""
    none, counts, worse = float("nan"), folded or {}, raised or {}
    return tuple(
        Alert(
            one.name,
            _kind(site, one.asset),
            one.asset,
            "",
            one.severity,
            Phase.FIRING if one.fires else Phase.RESOLVED,
            none,
            none,
            Message("{text} (from {origin})", {"text": one.text, "origin": _told_by(one)}),
            "",
            since := datetime.fromtimestamp(one.since_s, UTC),
            since,
            None if one.fires else datetime.fromtimestamp(one.ended_s, UTC),
            cause=(causes or {}).get(one.key, ""),
            folded=counts.get(one.key, 0),
            raised=worse.get(one.key),
            origin=one.origin,
            known_as=one.key,
        )
        for one in others.known.values()
    )


def _kind(site: Site, asset: str) -> str:
    """Nothing also of an asset that was taken out of the site while its alert was kept."""
    return site.kind(asset) if asset in site.position else ""


def _told_by(one: Other) -> str:
    """Of a device's event the source that brought it."""
    return (one.labels.get("source") if one.origin == EVENT else "") or one.origin


def other_conditions(site: Site, others: Others) -> tuple[Conditions, list[str]]:
    """Those that fire, as columns for ``analytics.fold``, and their keys."""
    mine = [one for one in others.known.values() if one.fires]
    every = (1 << len(DOMAINS)) - 1
    severities = list(Severity)
    columns = Conditions(
        np.array([site.position.get(one.asset, -1) for one in mine], dtype=np.int32),
        np.array([one.since_s for one in mine], dtype=np.float64),
        np.array([severities.index(one.severity) for one in mine], dtype=np.int16),
        np.full(len(mine), FIRING, dtype=np.uint8),
        np.array([DOMAINS.index(one.breaks) if one.breaks else -1 for one in mine], dtype=np.int8),
        np.full(len(mine), every, dtype=np.uint8),
    )
    return columns, [one.key for one in mine]
