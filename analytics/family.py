"""The forecasts of one centre made to add up: what is foreseen of its halls sums to what is foreseen of the site, racks sum to
their hall, tenants to the queue."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from analytics.forecast import Forecast
from analytics.many import Foreseen
from analytics.reconcile import Sums, error_covariance, reconciled
from analytics.replay import BLEND
from twin.frame import Floats, Ints
from twin.message import Message
from twin.site import Site

SUMMED = "it_power_w"  # of the halls, to that of the site
ADDED_DAYS, MAX_GAP_FRAC = 7, 0.01  # over which, and to which part of the whole, what was measured must have added up
APART = Message("the halls are not made to add up to the site: what was measured of late did not, or is of other hours")
MOST_ROUNDS = 20  # of sharing out what those at the bottom could not give


def reconciled_forecasts(forecasts: Sequence[Forecast], site: Site) -> list[Forecast]:
    """The same forecasts; those of IT power add up where the site and every hall have one of the same steps. The medians move
    by MinT and the bands with them: they keep the width that past errors gave them. Where what was measured of late did not add
    up (a hall without a meter, IT outside the halls) nothing is moved: the parts are not those of the whole; the site's
    forecast says so."""
    whole = [i for i, one in enumerate(forecasts) if (one.kind, one.metric) == ("site", SUMMED)]
    halls = [i for i, one in enumerate(forecasts) if (one.kind, one.metric) == ("hall", SUMMED)]
    mine = [forecasts[i] for i in (*whole, *halls)]
    out = list(forecasts)
    if not whole or not halls or len(halls) != site.count("hall"):
        return out
    alike = all(np.array_equal(one.time_s, mine[0].time_s) and one.made is not None for one in mine)
    if not alike or not _added_up(mine):
        if APART not in mine[0].notes:
            out[whole[0]] = replace(mine[0], notes=(*mine[0].notes, APART))
        return out
    sums = Sums(len(mine), np.zeros(1, dtype=np.int32), (np.arange(1, len(mine), dtype=np.int32),))
    covariance = error_covariance(_errors(mine))
    said = np.column_stack([one.p50 for one in mine])
    moved = reconciled(said, sums, covariance) - said
    for i, one, by in zip((*whole, *halls), mine, moved.T, strict=True):
        out[i] = replace(one, p10=one.p10 + by, p50=one.p50 + by, p90=one.p90 + by)
    return out


def _added_up(mine: Sequence[Forecast]) -> bool:
    """Whether the first series was the sum of the others in the days before what is foreseen, in the mean; hour by hour, for
    the newest of one may not be in yet."""
    step_s, end_s = mine[0].step_s, float(mine[0].time_s[0])
    steps = ADDED_DAYS * round(86400 / step_s)
    table = np.full((steps, len(mine)), np.nan)
    for column, one in zip(table.T, mine, strict=True):
        series = np.empty(0) if one.made is None else one.made.series
        at = steps + round((one.first_s - end_s) / step_s) + np.arange(len(series))
        inside = (at >= 0) & (at < steps)
        column[at[inside]] = series[inside]
    whole, parts = table[:, 0], table[:, 1:].sum(axis=1)
    known = np.isfinite(whole) & np.isfinite(parts)
    if not known.any():
        return False
    return bool(np.abs((whole - parts)[known]).mean() <= MAX_GAP_FRAC * np.abs(whole[known]).mean())


def _errors(mine: Sequence[Forecast]) -> Floats:
    """float64[k, series]: mean error over the horizon at each past moment that any of them has, NaN where one has it not."""
    columns: list[dict[int, float]] = []
    for one in mine:
        if one.made is None:
            continue
        error = one.made.rolling.truth[:-1] - one.made.bands[BLEND][1][:-1]
        known = np.isfinite(error)
        count = known.sum(axis=1)
        mean = np.where(count > 0, np.where(known, error, 0.0).sum(axis=1) / np.maximum(count, 1), np.nan)
        moments = round(one.first_s / one.step_s) + one.made.rolling.origins[:-1]
        columns.append(dict(zip(moments.tolist(), mean.tolist(), strict=True)))
    every = sorted({moment for column in columns for moment in column})
    return np.array([[column.get(moment, np.nan) for column in columns] for moment in every])


def summing_to(parts: Foreseen, whole_of: Ints, wholes: Mapping[int, Forecast], lowest: float = 0.0) -> Foreseen:
    """``parts`` moved so that those of each whole sum to its forecast at every step that both have. ``whole_of``: int32[s], of
    each part the key in ``wholes``. Each moves as far as it is unsure (MinT with the whole held fixed: it comes from the better
    procedure), its band with it, and none below ``lowest``. Parts that did not add up to their whole of late stay as they are,
    which a note says."""
    apart = 0
    p10, p50, p90 = parts.p10.copy(), parts.p50.copy(), parts.p90.copy()
    for key, whole in wholes.items():
        mine = np.flatnonzero(whole_of == key).astype(np.int32)
        at = np.searchsorted(whole.time_s, parts.time_s)
        inside = at < len(whole.time_s)
        if not len(mine) or not inside.any():
            continue
        if not _parts_added_up(parts, mine, whole):
            apart += 1
            continue
        total = whole.p50[at[inside]]
        said = p50[np.ix_(inside, mine)]
        moved = _moved(said, total, parts.spread[mine] ** 2, lowest) - said
        for band in (p10, p50, p90):
            band[np.ix_(inside, mine)] = np.maximum(band[np.ix_(inside, mine)] + moved, lowest)
    text = "the parts of {count} wholes did not add up to them of late: their forecasts do not either"
    note = Message(text, {"count": apart})
    return replace(parts, p10=p10, p50=p50, p90=p90, notes=(*parts.notes, note) if apart else parts.notes)


def _moved(said: Floats, total: Floats, variance: Floats, lowest: float) -> Floats:
    """float64[h, s] that sums to ``total`` (float64[h]): what is missing shared by variance, save to who is at the bottom."""
    share = np.maximum(variance, variance.max(initial=0.0) * 1e-6 + 1e-300)
    out = said.copy()
    for _ in range(MOST_ROUNDS):
        missing = total - out.sum(axis=1)
        if np.abs(missing).max() <= 1e-9 * max(float(np.abs(total).max()), 1.0):
            break
        free = (out > lowest) | (missing > 0)[:, None]
        weight = np.where(free, share, 0.0)
        out = np.maximum(out + missing[:, None] * weight / np.maximum(weight.sum(axis=1, keepdims=True), 1e-300), lowest)
    return out


def _parts_added_up(parts: Foreseen, mine: Ints, whole: Forecast) -> bool:
    """Whether ``mine`` of the parts summed to the whole in their newest days, in the mean."""
    if whole.made is None:
        return False
    end_s = float(parts.time_s[0])
    first = round((end_s - len(parts.past) * parts.step_s - whole.first_s) / parts.step_s)
    at = first + np.arange(len(parts.past))
    inside = (at >= 0) & (at < len(whole.made.series))
    measured = np.where(inside, whole.made.series[np.clip(at, 0, len(whole.made.series) - 1)], np.nan)
    summed = parts.past[:, mine].sum(axis=1)
    known = np.isfinite(measured) & np.isfinite(summed)
    if not known.any():
        return False
    return bool(np.abs((measured - summed)[known]).mean() <= MAX_GAP_FRAC * np.abs(measured[known]).mean())
