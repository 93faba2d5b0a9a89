"""The forecasts of one centre made to add up: what is foreseen of its halls sums to what is foreseen of the site."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from analytics.forecast import Forecast
from analytics.reconcile import Sums, error_covariance, reconciled
from analytics.replay import BLEND, Replay
from twin.frame import Floats
from twin.site import Site

SUMMED = "it_power_w"  # of the halls, to that of the site
ADDED_DAYS, MAX_GAP_FRAC = 7, 0.01  # over which, and to which part of the whole, what was measured must have added up


def reconciled_forecasts(forecasts: Sequence[Forecast], site: Site) -> list[Forecast]:
    """The same forecasts; those of IT power add up where the site and every hall have one of the same steps. The medians move
    by MinT and the bands with them: they keep the width that past errors gave them. Where what was measured of late did not add
    up (a hall without a meter, IT outside the halls) nothing is moved: the parts are not those of the whole."""
    whole = [i for i, one in enumerate(forecasts) if (one.kind, one.metric) == ("site", SUMMED)]
    halls = [i for i, one in enumerate(forecasts) if (one.kind, one.metric) == ("hall", SUMMED)]
    mine = [forecasts[i] for i in (*whole, *halls)]
    alike = all(np.array_equal(one.time_s, mine[0].time_s) and one.made is not None for one in mine)
    if not whole or not halls or len(halls) != site.count("hall") or not alike or not _added_up(mine):
        return list(forecasts)
    sums = Sums(len(mine), np.zeros(1, dtype=np.int32), (np.arange(1, len(mine), dtype=np.int32),))
    covariance = error_covariance(_errors([one.made for one in mine if one.made is not None]))
    said = np.column_stack([one.p50 for one in mine])
    moved = reconciled(said, sums, covariance) - said
    out = list(forecasts)
    for i, one, by in zip((*whole, *halls), mine, moved.T, strict=True):
        out[i] = replace(one, p10=one.p10 + by, p50=one.p50 + by, p90=one.p90 + by)
    return out


def _added_up(mine: Sequence[Forecast]) -> bool:
    """Whether the first series was the sum of the others in its newest days, in the mean."""
    tails = [one.made.series[-ADDED_DAYS * round(86400 / one.step_s) :] for one in mine if one.made is not None]
    n = min(len(tail) for tail in tails)
    whole, parts = tails[0][-n:], np.sum([tail[-n:] for tail in tails[1:]], axis=0)
    known = np.isfinite(whole) & np.isfinite(parts)
    if not known.any():
        return False
    return bool(np.abs((whole - parts)[known]).mean() <= MAX_GAP_FRAC * np.abs(whole[known]).mean())


def _errors(made: Sequence[Replay]) -> Floats:
    """float64[k, series]: mean error over the horizon at the newest past moments that all of them have."""
    columns = []
    for one in made:
        error = one.rolling.truth[:-1] - one.bands[BLEND][1][:-1]
        known = np.isfinite(error)
        count = known.sum(axis=1)
        mean = np.where(count > 0, np.where(known, error, 0.0).sum(axis=1) / np.maximum(count, 1), np.nan)
        columns.append(mean)
    k = min(len(column) for column in columns)
    return np.column_stack([column[len(column) - k :] for column in columns])
