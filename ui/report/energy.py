"""The energy section: what the centre took in, what became of it, what it cost and emitted, and what plans saved."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from energy.account.book import Account
from energy.baseline import Verdict
from twin.frame import Floats
from twin.message import Message
from ui.report.document import NOTHING, Block, Chart, Figure, Flow, Line, Section, Table, known
from ui.report.gather import Inputs, daily

FREE_FRAC = 0.02  # chillers below this part of the cooling power: the cold came from outside
BULB_STEP_K = 2.0
SUMS, SAME_COVERAGE_FRAC = ("kwh", "kg", "money"), 0.02


def figures(inputs: Inputs) -> list[Figure]:
    """Every energy figure with the same of the span before and of a year ago."""
    rows: Sequence[tuple[str, str, str, int, Callable[[Account], float]]] = (
        ("facility_kwh", "Facility energy", "kwh", -1, lambda a: a.facility_kwh),
        ("it_kwh", "IT energy", "kwh", 0, lambda a: a.it_kwh),
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
        was, year = (_comparable(inputs.account, other, unit, of) for other in (inputs.before, inputs.year_ago))
        made.append(Figure(key, label, now, unit, was, year, good, query=_query(inputs)))
    return made


def _comparable(now: Account, other: Account | None, unit: str, of: Callable[[Account], float]) -> float:
    """Sums are set beside each other only where as much of the time was read."""
    if other is None or (unit in SUMS and abs(other.coverage_frac - now.coverage_frac) > SAME_COVERAGE_FRAC):
        return NOTHING
    return of(other)


def _query(inputs: Inputs) -> str:
    return f"/api/v1/energy/account?start={inputs.span.start:%Y-%m-%dT%H:%MZ}&end={inputs.span.end:%Y-%m-%dT%H:%MZ}"


def section(inputs: Inputs) -> Section:
    """The whole section."""
    blocks: list[Block] = [*figures(inputs), *_charts(inputs), _days(inputs), *_cost(inputs), *_halls(inputs)]
    blocks += [flow for flow in [_flow(inputs)] if flow.links]
    blocks += [*_cooling(inputs)]
    return Section("energy", "Energy", tuple(_said(inputs)), tuple(blocks))


def _said(inputs: Inputs) -> Iterator[Message]:
    made = inputs.account
    yield Message("{name}: {coverage:.0%} of the time was read, {modelled:.0%} of that by the twin and not by a meter.", {
        "name": made.pue_name, "coverage": made.coverage_frac, "modelled": made.modelled_frac})  # fmt: skip
    one = inputs.saving
    if one.verdict is Verdict.SHOWN:
        text = (
            "Against a regression on the {days} days before (facility energy on IT energy and wet bulb, CV(RMSE) {cv:.1%}), "
            "{saved:,.0f} kWh less were taken, 80% between {low:,.0f} and {high:,.0f} kWh."
        )
        numbers = {"saved": one.kwh, "low": one.low_kwh, "high": one.high_kwh, "cv": one.cv_frac}
        yield Message(text, {"days": 56, **numbers})
    else:
        yield Message(one.verdict.value)
    book = inputs.ledger
    if book.carried_out:
        text = (
            "Of {carried} plans carried out, {saved} saved, {lost} lost and {open} left it open: {change:,.0f} kWh together, "
            "80% between {low:,.0f} and {high:,.0f} kWh."
        )
        numbers = {"change": book.change_kwh, "low": book.low_kwh, "high": book.high_kwh}
        counts = {"carried": book.carried_out, "saved": book.saved, "lost": book.lost, "open": book.undecided}
        yield Message(text, {**counts, **numbers})
    else:
        yield Message("No plan was carried out: {advised} were advised, {refused} refused by the guard.", {
            "advised": book.advised, "refused": book.refused})  # fmt: skip


def _charts(inputs: Inputs) -> Iterator[Chart]:
    meters = inputs.meters
    lines = [Line("Facility power", meters.facility_w, "accent"), Line("IT power", meters.it_w, "measured")]
    seen = [line for line in lines if known(line.y)]
    if seen:
        yield Chart("power", "Power", "w", meters.time_s, seen)
    pue = np.divide(meters.facility_w, meters.it_w, out=np.full(len(meters.it_w), np.nan), where=meters.it_w > 0)
    if known(pue):
        yield Chart("pue", "PUE over the span", "ratio", meters.time_s, [Line("PUE", pue, "accent")])
    if known(meters.average_gco2_per_kwh):
        line = Line("Carbon intensity of the grid", meters.average_gco2_per_kwh, "forecast")
        yield Chart("carbon", "Carbon intensity", "gco2_per_kwh", meters.time_s, [line])


def _days(inputs: Inputs) -> Table:
    table = daily(inputs.meters, inputs.span, inputs.wet_bulb_c)
    peaks = _daily_peaks(inputs)
    rows = []
    for day, (facility, it, bulb), peak in zip(inputs.span.days, table.tolist(), peaks.tolist(), strict=True):
        rows.append((day.isoformat(), facility, it, facility / it if it else NOTHING, peak, bulb))
    heads = (
        ("day", ""),
        ("Facility energy", "kwh"),
        ("IT energy", "kwh"),
        ("PUE", "ratio"),
        ("Peak demand", "w"),
        ("wet bulb", "c"),
    )
    note = Message("Days of which less than nine tenths were read stand empty.")
    return Table("days", "Day by day", heads, rows, note=note, shown=31)


def _daily_peaks(inputs: Inputs) -> Floats:
    edges = np.array(inputs.span.edges_s())
    day = np.clip(np.searchsorted(edges, inputs.meters.time_s, side="right") - 1, 0, len(edges) - 2)
    out = np.full(len(edges) - 1, np.nan)
    for k in range(len(out)):
        mine = inputs.meters.facility_w[day == k]
        if known(mine):
            out[k] = float(np.nanmax(mine))
    return out


def _cost(inputs: Inputs) -> Iterator[Table]:
    bill = inputs.account.bill
    if bill is None:
        return
    rows = [(name, bill.energy_kwh[name], cost, 1e3 * cost / bill.energy_kwh[name] if bill.energy_kwh[name] else NOTHING)
            for name, cost in bill.energy_cost.items()]  # fmt: skip
    rows.append(("demand", NOTHING, bill.demand_cost, NOTHING))
    heads = (("period", ""), ("Energy", "kwh"), ("Cost", "money"), ("Price", "per_mwh"))
    total = ("total", sum(row[1] for row in rows[:-1]), bill.cost, NOTHING)
    yield Table("cost", "Cost by tariff period", heads, rows, total)


def _halls(inputs: Inputs) -> Iterator[Table]:
    if not inputs.halls:
        return
    whole = inputs.account
    rows = []
    for name, power_w in inputs.halls.items():
        kwh = float(np.nansum(np.where(inputs.meters.known, power_w, np.nan) * inputs.meters.length_s)) / 3.6e6
        share = kwh / whole.it_kwh if whole.it_kwh > 0 else NOTHING
        rows.append((name, kwh, share, whole.cooling_kwh * share))
    note = Message("Cooling is shared by IT energy where halls have no meter of their own.")
    heads = (("hall", ""), ("IT energy", "kwh"), ("share", "frac"), ("Cooling energy", "kwh"))
    yield Table("halls", "Halls", heads, rows, note=note)


def _flow(inputs: Inputs) -> Flow:
    """From the connection to the chips and to the heat's way out."""
    made = inputs.account
    cooling = made.cooling_kwh if np.isfinite(made.cooling_kwh) else 0.0
    losses = made.facility_kwh - made.it_kwh - cooling
    gpu = min(inputs.gpu_kwh, made.it_kwh) if np.isfinite(made.it_kwh) else 0.0
    links = [("Grid", "Centre", made.grid_kwh), ("Own generation", "Centre", made.own_kwh), ("Centre", "IT", made.it_kwh),
             ("Centre", "Cooling", cooling), ("Centre", "Power chain losses", losses), ("IT", "GPUs", gpu),
             ("IT", "Processors, network, storage", made.it_kwh - gpu)]  # fmt: skip
    kept = [link for link in links if np.isfinite(link[2]) and link[2] > 0]
    return Flow("flow", "Where the energy went", "kwh", kept)


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
    if known(inputs.chiller_w):
        free = np.isfinite(inputs.chiller_w) & (inputs.chiller_w < FREE_FRAC * np.nan_to_num(meters.cooling_w, nan=np.inf))
        yield Figure("free_cooling_s", "Free cooling", float(free.sum()) * meters.step_s, "s", good=1)
