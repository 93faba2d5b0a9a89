"""The energy section: what the centre took in, what became of it, what it cost and emitted, and what plans saved."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from energy.account.book import Account
from energy.account.indicators import embodied_share_kg, sci_kg_per_unit
from twin.message import Message
from ui.report import demand, resources, saved
from ui.report.document import NOTHING, Block, Chart, Figure, Line, Section, known
from ui.report.energy_tables import OF_HALLS, cost, days, halls
from ui.report.flows import flow
from ui.report.gather import Inputs

BULB_STEP_K = 2.0
HOUR_S = 3600.0
SUMS, SAME_COVERAGE_FRAC = ("kwh", "kg", "money"), 0.02
OF_FACILITY = ("facility_kwh", "carbon_location_kg", "carbon_market_kg", "cost", "peak_w", "ref_frac", "erf_frac")
OF_IT = ("it_kwh", "it_read_kwh", "wue_kg_per_kwh")
OF_BOTH = ("pue_ratio", "ppue_ratio", "cue_kg_per_kwh")
OF_CARBON = ("carbon_location_kg", "carbon_market_kg", "cue_kg_per_kwh")
SCI = "ISO/IEC 21031:2024: location-based carbon, and the share of what making the GPUs emitted, by time over life"
DEFINED = {  # as ISO/IEC 30134 has it; over less than a year all are interim figures
    "wue_kg_per_kwh": "ISO/IEC 30134-9: water taken in over IT energy, in litres (kg) for a kWh",
    "cue_kg_per_kwh": "ISO/IEC 30134-8: CO2 of all energy taken in, location-based, over IT energy",
    "ref_frac": "ISO/IEC 30134-3: renewable energy (own generation used, and contracts marked renewable) over all energy",
    "erf_frac": "ISO/IEC 30134-6: heat handed to users outside over all energy",
    "free_cooling_s": "time in which every chiller is known to stand still: it takes no more than 5 % of its rated power",
}
AS_LOCATION = (
    "No contract for energy and no residual mix were given, so market-based carbon equals location-based: the GHG Protocol "
    "Scope 2 Guidance lets the grid's average stand in for them and asks to say so."
)
BOUNDARY = (
    "Boundary: all that comes in from the grid and own generation, over IT energy as site meters have it; the name says "
    "the ISO/IEC 30134-2 category and for how many hours both were read."
)
NOT_READ = "{who} was not read in this span: no rack or GPU there said what it took, so it has no energy, PUE, cost or carbon."
ALWAYS = ("facility_kwh", "it_kwh", "pue_ratio", "coverage_frac")  # shown with a dash where not known
# Where in the answer of /api/v1/energy a figure stands; water and reused heat of meters are read for a report alone.
POINTERS = {
    **{name: f"/{name}" for name in ("facility_kwh", "it_kwh", "it_read_kwh", "peak_w", "coverage_frac", "modelled_frac")},
    **{name: f"/indicators/{name}" for name in ("pue_ratio", "ppue_ratio", "cue_kg_per_kwh", "ref_frac")},
    "carbon_location_kg": "/carbon/location_kg",
    "carbon_market_kg": "/carbon/market_kg",
    "cost": "/bill/cost",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What a report is held against. ``pue_ratio``: the PUE that policy allows, None: there is none; ``gpu_peak_flops``: peak
    of one GPU for effective computing power, 0: not shown; ``embodied_kg_per_gpu``: of making one with its share of server and
    hall, 0: no SCI is shown, over ``gpu_life_s``."""

    pue_ratio: float | None = None
    gpu_peak_flops: float = 0.0
    embodied_kg_per_gpu: float = 0.0
    gpu_life_s: float = math.inf


