"""The tables of the energy section: day by day, what each period of the tariff cost, what each hall took."""

from collections.abc import Iterator

import numpy as np

from energy.account.tariff import highest_quarter
from twin.frame import Floats
from twin.message import Message
from ui.report.document import NOTHING, Cell, Table
from ui.report.gather import Inputs, daily

OF_HALLS = (
    "Cooling equipment that stands in a hall is its own; the plant's cooling, losses and all else are shared by IT energy."
)
IN_NONE = (
    "Cooling equipment that stands in a hall is its own; the plant's cooling, losses and all else are shared by IT energy. "
    "{left:,.1f} kWh are in no hall: of racks that stand in none, and of the time in which a hall was not read."
)
UNREAD = (
    "Not read: {halls}. No rack or GPU there said what it took, so these have no figures. {left:,.1f} kWh are in no hall: of "
    "racks that stand in none, and of the time in which a hall was not read."
)
LEFT_FRAC = 1e-9  # of the centre's energy: what is below is how sums were rounded


def days(inputs: Inputs) -> Table:
    """Each local day: energy [kWh], PUE, highest quarter of an hour [W], mean wet bulb [°C]."""
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
        mine = day == k
        out[k] = highest_quarter(inputs.meters.time_s[mine], inputs.meters.drawn_w[mine])[0]
    return out


def cost(inputs: Inputs) -> Iterator[Table]:
    """What was paid in each period of the tariff, and for demand; none where nothing has a price. A price is of the energy
    that has one."""
    bill = inputs.account.bill
    if bill is None:
        return
    rows = [(name, bill.energy_kwh[name], paid, 1e3 * paid / bill.priced_kwh[name] if bill.priced_kwh[name] else NOTHING)
            for name, paid in bill.energy_cost.items()]  # fmt: skip
    rows.append(("demand", NOTHING, bill.demand_cost, NOTHING))
    heads = (("period", ""), ("Energy", "kwh"), ("Cost", "money"), ("Price", "per_mwh"))
    total = ("total", sum(row[1] for row in rows[:-1]), bill.cost, NOTHING)
    yield Table("cost", "Cost by tariff period", heads, rows, total)


def halls(inputs: Inputs) -> Iterator[Table]:
    """What each hall took, as its own report has it, over the time in which it was read; none where there is one hall, or
    nothing says what any of them took."""
    if not inputs.halls:
        return
    whole = inputs.account

    def row(name: str, it: float, cooling: float, facility: float, read: float = NOTHING) -> list[Cell]:
        share = it / whole.it_kwh if whole.it_kwh > 0 else NOTHING
        ppue, pue = ((it + cooling) / it, facility / it) if it > 0 else (NOTHING, NOTHING)
        return [name, it, share, cooling, ppue, facility, pue, read]

    read = {name: one for name, one in inputs.halls.items() if one.coverage_frac > 0}
    energies = {name: (one.it_kwh, one.cooling_kwh, one.facility_kwh) for name, one in inputs.halls.items()}
    rows = [row(name, *found, inputs.halls[name].coverage_frac) for name, found in energies.items()]
    sums = [sum((energies[name][k] for name in read), 0.0) if read else NOTHING for k in range(3)]
    left = whole.facility_kwh - sums[2]
    apart = left > LEFT_FRAC * whole.facility_kwh
    note = Message(IN_NONE, {"left": left}) if apart else Message(OF_HALLS)
    if len(read) < len(rows) and read:
        names = ", ".join(name for name in inputs.halls if name not in read)
        note = Message(UNREAD, {"halls": names, "left": left if apart else 0.0})
    heads = (("hall", ""), ("IT energy", "kwh"), ("share", "frac"), ("Cooling energy", "kwh"), ("pPUE", "ratio"),
             ("Facility energy", "kwh"), ("PUE", "ratio"), ("Read of the time", "frac"))  # fmt: skip
    yield Table("halls", "Halls", heads, rows, row("total", *sums), note)
