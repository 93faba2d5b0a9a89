"""Where waiting jobs run: those whose owners agreed go to the hall or centre in which their hours are cleaner or cheaper.

Place and time are chosen together (``energy.place.between``) under what each place has room for; what a watt of IT takes there
(the facility's power over IT's) counts, and so does the energy of data that travels. A job goes only along a route that the
operator names and its owner bears (``icctwin:latency=20ms``), with data that its owner states where storage is not shared, and
starts no sooner than that is there. It goes only where the 80 % interval of its gain stays above zero: the spread of the same
move's errors in the last weeks, between both places' signals. What was moved once stays there until it runs or goes home. No
tenant's jobs wait there longer than is fair beside the others' (``energy.shift.fair``).
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np

from energy.ahead import LEAST_SHADOWS, SignalAhead, half_width, slot_time
from energy.levers import Outlook, QueueNow
from energy.levers.job_start import EXPIRES_S, GRACE_S, NO_EFFECT, WHAT, fair_due, in_turn, stands_at, usual_starts
from energy.levers.jobs_ahead import LONGEST_WAIT_S, Movable, in_turns, movable, room, waits_with_consent
from energy.levers.move_ground import Ground, ground_of
from energy.place import Travel
from energy.place.atlas import latency_class
from energy.place.between import place
from energy.plan import Gain, Plan
from energy.shift import Work
from energy.shift.fair import granted
from energy.waiting import Tally, would_start_s
from twin.frame import Floats, Ints
from twin.job import Jobs
from twin.message import Message
from twin.order import FEDERATED_ORDERS, Orders, Verb, Where, orders
from twin.site import Bools, Site
from twin.state import State

NAME = "job_move"
LEAST_FRAC = 0.02  # of what it would cost at home that a job must surely save by going elsewhere
MAX_MOVES = 500  # jobs that one plan looks at; where more wait, each looks at the next ones, so that all have their turn
SAYS = (
    "Let {count} waiting jobs run in {places} for {what}: {saving_pct:.0f} % less ({low_pct:.0f} to {high_pct:.0f}), "
    "{kwh:.0f} kWh; {gb:.0f} GB travel for {sent_kwh:.1f} kWh"
)


@dataclass(frozen=True, slots=True)
class _Move:
    """One job: its row, from which place of the ground to which, first slot there, and the one that it would start in without
    us (``begins``); energy of its run [kWh], the signal's mean as it would usually be, what is saved of it (likely and both
    ends), and what of data travels [bytes, kWh]."""

    row: int
    home: int
    there: int
    slot: int
    begins: int
    energy_kwh: float
    usual: float
    saves: Floats
    sent_bytes: float
    sent_kwh: float


@dataclass(frozen=True, slots=True)
class JobMove:
    """Moves waiting jobs between places."""

    longest_wait_s: float = LONGEST_WAIT_S
    grace_s: float = GRACE_S

    @property
    def name(self) -> str:
        """``job_move``."""
        return NAME

    def propose(self, site: Site, state: State, jobs: Jobs, outlook: Outlook, now: datetime) -> Plan | None:
        """The moves that surely save; None where nothing is to move."""
        tables: list[tuple[str, Orders]] = []
        found: list[_Move] = []
        names: set[str] = set()
        tally = Tally(outlook.queues)
        for queue in outlook.queues:
            ground = ground_of(queue, outlook, site, state, now)
            moves = self._of_queue(queue, ground, now.timestamp(), tally) if ground else []
            if ground and moves:
                tables.append((queue.name, _orders(queue, ground, moves, now.timestamp())))
                found += moves
                names |= {ground.into(move.there).name for move in moves}
        signal = next(iter(outlook.grids.values()), None)
        return _plan(signal, found, tables, names, now) if signal and found else None

    def _of_queue(self, queue: QueueNow, ground: Ground, now_s: float, tally: Tally) -> list[_Move]:
        jobs, terms, signal = queue.jobs, queue.jobs.terms, ground.signals[0]
        waits = waits_with_consent(jobs)
        waits &= (terms.reach_s > 0) & (terms.held == 0) & (terms.unfit == 0) & ~queue.resting
        # a begin time that its owner has set further ahead is the owner's; what was paused has begun where it is
        waits &= np.where(terms.noted == 1, terms.interruptible == 0, ~(terms.begin_s > now_s + self.grace_s))
        local = {position: p for p, position in enumerate(ground.at)}
        home_of = np.array([local.get(ground.atlas.at(queue.name, name), -1) for name in jobs.partitions], dtype=np.int32)
        moved = np.array([job in queue.homes for job in jobs.ids], dtype=np.bool_)
        rows = in_turns(waits & (home_of >= 0) & ~moved, now_s, MAX_MOVES)
        free = movable(queue, rows, jobs.lasts_s[rows], signal, now_s, self.longest_wait_s)
        begin_s = np.where(terms.noted[free.rows] == 1, math.nan, terms.begin_s[free.rows])
        earliest = np.maximum((np.nan_to_num(begin_s, nan=now_s) - signal.begin_s) // signal.step_s, 0).astype(np.int32)
        kept = np.flatnonzero(earliest <= free.latest)
        work = replace(free.work, earliest=earliest).only(kept)
        free = Movable(free.rows[kept], free.pool[kept], work, free.latest[kept])
        chosen = _chosen(queue, ground, free, home_of[free.rows], now_s, tally) if len(kept) else []
        return sorted(chosen, key=lambda move: move.row)


def _chosen(queue: QueueNow, ground: Ground, free: Movable, home: Ints, now_s: float, tally: Tally) -> list[_Move]:
    """Where it is cheapest together, for those for whom that surely pays and whose tenant does not wait longer than is fair;
    twice, as those who stay take their room first, and those who would wait too long go sooner."""
    work, terms, signal = free.work, queue.jobs.terms, ground.signals[0]
    left = room(queue, free.rows, signal, now_s)
    capacity = np.array([sum((left[pool] for pool in sorted(pools)), np.zeros(len(signal.ahead))) for pools in ground.pools])
    usual = usual_starts(free, left)
    data, reach_s = terms.data_bytes[free.rows], terms.reach_s[free.rows]
    shut = ground.shut(home, [queue.jobs.partitions[row] for row in free.rows.tolist()])
    base, begins = _as_usual(ground, work, home, usual, shut, capacity)
    barred = ground.barred(home, reach_s, data) | shut
    travel = Travel(home, reach_s, np.nan_to_num(data), np.zeros(len(work), dtype=np.int32), barred)
    whose = tally.whose(queue, free, begins, stands_at(queue, free, signal, now_s), signal.step_s, signal.begin_s)
    stays: Bools = np.zeros(len(work), dtype=np.bool_)
    chosen: dict[int, _Move] = {}
    for _ in range(2):
        rest = capacity.copy()
        for j in np.flatnonzero(stays).tolist():
            rest[home[j], usual[j] : usual[j] + work.length[j]] -= work.gpus[j]
        moves = np.flatnonzero(~stays)
        if not len(moves):
            break
        made = place(work.only(moves), ground.places(np.maximum(rest, 0.0)), _only(travel, moves), signal.step_s)
        chosen = {}
        for k, j in enumerate(moves.tolist()):
            there = int(made.place[k])
            if there >= 0 and there != home[j] and not made.late[k]:
                route = (int(home[j]), int(base[j]), there)
                move = _move(queue, ground, free, j, route, (int(begins[j]), int(made.running[k].argmax())))
                if move is not None:
                    chosen[j] = move
        stays[moves] = [j not in chosen for j in moves.tolist()]
        if whose is not None:
            at, worth = _waiting(chosen, whose.base)
            work = replace(work, due=fair_due(whose, work, at, granted(whose, at, worth)))
    if any(ground.into(p).cluster for p in range(len(ground.at))):  # it takes so many at a time
        first = sorted(chosen, key=lambda j: -chosen[j].energy_kwh * float(chosen[j].saves[0]))[:FEDERATED_ORDERS]
        chosen = {j: chosen[j] for j in first}
    if whose is not None:
        at, worth = _waiting(chosen, whose.base)
        fair = granted(whose, at, worth, whole=True)
        chosen = {j: move for j, move in chosen.items() if fair[j] == at[j]}
        tally.take(whose, fair, signal.step_s)
    return [chosen[j] for j in sorted(chosen)]


def _waiting(chosen: Mapping[int, _Move], base: Ints) -> tuple[Ints, Floats]:
    """Where each would start, ``chosen`` or not, and what a slot of its waiting is worth."""
    at, worth = base.copy(), np.zeros(len(base))
    for j, move in chosen.items():
        at[j], worth[j] = move.slot, float(move.saves[0]) / max(move.slot - int(base[j]), 1)
    return at, worth


def _as_usual(ground: Ground, work: Work, home: Ints, usual: Ints, shut: Bools, capacity: Floats) -> tuple[Ints, Ints]:
    """Where and from which slot on each would run without us: at home, or where a federation would have started it sooner."""
    base, begins = home.copy(), usual.copy()
    for p, rest in enumerate(capacity):
        may = np.flatnonzero((home != p) & ~shut[:, p]) if ground.into(p).cluster else np.empty(0, dtype=np.intp)
        if len(may):
            there = in_turn(work.only(may), rest)
            sooner = (there >= 0) & (there < begins[may])
            base[may[sooner]], begins[may[sooner]] = p, there[sooner]
    return base, begins


def _only(travel: Travel, rows: np.ndarray[tuple[int], np.dtype[np.intp]]) -> Travel:
    columns = (travel.home, travel.latency_s, travel.data_bytes, travel.owned, travel.barred)
    return Travel(*(column[rows] for column in columns))  # type: ignore[arg-type]


def _move(
    queue: QueueNow, ground: Ground, free: Movable, j: int, route: tuple[int, int, int], slots: tuple[int, int]
) -> _Move | None:
    """The move of one job where it surely pays. ``route``: its home, where it would run without us, and where to; ``slots``:
    its first one without us, and there."""
    (home, base, there), (usual, slot), row, length = route, slots, int(free.rows[j]), int(free.work.length[j])
    energy_kwh = float(free.work.power_w[j]) * float(queue.jobs.lasts_s[row]) / 3.6e6
    without, elsewhere = ground.signals[base], ground.signals[there]
    saves = worth(without, usual, float(ground.ratio[base]), elsewhere, slot, float(ground.ratio[there]), length)
    cost = float(ground.ratio[base] * without.ahead[usual : usual + length].mean())
    data_bytes = float(np.nan_to_num(queue.jobs.terms.data_bytes[row]))
    sent_bytes, sent_kwh = ground.sent(home, there, data_bytes)
    # where a federation would have started it elsewhere, its data would have travelled there
    without_kwh = ground.sent(home, base, data_bytes)[1]
    saves += (without_kwh * float(without.ahead.mean()) - sent_kwh * float(elsewhere.ahead.mean())) / energy_kwh
    if not saves[1] > max(LEAST_FRAC * abs(cost), 0.0):
        return None
    return _Move(row, home, there, slot, usual, energy_kwh, cost, saves, sent_bytes, sent_kwh)


def worth(
    home: SignalAhead, usual: int, home_ratio: float, there: SignalAhead, start: int, there_ratio: float, length: int
) -> Floats:
    """What ``length`` slots from ``start`` on there, rather than from ``usual`` on at home, are expected to save of the
    signal's mean (in its unit, for a kWh of IT), with its 80 % interval: likely, low, high; zeros where too little is known.

    As ``SignalAhead.gain``: corrected by, and as wide as, the errors of the same move in the last weeks."""
    last = max(usual, start) + length
    if last > len(home.ahead):
        return np.zeros(3)
    back = max(home.back(last), there.back(last))
    errors = home_ratio * home.misses(usual, length, back) - there_ratio * there.misses(start, length, back)
    errors = errors[np.isfinite(errors)]
    if len(errors) < LEAST_SHADOWS:
        return np.zeros(3)
    expected = home_ratio * home.ahead[usual : usual + length].mean() - there_ratio * there.ahead[start : start + length].mean()
    likely, half = float(expected + errors.mean()), half_width(errors)
    return np.array([likely, likely - half, likely + half])


def _orders(queue: QueueNow, ground: Ground, moves: Sequence[_Move], now_s: float) -> Orders:
    jobs, signal = queue.jobs, ground.signals[0]
    ids, texts, begins, was, where = list[str](), list[str](), list[float](), list[float](), list[Where]()
    for move in moves:
        own_s = float(jobs.terms.begin_s[move.row])
        sent_s = ground.atlas.transfer_s(ground.at[move.home], ground.at[move.there], move.sent_bytes)
        begin_s = signal.begin_s + move.slot * signal.step_s
        begin_s += signal.step_s * max(math.ceil((now_s + sent_s - begin_s) / signal.step_s), 0) if sent_s > 0 else 0.0
        begin_s = begin_s if begin_s > now_s else 0.0
        if jobs.terms.noted[move.row] == 0 and own_s > now_s:
            begin_s = max(begin_s, own_s)
        ids.append(jobs.ids[move.row])
        begins.append(begin_s)
        was.append(own_s if own_s > signal.begin_s else math.nan)
        where.append((jobs.partitions[move.row], ground.takes(move.there, jobs.partitions[move.row])))
        texts.append(_note(ground, move, jobs.ids[move.row], begin_s, now_s))
    rows = np.array([move.row for move in moves], dtype=np.int32)
    usual_s = np.maximum(signal.begin_s + signal.step_s * np.array([move.begins for move in moves]), now_s)
    would_s = would_start_s(queue, rows, usual_s)
    return orders(Verb.MOVE, ids, np.array(begins), texts, expected=np.array(was), where=where, would_s=would_s)


def _note(ground: Ground, move: _Move, job: str, begin_s: float, now_s: float) -> str:
    """What the owner of a job reads."""
    signal, atlas = ground.signals[move.home], ground.atlas
    away = latency_class(float(atlas.latency_s[ground.at[move.home], ground.at[move.there]]))
    what = WHAT.get(signal.metric, "a better hour")
    when = f" at {datetime.fromtimestamp(begin_s, UTC):%m-%d %H:%M} UTC" if begin_s > now_s else ""
    less = f"about {move.saves[0] / abs(move.usual):.0%} less" if move.usual else "less"
    off = f"scontrol update job={job} comment=icctwin:off"
    return f"runs in {ground.into(move.there).name} ({away} away){when} for {what}, {less}; to go home: {off}"


def _plan(
    signal: SignalAhead, moves: Sequence[_Move], tables: Sequence[tuple[str, Orders]], names: set[str], now: datetime
) -> Plan:
    energy_kwh, usual = (np.array([getattr(move, name) for move in moves]) for name in ("energy_kwh", "usual"))
    total = float(energy_kwh @ usual)
    frac = -(energy_kwh @ np.array([move.saves for move in moves])) / abs(total) if total else np.zeros(3)
    basis = signal.basis(min(signal.day, len(signal.ahead)))
    gain = Gain(signal.metric, float(energy_kwh.sum()), float(frac[0]), float(frac[2]), float(frac[1]), str(basis))
    said: Mapping[str, float | int | str] = {
        "count": len(moves),
        "places": ", ".join(sorted(names)),
        "what": WHAT.get(signal.metric, "a better hour"),
        "saving_pct": -100 * gain.change_frac,
        "low_pct": -100 * gain.high_frac,
        "high_pct": -100 * gain.low_frac,
        "kwh": gain.energy_kwh,
        "gb": sum(move.sent_bytes for move in moves) / 1e9,
        "sent_kwh": sum(move.sent_kwh for move in moves),
    }
    text = ";".join(
        f"{name}/{job}={to[1]}@{begin_s:.0f}"
        for name, table in tables
        for job, to, begin_s in zip(table.targets, table.where, table.values, strict=True)
    )
    key = f"{NAME}:{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    effect = replace(NO_EFFECT, horizon_s=len(signal.ahead) * signal.step_s)
    expires = min(now + timedelta(seconds=EXPIRES_S), slot_time(signal, 2))
    return Plan(key, NAME, (), Message(SAYS, dict(said)), effect, now, expires, tuple(tables), gain)


def build() -> JobMove:
    """The lever with its documented parameters."""
    return JobMove()
