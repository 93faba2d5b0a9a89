"""The field's ratios, each from energies of one period. A ratio whose parts are not known is NaN, never a guess.

Definitions: PUE ISO/IEC 30134-2 (the edition of 2016 was withdrawn in 2026; the ratio stands), REF -3, ERF -6, CUE -8, WUE -9;
SCI ISO/IEC 21031:2024. Over less than a year they are interim figures and are named so by ``energy.kpi.pue_name``.
"""

import math
from dataclasses import dataclass

NOTHING = float("nan")


def _over(part: float, whole: float) -> float:
    return part / whole if whole > 0 else NOTHING


@dataclass(frozen=True, slots=True)
class Indicators:
    """``pue_ratio``: all energy over IT energy; ``ppue_ratio``: the same of a part of the infrastructure (here cooling: IT plus
    cooling over IT); ``wue_kg_per_kwh``: water over IT energy (a kg is a litre); ``cue_kg_per_kwh``: CO2 over IT energy,
    location-based; ``erf_frac``: energy reused outside over all energy; ``ref_frac``: renewable energy over all energy."""

    pue_ratio: float
    ppue_ratio: float
    wue_kg_per_kwh: float
    cue_kg_per_kwh: float
    erf_frac: float
    ref_frac: float


def indicators(
    facility_kwh: float,
    it_kwh: float,
    cooling_kwh: float = NOTHING,
    water_kg: float = NOTHING,
    carbon_kg: float = NOTHING,
    reused_kwh: float = NOTHING,
    renewable_kwh: float = NOTHING,
) -> Indicators:
    """All of them, from energies of one period. ``reused_kwh``: heat handed to a user outside, at the boundary;
    ``renewable_kwh``: with certificates cancelled for it or made on site and used (30134-3), at most all.

    Meters have errors, so IT energy may read more than all energy: the PUE is then below 1, as it was read, and whoever shows
    it says that the meters disagree. ``ValueError`` where more heat was reused than energy came in."""
    if reused_kwh > facility_kwh * (1 + 1e-9):
        raise ValueError(f"reused energy of {reused_kwh:g} kWh is more than the {facility_kwh:g} kWh that the centre took in")
    return Indicators(
        pue_ratio=_over(facility_kwh, it_kwh),
        ppue_ratio=_over(it_kwh + cooling_kwh, it_kwh),
        wue_kg_per_kwh=_over(water_kg, it_kwh),
        cue_kg_per_kwh=_over(carbon_kg, it_kwh),
        erf_frac=_over(reused_kwh, facility_kwh),
        ref_frac=min(_over(renewable_kwh, facility_kwh), 1.0) if math.isfinite(renewable_kwh) else NOTHING,
    )


def sci_kg_per_unit(energy_kwh: float, kg_per_kwh: float, embodied_kg: float, units: float) -> float:
    """Software carbon intensity: ((E · I) + M) / R, with the location-based I and no offsets (ISO/IEC 21031:2024)."""
    if not units > 0:
        raise ValueError(f"{units:g} functional units; the score is for each unit of something that was done")
    return (energy_kwh * kg_per_kwh + embodied_kg) / units


def embodied_share_kg(total_kg: float, reserved_s: float, life_s: float, resources_frac: float = 1.0) -> float:
    """M of the SCI: embodied carbon times the share of its life that was reserved times the share of it that was held."""
    if not (life_s > 0 and reserved_s >= 0 and 0 <= resources_frac <= 1):
        raise ValueError("a life must be above 0 s, what was reserved not below 0 s, and the share held 0-1")
    return total_kg * (reserved_s / life_s) * resources_frac