def figures(inputs: Inputs, limits: Limits) -> list[Figure]:
    """Every energy figure with the same of the span before and of a year ago."""
    rows: Sequence[tuple[str, str, str, int, Callable[[Account], float]]] = (
        ("facility_kwh", "Facility energy", "kwh", -1, lambda a: a.facility_kwh),
        ("it_kwh", "IT energy", "kwh", 0, lambda a: a.it_kwh),
        ("it_read_kwh", "IT energy, also while the facility's was not read", "kwh", 0, _it_alone),
        ("pue_ratio", "PUE", "ratio", -1, lambda a: a.indicators.pue_ratio),
        ("ppue_ratio", "Cooling pPUE", "ratio", -1, lambda a: a.indicators.ppue_ratio),
        ("wue_kg_per_kwh", "WUE", "kg_per_kwh", -1, lambda a: a.indicators.wue_kg_per_kwh),
        ("cue_kg_per_kwh", "CUE", "kg_per_kwh", -1, lambda a: a.indicators.cue_kg_per_kwh),
        ("ref_frac", "REF", "frac", 1, lambda a: a.indicators.ref_frac),
        ("erf_frac", "ERF", "frac", 1, lambda a: a.indicators.erf_frac),
        ("carbon_location_kg", "Carbon, location-based", "kg", -1, lambda a: a.carbon.location_kg),
        ("carbon_market_kg", "Carbon, market-based", "kg", -1, lambda a: a.carbon.market_kg),
        ("cost", "Cost", "money", -1, lambda a: a.bill.cost if a.bill else NOTHING),
        ("peak_w", "Peak demand", "w", -1, lambda a: a.peak_w),
        ("coverage_frac", "Read of the time", "frac", 1, lambda a: a.coverage_frac),
        ("modelled_frac", "Of it by the twin", "frac", -1, lambda a: a.modelled_frac),
    )
    made = []
    for key, label, unit, good, of in rows:
        now = of(inputs.account)
        was, year = (_comparable(inputs.account, other, key, unit, of) for other in (inputs.before, inputs.year_ago))
        made.append(Figure(key, label, now, unit, was, year, good, DEFINED.get(key, ""), query(inputs, POINTERS.get(key, "")),
                           length_ratio=inputs.length_ratio if unit in SUMS else 1.0,
                           modelled_frac=_modelled(inputs.account, key)))  # fmt: skip
    modelled = inputs.resources.modelled.each
    if inputs.scope.whole and np.isfinite(modelled) and not np.isfinite(inputs.account.indicators.wue_kg_per_kwh):
        made.append(Figure("wue_modelled_kg_per_kwh", "WUE, modelled", modelled, "kg_per_kwh", good=-1,
                           note=DEFINED["wue_kg_per_kwh"], query=query(inputs, "")))  # fmt: skip
    held = _held_h(inputs)
    if held > 0:
        each = inputs.account.facility_kwh / held
        per = (("kwh_per_gpu_h", "Energy of a GPU hour allocated", each, "kwh"),
               ("kg_per_gpu_h", "Carbon of a GPU hour allocated", each * _kg_per_kwh(inputs.account), "kg"))  # fmt: skip
        share = inputs.account.facility_modelled_frac
        made += [Figure(key, label, one, unit, good=-1, query=query(inputs, "", "job"), modelled_frac=share)
                 for key, label, one, unit in per]  # fmt: skip
        sci = _sci(limits, inputs.account, inputs.account.facility_kwh, HOUR_S * held, held)
        made.append(Figure("sci_kg_per_gpu_h", "SCI of a GPU hour allocated", sci, "kg", good=-1, note=SCI,
                           query=query(inputs, "", "job")))  # fmt: skip
    made += _of_tokens(inputs, limits)
    if limits.pue_ratio is not None and inputs.scope.whole:
        made.insert(3, Figure("pue_limit_ratio", "PUE that policy allows", limits.pue_ratio, "ratio"))
    made += demand.figures(inputs, query(inputs, ""))
    return [figure for figure in made if np.isfinite(figure.value) or figure.key in ALWAYS]


def _modelled(made: Account, key: str) -> float:
    """In how much of its time a figure rests on the twin: those of what comes in do so for the facility's meter alone."""
    if key in OF_FACILITY:
        return made.facility_modelled_frac
    return made.it_modelled_frac if key in OF_IT else made.modelled_frac if key in OF_BOTH else 0.0


