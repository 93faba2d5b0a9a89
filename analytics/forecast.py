"""What a forecast is, whichever model made it, and how far it may be believed."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from twin.frame import Floats, Frame, Origin

BANDS = ("p10", "", "p90")


@dataclass(frozen=True, slots=True)
class Score:
    """How a model did in a rolling backtest on the series' own past, beside the seasonal naive forecast of one day.

    ``mase``: mean absolute error over that of the in-sample daily seasonal naive (Hyndman & Koehler 2006);
    ``pinball_vs_naive_frac``: mean pinball loss at 0.1, 0.5, 0.9 over that of the naive with its own residual quantiles;
    ``coverage_80_frac``: share of truths inside p10-p90; ``origins``: from how many past moments it was judged.
    """

    model: str
    mase: float
    naive_mase: float
    pinball_vs_naive_frac: float
    coverage_80_frac: float
    origins: int


@dataclass(frozen=True, slots=True, eq=False)
class Forecast:
    """Quantiles of ``metric`` of one asset: float64[h] each, for steps that start at ``time_s`` (s since 1970 UTC)."""

    kind: str
    row: int
    metric: str
    issued: datetime
    time_s: Floats
    p10: Floats
    p50: Floats
    p90: Floats
    score: Score

    def frames(self) -> Iterator[Frame]:
        """One frame a step and band, origin ``forecast``."""
        rows = np.array([self.row], dtype=np.int32)
        for i, time_s in enumerate(self.time_s):
            time = datetime.fromtimestamp(float(time_s), UTC)
            for band, column in zip(BANDS, (self.p10, self.p50, self.p90), strict=True):
                values = {self.metric: column[i : i + 1]}
                yield Frame(self.kind, time, rows, values, Origin.FORECAST, self.score.model, band, issued=self.issued)
