"""Emission factors of Chinese grids: annual averages, dated and sourced. China publishes no hourly series.

Location-based accounts use the factor of the region (or nation) that the centre stands in; there is no residual mix, so a
market-based account uses the same for what no contract covers. Replace a factor by your auditor's where that is newer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

_2023 = "MEE and NBS, announcement on electricity CO2 emission factors of 2023 (as printed by Guangming Daily)"
_2022 = "MEE and NBS, announcement on electricity CO2 emission factors of 2022, 2024-12-20"


@dataclass(frozen=True, slots=True)
class Factor:
    """``kg_per_kwh``: kg CO2 for each kWh taken from the grid, mean over ``year``; ``names``: how people call the region."""

    region: str
    kg_per_kwh: float
    year: int
    source: str
    names: tuple[str, ...] = ()

    @property
    def gco2_per_kwh(self) -> float:
        """In the unit of the metric table."""
        return 1e3 * self.kg_per_kwh


_ROWS = (
    Factor("CN", 0.5306, 2023, _2023, ("China", "全国")),
    Factor("CN-north", 0.6361, 2023, _2023, ("North China", "华北")),
    Factor("CN-northeast", 0.5122, 2023, _2023, ("Northeast China", "东北")),
    Factor("CN-east", 0.5500, 2023, _2023, ("East China", "华东")),
    Factor("CN-central", 0.5271, 2023, _2023, ("Central China", "华中")),
    Factor("CN-northwest", 0.5543, 2023, _2023, ("Northwest China", "西北")),
    Factor("CN-south", 0.4042, 2023, _2023, ("South China", "南方")),
    Factor("CN-southwest", 0.2472, 2023, _2023, ("Southwest China", "西南")),
    Factor("CN", 0.5366, 2022, _2022, ("China", "全国")),
)
REGIONS = tuple(dict.fromkeys(row.region for row in _ROWS))
FACTORS: Mapping[tuple[str, int], Factor] = MappingProxyType({(row.region, row.year): row for row in _ROWS})


def factor_of(region: str, year: int | None = None) -> Factor:
    """The factor of ``region`` (its id or a name of it), of ``year`` or else the newest. ``KeyError`` with one sentence where
    there is none: a year without a factor is never given another's without being asked."""
    mine = [row for row in _ROWS if region == row.region or region in row.names]
    if not mine:
        raise KeyError(f"no emission factor for {region!r}; regions are {', '.join(REGIONS)}")
    if year is None:
        return max(mine, key=lambda row: row.year)
    for row in mine:
        if row.year == year:
            return row
    raise KeyError(f"no emission factor of {region} for {year}; there are those of {', '.join(str(row.year) for row in mine)}")