def _held_h(inputs: Inputs) -> float:
    """GPU hours held in the time that the account's energy is of."""
    use, meters = inputs.use, inputs.meters
    hour = np.clip((meters.time_s - use.time_s[0]) // HOUR_S, 0, len(use.time_s) - 1).astype(np.int64)
    read = np.bincount(hour, weights=meters.length_s, minlength=len(use.time_s)) / HOUR_S
    return float((use.held * np.minimum(read, 1.0)).sum())


def _kg_per_kwh(made: Account) -> float:
    """Location-based carbon of a kWh taken in, over the energy whose carbon is known."""
    known_kwh = made.facility_kwh * made.carbon.coverage_frac
    return made.carbon.location_kg / known_kwh if known_kwh > 0 else NOTHING


def _it_alone(made: Account) -> float:
    """Only where it tells more than the energy of both."""
    return made.it_read_kwh if made.it_read_frac > made.coverage_frac + SAME_COVERAGE_FRAC else NOTHING


def _sci(limits: Limits, made: Account, kwh: float, gpu_s: float, units: float) -> float:
    """Software carbon intensity of ``units`` that took ``kwh`` and held GPUs for ``gpu_s``; NaN where what making a GPU emitted
    is not given."""
    if limits.embodied_kg_per_gpu <= 0 or not made.facility_kwh > 0:
        return NOTHING
    return sci_kg_per_unit(
        kwh, _kg_per_kwh(made), embodied_share_kg(limits.embodied_kg_per_gpu, gpu_s, limits.gpu_life_s), units
    )


def _of_tokens(inputs: Inputs, limits: Limits) -> Iterator[Figure]:
    """Energy and carbon of what inference servers generated: their nodes', with its share of cooling and losses."""
    tokens, made = inputs.tokens, inputs.account
    if tokens is None or not made.it_kwh > 0:
        return
    start, end = (f"{moment:%Y-%m-%dT%H:%MZ}" for moment in (inputs.span.start, inputs.span.end))
    asked = f"/api/v1/explore?kind=node&metric=tokens_per_s&by=site&across=sum&start={start}&end={end}"
    million, pue = tokens.count / 1e6, made.facility_kwh / made.it_kwh
    note = "of the nodes that generated them, times the PUE"
    yield Figure("tokens_count", "Tokens generated", tokens.count, "tokens", good=1, query=asked)
    yield Figure("kwh_per_mtoken", "Energy of a million tokens", tokens.node_kwh * pue / million, "kwh", good=-1, note=note,
                 query=asked)  # fmt: skip
    each_kg = tokens.node_kwh * pue * _kg_per_kwh(made) / million
    yield Figure("kg_per_mtoken", "Carbon of a million tokens", each_kg, "kg", good=-1, note=note, query=asked)
    sci = _sci(limits, made, tokens.node_kwh * pue, 3600 * tokens.gpu_h, million)
    yield Figure("sci_kg_per_mtoken", "SCI of a million tokens", sci, "kg", good=-1, note=SCI, query=asked)


def _comparable(now: Account, other: Account | None, key: str, unit: str, of: Callable[[Account], float]) -> float:
    """Sums are set beside each other only where as much of the time was read; carbon and cost where as much of the energy has
    an intensity or a price."""
    if other is None:
        return NOTHING
    apart = [abs(was - is_) for was, is_ in zip(_covered(other, key, unit), _covered(now, key, unit), strict=True)]
    return NOTHING if max(apart, default=0.0) > SAME_COVERAGE_FRAC else of(other)


def _covered(made: Account, key: str, unit: str) -> list[float]:
    """What a figure is held up by, each as a share of all of it."""
    shares = [made.coverage_frac, made.it_read_frac] if unit in SUMS else []
    if key in OF_CARBON:
        shares.append(made.carbon.coverage_frac)
    if key == "cost":
        shares.append(made.bill.coverage_frac if made.bill else 0.0)
    return shares


def query(inputs: Inputs, pointer: str, by: str = "") -> str:
    """Where the same can be asked for again; ``pointer``: where in the answer it stands (RFC 6901), "" where it does not. Of a
    part, the split of the whole in which it is one row."""
    start, end = (f"{moment:%Y-%m-%dT%H:%MZ}" for moment in (inputs.span.start, inputs.over))
    by = by or {"tenant": "tenant", "project": "project"}.get(inputs.scope.kind, "")
    asked = f"/api/v1/energy?start={start}&end={end}&step_s={inputs.meters.step_s:g}"
    return f"{asked}&by={by}" if by else f"{asked}#{pointer}" if pointer and inputs.scope.whole else asked


def section(inputs: Inputs, limits: Limits) -> Section:
    """The whole section."""
    blocks: list[Block] = [
        *figures(inputs, limits),
        *_charts(inputs, limits),
        days(inputs),
        *cost(inputs),
        *demand.months(inputs),
        *halls(inputs),
    ]
    blocks += [*flow(inputs), *_cooling(inputs)]
    return Section("energy", "Energy", tuple(_said(inputs)), tuple(blocks))


def _said(inputs: Inputs) -> Iterator[Message]:
    made = inputs.account
    read = "{name}: {coverage:.0%} of the time was read, {modelled:.0%} of that by the twin and not by a meter."
    if made.coverage_frac > 0:
        yield Message(read, {"name": made.pue_name, "coverage": made.coverage_frac, "modelled": made.modelled_frac})
        yield Message(BOUNDARY)
    elif made.it_read_frac > 0:
        yield Message(read, {"name": "IT", "coverage": made.it_read_frac, "modelled": made.it_modelled_frac})
    elif inputs.scope.kind != "hall":
        yield Message("Neither what came in nor what IT took was read in this span, so there is no PUE.")
    if made.meters_apart_frac > 0:
        text = (
            "Meters disagree: those of IT read {apart:.2%} more than the facility's over the same time, so the PUE stands "
            "below 1. Check what each of them holds, its factor and its clock."
        )
        yield Message(text, {"apart": made.meters_apart_frac})
    if inputs.scope.kind == "hall":
        yield Message(OF_HALLS) if made.it_read_frac > 0 else Message(NOT_READ, {"who": inputs.scope.name})
    yield from _unpriced(made)
    yield from demand.lead(inputs)
    yield from resources.own_said(made)
    if inputs.scope.whole:
        yield from resources.said(inputs.resources)
    yield from saved.said(inputs)


def _unpriced(made: Account) -> Iterator[Message]:
    """What the cost and the carbon do not hold."""
    if made.bill is not None and made.bill.ended is not None:
        text = "The tariff ended on {day}: nothing after it is in the cost. Name the one that holds since in [energy]."
        yield Message(text, {"day": made.bill.ended.isoformat()})
    if made.bill is not None and made.bill.coverage_frac < 1 - 1e-9:
        yield Message("{share:.1%} of the energy has no price and is not in the cost.", {"share": 1 - made.bill.coverage_frac})
    if made.carbon.market_average_kg > 0 and not made.carbon.contracted_kwh > 0:
        yield Message(AS_LOCATION)
    if 0 < made.carbon.coverage_frac < 1 - 1e-9:
        text = "{share:.1%} of the grid's energy has no carbon intensity and is not in the carbon."
        yield Message(text, {"share": 1 - made.carbon.coverage_frac})


def _charts(inputs: Inputs, limits: Limits) -> Iterator[Chart]:
    meters = inputs.meters
    name = "Facility power" if inputs.scope.whole else "Its part of facility power"
    lines = [Line(name, meters.facility_w, "accent"), Line("IT power", meters.it_w, "measured")]
    if (meters.own_w > 0).any():  # demand is what the grid gives
        lines.insert(0, Line("Power from the grid", meters.drawn_w, "forecast"))
    seen = [line for line in lines if known(line.y)]
    if seen:
        contract = inputs.contract_w if inputs.contract_w > 0 and inputs.scope.whole else NOTHING
        yield Chart("power", "Power over the span", "w", meters.time_s, seen, limit=contract)
    pue = np.divide(meters.facility_w, meters.it_w, out=np.full(len(meters.it_w), np.nan), where=meters.it_w > 0)
    if known(pue):
        limit = limits.pue_ratio if limits.pue_ratio is not None and inputs.scope.whole else NOTHING
        yield Chart("pue", "PUE over the span", "ratio", meters.time_s, [Line("PUE", pue, "accent")], limit=limit)
    if known(meters.average_gco2_per_kwh):
        line = Line("Carbon intensity of the grid", meters.average_gco2_per_kwh, "forecast")
        yield Chart("carbon", "Carbon intensity", "gco2_per_kwh", meters.time_s, [line])


def _cooling(inputs: Inputs) -> Iterator[Block]:
    meters, bulb = inputs.meters, inputs.wet_bulb_c
    ratio = np.divide(meters.cooling_w, meters.it_w, out=np.full(len(bulb), np.nan), where=meters.it_w > 0)
    seen = np.isfinite(ratio) & np.isfinite(bulb)
    if seen.sum() >= 4:
        low = np.floor(bulb[seen].min() / BULB_STEP_K) * BULB_STEP_K
        step = np.floor((bulb[seen] - low) / BULB_STEP_K).astype(np.int64)
        count = np.bincount(step)
        mean = np.where(count > 0, np.bincount(step, weights=ratio[seen]) / np.maximum(count, 1), np.nan)
        x = low + BULB_STEP_K * (np.arange(len(count)) + 0.5)
        title = "Cooling over IT power, by wet bulb"
        yield Chart("bulb", title, "frac", x, [Line("Cooling over IT", mean, "measured")], "bar", time=False, x_unit="c")
    if inputs.chillers is None or not inputs.chillers.still.shape[1]:
        return
    free, ran = inputs.chillers.still.all(axis=1), inputs.chillers.runs.any(axis=1)
    if ((free | ran) & (meters.length_s > 0)).any():
        yield Figure("free_cooling_s", "Free cooling", float(meters.length_s[free].sum()), "s", good=1,
                     note=DEFINED["free_cooling_s"])  # fmt: skip
