"""The whole report from its inputs: the first page that is read in a minute, then the sections."""

from collections.abc import Iterator

import numpy as np

from energy.baseline import Verdict
from twin.message import Message
from ui.report import energy, reliable, use
from ui.report.document import Figure, Report
from ui.report.gather import Inputs

HEAD = ("facility_kwh", "pue_ratio", "carbon_location_kg", "cost", "peak_w", "held_frac", "busy_frac", "idle_held_frac")


def compose(inputs: Inputs, limit_ratio: float | None = None) -> Report:
    """The document; ``limit_ratio``: the PUE that policy allows, where there is one."""
    sections = (energy.section(inputs), use.section(inputs), reliable.section(inputs))
    found = {figure.key: figure for section in sections for figure in section.figures}
    head = [found[key] for key in HEAD if key in found]
    span = inputs.span
    return Report(
        site=inputs.site.name,
        scope="",
        span=span.label,
        first_day=span.days[0].isoformat(),
        last_day=span.days[-1].isoformat(),
        zone=str(span.zone),
        head=head,
        said=tuple(_said(inputs, found, limit_ratio)),
        sections=sections,
    )


def _said(inputs: Inputs, found: dict[str, Figure], limit_ratio: float | None) -> Iterator[Message]:
    made, facility, held = inputs.account, found["facility_kwh"], found.get("held_frac")
    if made.coverage_frac <= 0:
        yield Message("Nothing was read in this span: no meter and no model says what the centre took in.")
        return
    if np.isfinite(facility.change_frac):
        text = "The centre took in {kwh:,.0f} kWh, {change:+.1%} against the span before."
        yield Message(text, {"kwh": facility.value, "change": facility.change_frac})
    else:
        yield Message("The centre took in {kwh:,.0f} kWh; the span before was not read as much.", {"kwh": facility.value})
    pue = found["pue_ratio"].value
    if limit_ratio is not None and np.isfinite(pue):
        text = "PUE was {pue:.3f}, within the limit of {limit:.2f}." if pue <= limit_ratio else (
            "PUE was {pue:.3f}, above the limit of {limit:.2f}.")  # fmt: skip
        yield Message(text, {"pue": pue, "limit": limit_ratio})
    if np.isfinite(made.peak_w):
        yield Message("The highest quarter of an hour drew {peak:,.0f} kW.", {"peak": made.peak_w / 1e3})
    if held is not None:
        idle = found.get("idle_held_frac")
        text = "{held:.0%} of the GPU hours were allocated; of these {idle:.0%} did nothing."
        yield Message(text, {"held": held.value, "idle": idle.value if idle else 0.0})
    if inputs.saving.verdict is Verdict.SHOWN and inputs.saving.low_kwh > 0:
        text = "Against the weeks before it took {saved:,.0f} kWh less than load and weather explain."
        yield Message(text, {"saved": inputs.saving.kwh})
    elif inputs.saving.verdict is Verdict.SHOWN and inputs.saving.high_kwh < 0:
        text = "Against the weeks before it took {lost:,.0f} kWh more than load and weather explain."
        yield Message(text, {"lost": -inputs.saving.kwh})
    if made.coverage_frac < 0.95:
        yield Message("Only {read:.0%} of the time was read; sums are of that time alone.", {"read": made.coverage_frac})
