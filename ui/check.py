"""``icctwin check``: reaches everything that a configuration names, and says of each how it went."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from time import perf_counter

import numpy as np

from analytics.oncall.schedule import Schedule
from energy.account.grids import Supply
from energy.account.tariff import Tariff
from energy.place.atlas import Place
from ingest.precedence import FIRST
from ingest.registry import Inlet
from ingest.stores.registry import open_kept
from ingest.sums import ADDED
from twin.errors import ConfigError, SourceError
from twin.frame import Frame, Ints, Origin
from twin.meters import connection
from twin.metrics import metric
from twin.ports import Capacity, Hearing, Manifold, Naming, Queue, Source, Troubled
from twin.site import Site
from ui.app import WHOLE, prepared
from ui.certificate import stands
from ui.config import Config, StoreSection
from ui.given import given_of
from ui.oncall.file import OnCallFile

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
WEEK_S = 7 * 86400.0
WAIT_S = 10  # for each answer
AT_ONCE = 64  # sources that are asked at the same time
LISTEN_S, QUIET_S = 8.0, 1.5  # how long one that listens has for a first message, and for another after one
OURS = ("source", "task", "process")  # kinds that icctwin adds for itself
MAX_NAMES = 8  # unmapped names in a sentence; a program gets all that the source remembers
MAX_TROUBLES = 20  # failing endpoints of one source

NOT_MEASURED = "PUE, cost and carbon of the facility are not measured"

Row = dict[str, object]


async def reach(config: Config, now: datetime) -> list[Row]:
    """A row (what, name, ok, says) for site, rules, each source, each queue and the store. ``ConfigError`` where the
    configuration itself is wrong."""
    ready = prepared(config, WHOLE, now)
    site, opened, rules, told, atlas = ready.site, ready.opened, ready.rules, ready.told, ready.atlas
    given = given_of(config.energy, site)
    schedules, _ = told.calendars(now)
    odd = [_row("calendar", one.where, one.what, ok=False) for one in told.read_calendars(now).left_out]
    links = sum(len(of.source) for of in site.links.values())
    ours = sum(site.count(kind) for kind in OURS)
    rows = [
        _row("site", site.name, f"{len(site.ids) - ours} assets ({site.count('gpu')} GPUs), {links} links"),
        _row("rules", str(rules.path), f"{len(rules.rules)} rules"),
        _row("on call", str(config.alerts.oncall or "nobody is told"), _people(told, schedules, now.timestamp())),
        *odd,
    ]
    if given.tariff is not None:
        rows.append(_tariff(given.tariff, now))
    if config.wall.tls_cert and config.wall.tls_key:
        good, says = stands(config.wall.tls_cert, config.wall.tls_key, now)
        rows.append(_row("certificate", str(config.wall.tls_cert), says, ok=good))
    if site.count("grid") > 1:
        rows.append(_grids(site, given.supply))
    sections = zip(config.sources, opened, strict=True)
    tellers = _Tellers(site, {source.name: said.precedence for said, one in sections for source in one.sources})
    pushed = {inlet.name for one in opened for inlet in one.inlets}
    read = [source for one in opened for source in one.sources if source.name not in pushed]
    looks = dict(zip((source.name for source in read), await _looks(read, now), strict=True))
    for one in opened:
        rows += [_inlet(inlet) for inlet in one.inlets]
        for name in (source.name for source in one.sources if source.name in looks):
            said, frames = looks[name]
            tellers.see(name, frames)
            rows += said
        rows += [await _asked("queue", queue.name, _jobs(queue, now)) for queue in one.queues]
        places = [(atlas.places[i], queue) for queue in one.queues for i in atlas.of(queue.name)]
        rows += [await _asked("place", place.name, _found(place, queue, now)) for place, queue in places]
        for source in one.sources:  # a queue may have opened its source's connection again
            await source.close()
    return [*rows, _facility(site, tellers), *tellers.rows(), _store(config, site)]


def _tariff(tariff: Tariff, now: datetime) -> Row:
    if tariff.holds(np.array([now.timestamp()]))[0]:
        return _row("tariff", tariff.name, f"holds until {tariff.until or 'another is named'}")
    says = f"ended on {tariff.until}: what was taken since has no price; name the one that holds in [energy]"
    return _row("tariff", tariff.name, says, ok=False)


def _grids(site: Site, supply: Supply | None) -> Row:
    """Which hall hangs on which grid."""
    ids, halls = site.ids_of("grid"), site.ids_of("hall")
    if supply is not None and not supply.said:
        says = "nothing says which hall hangs on which, so the centre has no carbon intensity and no grid price; link"
        says = f"{says} grid and hall by feeds, or name both in [[energy.place]]"
        return _row("grids", ", ".join(ids[:MAX_NAMES]), says, ok=False)
    on = supply.grids if supply is not None else np.zeros(len(halls), dtype=np.int32)
    fed = {id_: [halls[i] for i in np.flatnonzero(on == row)[:MAX_NAMES]] for row, id_ in enumerate(ids[:MAX_NAMES])}
    says = "; ".join(f"{id_}: {', '.join(names) or 'no hall'}" for id_, names in fed.items())
    return _row("grids", ", ".join(ids[:MAX_NAMES]), says)


def _people(file: OnCallFile, schedules: Sequence[Schedule], now_s: float) -> str:
    said = f"{len(file.lines)} channels, {len(file.policy.routes)} routes"
    names = ", ".join(one.name for one in file.beats)
    said += f"; heartbeats: {names}" if names else "; no heartbeat: nobody outside would miss icctwin"
    for one in schedules:
        gaps = one.unmanned(now_s, now_s + WEEK_S)
        if gaps:
            hours = sum(end_s - start_s for start_s, end_s in gaps) / 3600
            said += f"; nobody has duty by {one.name} for {hours:.0f} h of the next week"
    return said


async def _asked(what: str, name: str, answer: Awaitable[str]) -> Row:
    try:
        async with asyncio.timeout(WAIT_S):
            return _row(what, name, await answer)
    except SourceError as error:
        return _row(what, name, str(error), ok=False)
    except TimeoutError:
        return _row(what, name, f"no answer within {WAIT_S} s; the endpoint or the network is slow", ok=False)


def _inlet(inlet: Inlet) -> Row:
    try:
        inlet.opens("")
    except SourceError as error:
        return _row("source", inlet.name, str(error), ok=False)
    return _row("source", inlet.name, "takes what is pushed with its token, while icctwin is up")


class _Tellers:
    """Which source tells each metric of each asset, and which two tell the same one: nobody adds them, and only ``precedence``
    (of each source) picks the better."""

    def __init__(self, site: Site, precedence: Mapping[str, int]) -> None:
        self._site, self._precedence, self._names = site, precedence, list[str]()
        self._who: dict[tuple[str, str], Ints] = {}  # of each asset its source, -1 where there is none
        self._twice: dict[tuple[str, str, int, int], list[int]] = {}

    def see(self, source: str, frames: Sequence[Frame]) -> None:
        """What ``source`` tells."""
        me = len(self._names)
        self._names.append(source)
        for frame in frames:
            if frame.origin is not Origin.MEASURED or frame.kind == "source":
                continue
            for name in frame.values.keys() - set(ADDED.get(frame.kind, ())):
                rows = frame.rows[~np.isnan(frame.values[name])]
                none = np.full(self._site.count(frame.kind), -1, dtype=np.int32)
                who = self._who.setdefault((frame.kind, name), none)
                for other in np.unique(who[rows]).tolist():
                    if other not in (-1, me):
                        self._twice.setdefault((frame.kind, name, other, me), []).extend(rows[who[rows] == other].tolist())
                who[rows] = np.where(who[rows] == -1, me, who[rows])

    def rows(self) -> list[Row]:
        """A row for each metric and pair of sources, at most ``MAX_TROUBLES``."""
        made = []
        for (kind, name, one, other), at in list(self._twice.items())[:MAX_TROUBLES]:
            more = f" and {len(set(at)) - 1} more" if len(set(at)) > 1 else ""
            asset = f"{self._site.ids_of(kind)[at[0]]}{more}"
            first, second = sorted((self._names[one], self._names[other]), key=self._number)
            if self._number(first) < self._number(second):
                says = f"{name} is told by {first}, which counts, and by {second}, which counts where {first} is stale"
                made.append(_row("twice", asset, says))
                continue
            what = f"{name} is told by {self._names[one]} and by {self._names[other]}; both are kept and the newest is shown"
            made.append(_row("twice", asset, f"{what}: give one precedence = 2, or take it out of one mapping"))
        return made

    def tells(self, asset: str, metric: str) -> bool:
        """Whether any source told a value of ``metric`` of ``asset``."""
        who = self._who.get((self._site.kind(asset), metric))
        return who is not None and int(who[self._site.row(asset)]) >= 0

    def _number(self, source: str) -> int:
        return self._precedence.get(source, FIRST)


def _facility(site: Site, tellers: _Tellers) -> Row:
    """What tells the power of the facility, on which PUE, cost and carbon rest, or why nothing does."""
    top = [site.ids[i] for i in connection(site).tolist()]
    if tellers.tells(site.ids[site.of_kind("site")[0]], "facility_power_w"):
        return _row("facility", "power", "from a source that tells facility_power_w of the site")
    if top:
        silent = [asset for asset in top if not tellers.tells(asset, "power_w")]
        said = "from " + ", ".join(f"{site.kind(asset)} {asset}" for asset in top[:MAX_NAMES])
        lacks = f"; no power was heard of {', '.join(silent[:MAX_NAMES])} in this look: {NOT_MEASURED} until all are read"
        return _row("facility", "power", said + (lacks if silent else ""))
    meters = site.of_kind("meter")
    in_site = meters[site.parent[meters] == site.of_kind("site")[0]]
    names = ", ".join(site.ids[i] for i in (in_site if len(in_site) else meters)[:MAX_NAMES].tolist())
    if not len(meters):
        why = "the site has no meter; add the one of its connection, directly in the site"
    elif not len(in_site):
        why = f"{names}: no meter stands directly in the site; leave the parent of the one at the connection empty"
    else:
        why = f"{names}: several meters stand directly in the site; link those at the connection by feeds to what they feed"
    return _row("facility", "power", f"nothing tells it: {why}; {NOT_MEASURED} without it")


@dataclass(slots=True)
class _Look:
    """What a source told until now, and how many series it could not place at most: a bus is silent about them in between."""

    frames: list[Frame] = field(default_factory=list)
    answered: bool = False
    unmapped: int = 0
    names: Sequence[str] = ()

    def take(self, source: Source, frames: Sequence[Frame]) -> None:
        """A further reading of it."""
        self.frames.extend(frames)
        self.answered = True
        if source.unmapped > self.unmapped:
            self.unmapped, self.names = source.unmapped, list(source.unmapped_names) if isinstance(source, Naming) else ()

    @property
    def values(self) -> int:
        """Different values, however often they came."""
        told: dict[tuple[str, str], list[Ints]] = {}
        for frame in self.frames:
            for name, column in frame.values.items():
                told.setdefault((frame.kind, name), []).append(frame.rows[~np.isnan(column)])
        return sum(len(np.unique(np.concatenate(rows))) for rows in told.values())


async def _looks(sources: Sequence[Source], now: datetime) -> list[tuple[list[Row], Sequence[Frame]]]:
    """Of each source its rows and what it told, in their order: a hundred that are switched off cost the time of a few."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(source: Source) -> tuple[list[Row], Sequence[Frame]]:
        async with places:
            look = _Look()
            return await _source_rows(source, look, now), look.frames

    return await asyncio.gather(*map(one, sources))


