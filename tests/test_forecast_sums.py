"""What is foreseen of parts adds up to what is foreseen of the whole."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small import rows

from analytics.family import reconciled_forecasts
from analytics.forecast import Forecast, forecast_series
from analytics.reconcile import Sums, error_covariance, reconciled, tree
from twin.frame import Floats
from twin.load import build_site

SITE_TWO_HALLS = (-1, 0, 0, 1, 1, 2, 2)  # a site, two halls, two racks each


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_parts_add_up_and_what_adds_up_stays(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sums = tree(SITE_TWO_HALLS)
    covariance = error_covariance(rng.normal(0, rng.uniform(0.1, 9, 7), (30, 7)))
    said = rng.normal(100, 30, (24, 7))
    out = reconciled(said, sums, covariance)
    assert np.abs(out @ sums.constraints().T).max() < 1e-7
    assert np.abs(reconciled(out, sums, covariance) - out).max() < 1e-7


def test_two_parts_by_hand() -> None:
    """Whole 10, parts 4 and 4, errors alike and independent: each moves by a third of the 2 that are missing."""
    sums = Sums(3, np.array([0], dtype=np.int32), (np.array([1, 2], dtype=np.int32),))
    out = reconciled(np.array([[10.0, 4, 4]]), sums, np.eye(3))
    assert out[0].tolist() == pytest.approx([10 - 2 / 3, 4 + 2 / 3, 4 + 2 / 3])
    sure = reconciled(np.array([[10.0, 4, 4]]), sums, np.diag([1e-6, 1.0, 3.0]))
    assert sure[0].tolist() == pytest.approx([10, 4.5, 5.5], abs=1e-4)  # who is unsure moves


def test_errors_shrink_in_the_mean() -> None:
    rng = np.random.default_rng(4)
    sums = tree(SITE_TWO_HALLS)
    racks = rng.normal(50, 10, (400, 4))
    halls = np.column_stack([racks[:, :2].sum(axis=1), racks[:, 2:].sum(axis=1)])
    truth = np.column_stack([halls.sum(axis=1), halls, racks])
    error = rng.normal(0, 1, (400, 7)) * np.array([3, 2, 2, 4, 4, 4, 4.0])
    covariance = error_covariance(error[:200])
    out = reconciled((truth + error)[200:], sums, covariance)
    before, after = (np.abs(x - truth[200:]).mean(axis=0) for x in ((truth + error)[200:], out))
    assert (after < before).all()


def test_correlation_counts_as_far_as_its_own_noise_leaves_it() -> None:
    """Eight errors of 1 W each way, by hand: 7 of 8 agree in sign, r = 3/4; its estimate's variance (1 - r²)/7 = 1/16 over
    r² = 9/16 takes a ninth of it. Where all agree nothing is taken; where half do nothing is left."""
    one = np.array([1.0, -1.0] * 4)
    for disagree, expected in ((1, 2 / 3), (0, 1.0), (4, 0.0), (7, -2 / 3)):
        other = 2 * np.where(np.arange(8) < disagree, -one, one)
        covariance = error_covariance(np.column_stack([one, other]))
        assert covariance == pytest.approx(np.array([[1, 2 * expected], [2 * expected, 4]]))


def test_few_or_no_errors_are_variances_only() -> None:
    some = error_covariance(np.array([[1.0, np.nan], [3.0, 2.0]]))
    assert some == pytest.approx(np.array([[5.0, 0.0], [0.0, 4.0]]))
    with pytest.raises(ValueError, match="each whole stands once"):
        Sums(3, np.array([0, 0], dtype=np.int32), (np.array([1], dtype=np.int32), np.array([2], dtype=np.int32)))


def test_halls_sum_to_the_site_and_keep_their_width() -> None:
    site = build_site("c", "UTC", rows("id=a kind=hall", "id=b kind=hall", "id=s kind=site"))
    rng = np.random.default_rng(8)
    hours = np.arange(30 * 24.0)
    halls = [p * (2 + np.sin(2 * np.pi * hours / 24)) + rng.normal(0, p / 10, len(hours)) for p in (1e6, 3e6)]
    issued = datetime.fromtimestamp(len(hours) * 3600, UTC)

    def foreseen(kind: str, row: int, values: Floats) -> Forecast:
        time_s = hours[: len(values)] * 3600
        one = forecast_series(time_s, values, issued, 24, 3600.0, kind=kind, row=row, metric="it_power_w")
        assert isinstance(one, Forecast)
        return one

    made = [foreseen("site", 0, halls[0] + halls[1]), foreseen("hall", 0, halls[0]), foreseen("hall", 1, halls[1])]
    made.append(replace(made[0], metric="facility_power_w"))
    out = reconciled_forecasts(made, site)
    assert np.abs(made[0].p50 - made[1].p50 - made[2].p50).max() > 1000
    assert np.abs(out[0].p50 - out[1].p50 - out[2].p50).max() < 1e-3
    assert out[1].p90 - out[1].p10 == pytest.approx(made[1].p90 - made[1].p10)
    assert out[3] is made[3]
    late = forecast_series(
        hours[:-1] * 3600, halls[1][:-1], made[0].issued, 24, 3600.0, kind="hall", row=1, metric="it_power_w"
    )
    assert isinstance(late, Forecast)
    out = reconciled_forecasts([*made[:2], late], site)  # the newest hour of a hall is not in the store yet
    assert np.abs(out[0].p50 - out[1].p50 - out[2].p50).max() < 1e-3
    assert reconciled_forecasts(made[:2], site) == made[:2]  # a hall is missing: nothing to add up
    assert made[0].made is not None
    unmetered = replace(made[0], made=replace(made[0].made, series=made[0].made.series * 1.05))
    apart = reconciled_forecasts([unmetered, *made[1:]], site)  # a twentieth of the IT stands in no hall
    assert [one.p50 for one in apart[:3]] == [unmetered.p50, made[1].p50, made[2].p50]
    assert "not made to add up" in str(apart[0].notes[-1])
    assert reconciled_forecasts(apart, site)[0] is apart[0]  # said once
    late = [made[0], *(foreseen("hall", row, values[:-1]) for row, values in enumerate(halls))]
    out = reconciled_forecasts(late, site)  # the halls' newest hour is not in yet: it is by their hours that they add up
    assert np.abs(late[0].p50 - late[1].p50 - late[2].p50).max() > 1000
    assert np.abs(out[0].p50 - out[1].p50 - out[2].p50).max() < 1e-3
