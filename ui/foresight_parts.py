"""What is foreseen of the centre's many parts: racks that sum to their hall, tenants that sum to the queue, the busiest links.

They are many and alike, so they are foreseen together in columns (``analytics.many``), once an hour, and made to add up to the
forecasts of what they are parts of.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np

from analytics.family import summing_to
from analytics.forecast import Forecast
from analytics.known import held
from analytics.many import MAX_SERIES, Bands, Foreseen, foresee, foreseeable
from analytics.upkeep import Window, upkeep
from energy.account.book import keys_of
from energy.account.runs import Runs, read_runs
from twin.errors import SourceError
from twin.frame import Floats, Ints
from twin.message import Message
from twin.metrics import metric
from twin.ports import How
from ui.view import Live

log = logging.getLogger(__name__)

STEP_S, DAY, HORIZON = 3600.0, 24, 24
HISTORY = timedelta(days=35)
RUNS_HISTORY = timedelta(days=15)  # notes of runs are read one by one: at most so far back
PAST_STEPS = 7 * DAY  # of history that stays beside a forecast, for its chart and to see whether parts add up
MAX_LINKS = 256  # the busiest of the last day
MAX_TENANTS, OTHERS = 64, "(others)"
TENANT, TENANT_METRIC = "tenant", "gpus_allocated_count"
LINKS = ("rx_bps", "tx_bps")
WORST_SHARE = 0.5  # by which an interval by shares is wider, as a part of what is foreseen

Windows = Mapping[tuple[str, int], Sequence[Window]]  # (kind, row) -> maintenance that takes a share of it out


def parts_foreseen(live: Live, forecasts: Sequence[Forecast], windows: Windows, now: datetime) -> tuple[Foreseen, ...]:
    """All of them; what the store cannot answer for is left out and logged."""
    end = datetime.fromtimestamp(now.timestamp() // STEP_S * STEP_S, UTC)
    found: list[Foreseen] = []
    for what, one in (("racks", _racks), ("links", _links), ("tenants", _tenants)):
        try:
            found += one(live, forecasts, windows, end, now)
        except SourceError as error:
            log.warning("no forecast of %s: %s", what, error)
    return tuple(found)


def _racks(live: Live, forecasts: Sequence[Forecast], windows: Windows, end: datetime, now: datetime) -> list[Foreseen]:
    count = min(live.site.count("rack"), MAX_SERIES)
    made = _of_assets(live, "rack", "power_w", np.arange(count, dtype=np.int32), windows, end, now)
    if made is None:
        return []
    halls = {one.row: one for one in forecasts if (one.kind, one.metric) == ("hall", "it_power_w")}
    return [summing_to(made, live.site.within("rack", "hall")[made.rows], halls)]


def _links(live: Live, forecasts: Sequence[Forecast], windows: Windows, end: datetime, now: datetime) -> list[Foreseen]:
    if not live.site.count("port"):
        return []
    day = live.store.series("port", LINKS, end - timedelta(days=1), end, 86400.0)
    rate = sum(np.nan_to_num(_last(day.values[name], len(day.rows))) for name in LINKS)
    busy = day.rows[np.argsort(-np.asarray(rate), kind="stable")[:MAX_LINKS]]
    rows = np.sort(busy).astype(np.int32)
    made = [_of_assets(live, "port", name, rows, windows, end, now) for name in LINKS]
    return [one for one in made if one is not None]


def _last(values: Floats, count: int) -> Floats:
    return values[-1] if len(values) else np.zeros(count)


def _of_assets(live: Live, kind: str, name: str, rows: Ints, windows: Windows, end: datetime, now: datetime) -> Foreseen | None:
    """Of ``rows`` of a kind those with history enough; None where there is none."""
    if not len(rows):
        return None
    start = end - HISTORY
    series = live.store.series(kind, [name], start, end, STEP_S, How.MEAN, rows)
    values = np.full((round((end - start).total_seconds() / STEP_S), len(rows)), np.nan)
    at = np.rint((series.time_s - start.timestamp()) / STEP_S).astype(np.int64)
    inside = (at >= 0) & (at < len(values))
    values[np.ix_(at[inside], np.searchsorted(rows, series.rows))] = series.values[name][inside]
    able = foreseeable(values, DAY)
    if not able.any():
        return None
    ids = live.site.ids_of(kind)
    limits = metric(kind, name)
    mine = rows[able]
    names = [ids[row] for row in mine.tolist()]
    away = [windows.get((kind, int(row)), ()) for row in mine]
    return _foreseen(kind, name, names, mine, values[:, able], end, now, (limits.low, limits.high), away)


def _foreseen(
    kind: str,
    name: str,
    names: Sequence[str],
    rows: Ints,
    values: Floats,
    end: datetime,
    now: datetime,
    limits: tuple[float, float],
    away: Sequence[Sequence[Window]] = (),
) -> Foreseen | None:
    values = values[int(np.isfinite(values).any(axis=1).argmax()) :]
    first_s = end.timestamp() - len(values) * STEP_S
    rests = {
        i: rest
        for i, mine in enumerate(away)
        if mine and (rest := upkeep(mine, values[:, i], first_s, STEP_S, HORIZON)) is not None
    }
    whole = values.copy()
    left = np.ones((HORIZON, len(names)))
    for i, rest in rests.items():
        whole[:, i], left[:, i] = rest.whole(values[:, i]), 1.0 - rest.ahead
    made = foresee(whole, HORIZON, DAY, *limits)
    if isinstance(made, Message):
        log.info("no forecast of %s %s: %s", kind, name, made)
        return None
    notes = (Message("maintenance takes part of {count} of them out", {"count": len(rests)}),) if rests else ()
    return _of_bands(kind, name, names, rows, values, end, now, made, left, notes)


def _of_bands(
    kind: str,
    name: str,
    names: Sequence[str],
    rows: Ints,
    values: Floats,
    end: datetime,
    now: datetime,
    made: Bands,
    left: Floats | float = 1.0,
    notes: Sequence[Message] = (),
) -> Foreseen:
    time_s = end.timestamp() + STEP_S * np.arange(float(len(made.p50)))
    return Foreseen(
        kind,
        name,
        names,
        rows,
        now,
        STEP_S,
        time_s,
        p10=made.p10 * left,
        p50=made.p50 * left,
        p90=made.p90 * left,
        past=values[-PAST_STEPS:],
        mase=made.mase,
        naive_mase=made.naive_mase,
        pinball_vs_naive_frac=made.pinball_vs_naive_frac,
        coverage_80_frac=made.coverage_80_frac,
        spread=made.spread,
        origins=made.origins,
        notes=notes,
    )


# tenants


def _tenants(live: Live, forecasts: Sequence[Forecast], windows: Windows, end: datetime, now: datetime) -> list[Foreseen]:
    runs = read_runs(live.records, end - RUNS_HISTORY, now, live.site.ids_of("gpu"))
    whole = next((one for one in forecasts if (one.kind, one.metric) == ("queue", TENANT_METRIC)), None)
    if not len(runs) or live.site.count("queue") != 1:
        return []
    names, values = tenants_held(runs, _whose(live, runs), end)
    able = foreseeable(values, DAY)
    rows = np.full(len(names), -1, dtype=np.int32)
    made = None
    if able.all():
        top = float(live.site.count("gpu") or np.inf)
        made = _foreseen(TENANT, TENANT_METRIC, names, rows, values, end, now, (0.0, top))
    if made is None and whole is not None:
        return [_by_share(names, rows, _held_now(runs, _whose(live, runs), names, now), values, whole, now)]
    if made is None or whole is None:
        return [] if made is None else [made]
    return [summing_to(made, np.zeros(len(names), dtype=np.int32), {0: whole})]


def _whose(live: Live, runs: Runs) -> Sequence[str]:
    """Whose each run is: its tenant's, by the operator's table or its project; where there are no projects, the partition's."""
    return keys_of(runs, "tenant" if any(runs.projects) else "partition", live.given())