async def _source_rows(source: Source, look: _Look, now: datetime) -> list[Row]:
    """A row for ``source``, and one for each endpoint that fails of one that has many."""

    async def read() -> str:
        try:
            async for frames in _heard(source, now):
                look.take(source, frames)
        finally:
            await source.close()
        return _told(source, look)

    row = await _asked("source", source.name, read())
    if look.answered:
        row |= {"values": look.values, "values_per_s": look.values / source.every_s}
        row |= {"unmapped": look.unmapped, "unmapped_names": list(look.names)}
    if late := _late(source, look.frames):
        row |= {"ok": False, "says": f"{row['says']}; {late[0]}"}
    troubles = source.troubles if isinstance(source, Troubled) else {}
    shown = list(troubles.items())[:MAX_TROUBLES] if look.answered else []
    rows = [row, *(_row("target", f"{source.name}: {name}"[:100], why, ok=False) for name, why in shown)]
    if len(troubles) > len(shown) and shown:
        rows.append(_row("target", source.name, f"{len(troubles) - len(shown)} more of its targets fail", ok=False))
    return rows


def _listens(source: Source) -> bool:
    return isinstance(source, Hearing) and source.listens


async def _heard(source: Source, now: datetime) -> AsyncIterator[Sequence[Frame]]:
    """What ``source`` tells. One that listens has time until somebody speaks, and for those who speak then."""
    began_s = perf_counter()
    ends_s = began_s + (LISTEN_S if _listens(source) else 0.0)
    spoken_s = math.inf
    while True:
        try:
            frames = await source.poll(now + timedelta(seconds=perf_counter() - began_s))
        except SourceError:
            if not source.unmapped or perf_counter() >= ends_s:
                raise
            frames = ()  # only strangers have spoken yet
        at_s = perf_counter()
        if any(frame.samples for frame in frames):
            spoken_s = at_s
        yield frames
        if at_s >= min(ends_s, spoken_s + QUIET_S):
            return
        await asyncio.sleep(0.25)


def _late(source: Source, frames: Sequence[Frame]) -> list[str]:
    """What is read so seldom that it is stale before it is read again; empty where nothing is."""
    told = {(frame.kind, name) for frame in frames if frame.origin is Origin.MEASURED for name in frame.values}
    ages = {f"{kind} {name}": metric(kind, name).max_age_s for kind, name in sorted(told) if kind != "source"}
    soonest = min(ages, key=ages.__getitem__, default="")
    if not soonest or source.every_s <= ages[soonest]:
        return []
    count = sum(age_s < source.every_s for age_s in ages.values())
    more = f" (and {count - 1} more)" if count > 1 else ""
    return [f"{soonest}{more} is stale before it is read again: it counts for {ages[soonest]:g} s; lower every_s (seconds)"]


def _told(source: Source, look: _Look) -> str:
    said = f"{look.values} values every {source.every_s:g} s ({look.values / source.every_s:.4g}/s)"
    if silent := _listens(source) and not look.values:
        said = f"connected; in {LISTEN_S:g} s nothing came that its mapping knows: it is seldom said, or under another name"
    if isinstance(source, Manifold):
        said += f" of {source.targets - source.targets_down} of {source.targets} targets"
    if not look.unmapped:
        return said if silent else f"{said}, every series has its place"
    listed = ", ".join(look.names[:MAX_NAMES]) + (", …" if len(look.names) > MAX_NAMES else "")
    return f"{said}, {look.unmapped} series belong to nothing known{': ' + listed if listed else ''}"