def tenants_held(runs: Runs, whose: Sequence[str], end: datetime) -> tuple[list[str], Floats]:
    """(names, float64[n, tenants]): mean GPUs that each tenant held in each hour up to ``end``, from the first run known; NaN
    before it. At most ``MAX_TENANTS``, the smallest together as "(others)"."""
    first_s = max(float(np.min(runs.start_s)), (end - RUNS_HISTORY).timestamp()) // STEP_S * STEP_S
    hours = max(1, round((end.timestamp() - first_s) / STEP_S))
    edges = end.timestamp() - STEP_S * np.arange(hours, -1.0, -1.0)
    size = runs.gpus.astype(np.float64)
    group = np.array(whose, dtype=np.str_)
    spent = size * np.clip(np.minimum(runs.end_s, edges[-1]) - np.maximum(runs.start_s, edges[0]), 0.0, None)
    names, of = np.unique(group, return_inverse=True)
    order = np.argsort(-np.bincount(of, weights=spent, minlength=len(names)), kind="stable")
    if len(names) > MAX_TENANTS:
        kept = order[: MAX_TENANTS - 1]
        place = np.full(len(names), len(kept))
        place[kept] = np.arange(len(kept))
        listed = [*names[kept].tolist(), OTHERS]
    else:
        place = np.empty(len(names), dtype=np.int64)
        place[order] = np.arange(len(names))
        listed = names[order].tolist()
    of = place[of]
    columns = []
    for k in range(len(listed)):
        mine = of == k
        columns.append(held(runs.start_s[mine], runs.end_s[mine], size[mine], edges))
    return listed, np.column_stack(columns)


def _held_now(runs: Runs, whose: Sequence[str], names: Sequence[str], now: datetime) -> Floats:
    going = (runs.start_s <= now.timestamp()) & (runs.end_s > now.timestamp())
    place = {name: i for i, name in enumerate(names)}
    last = len(names) - 1  # where the smallest stand together
    of = np.array([place.get(name, last) for name in whose])
    return np.asarray(np.bincount(of[going], weights=runs.gpus[going].astype(np.float64), minlength=len(names)))


def _by_share(names: Sequence[str], rows: Ints, now_held: Floats, past: Floats, whole: Forecast, now: datetime) -> Foreseen:
    """Where there is too little history of tenants: each keeps the share that it holds now of what is foreseen of the queue."""
    share = now_held / max(float(now_held.sum()), 1.0)
    p50 = whole.p50[:, None] * share
    up = np.hypot((whole.p90 - whole.p50)[:, None] * share, WORST_SHARE * p50)
    down = np.hypot((whole.p50 - whole.p10)[:, None] * share, WORST_SHARE * p50)
    nothing = np.full(len(names), np.nan)
    note = Message("too little is known of tenants yet: each keeps the share that it holds now", {})
    bands = Bands(np.maximum(p50 - down, 0.0), p50, p50 + up, nothing, nothing, nothing, nothing, nothing, 0)
    made = _of_bands(TENANT, TENANT_METRIC, names, rows, past, now, now, bands, notes=(note,))
    return replace(made, time_s=whole.time_s)