async def _jobs(queue: Queue, now: datetime) -> str:
    jobs = await queue.jobs(now)
    odd = [jobs.ids[i] for i in np.flatnonzero(jobs.terms.unread).tolist()]
    listed = ", ".join(odd[:MAX_NAMES]) + (", …" if len(odd) > MAX_NAMES else "")
    left = f"; what the owners of {len(odd)} say of icctwin cannot be read, and they are left alone: {listed}" if odd else ""
    return f"{len(jobs)} jobs{left}"


async def _found(place: Place, queue: Queue, now: datetime) -> str:
    """Whether the scheduler knows the partitions of a place, and says what stands in them."""
    if not isinstance(queue, Capacity):
        raise SourceError(f"{queue.name} does not say which partitions it has; no job is moved there")
    cluster = await queue.cluster(now)
    known, names = ", ".join(cluster.partitions[:MAX_NAMES]), place.of(cluster.partitions)
    missing = [name for name in place.partitions if name not in names]
    if missing:
        raise SourceError(f"{queue.name} has no partition {missing[0]!r}; it has {known}")
    if not names:
        raise SourceError(f"{queue.name} has no cluster {place.cluster!r}, or is no federation; its partitions are {known}")
    at = [cluster.partitions.index(name) for name in names]
    nodes = len(set(cluster.partition_nodes[np.isin(cluster.partition_nodes[:, 0], at), 1].tolist()))
    return f"{', '.join(place.says)} of {queue.name}: {nodes} nodes, on {place.grid}"


def _store(config: Config, site: Site) -> Row:
    """Written to, if nobody does; a running icctwin holds it, and then reading it is what can be tried."""
    kept = config.store
    try:
        if kept.type != "embedded":
            return _row("store", kept.place, _asked_once(kept, site))
        open_kept(kept, site).close()
    except ConfigError as error:
        try:
            open_kept(kept, site, readonly=True).close()
        except (ConfigError, SourceError):
            return _row("store", kept.place, error.problems[0].what, ok=False)
        return _row("store", kept.place, "can be read; another icctwin writes it")
    except SourceError as error:
        return _row("store", kept.place, str(error), ok=False)
    return _row("store", kept.place, "can be written")


def _asked_once(kept: StoreSection, site: Site) -> str:
    """A store on a server: an empty append opens nothing, so a question is asked."""
    store = open_kept(kept, site)
    try:
        store.series("site", ["it_power_w"], EPOCH, EPOCH + timedelta(hours=1), 3600.0)
    finally:
        store.close()
    return "answers"


def _row(what: str, name: str, says: str, *, ok: bool = True) -> Row:
    return {"what": what, "name": name, "ok": ok, "says": says}
