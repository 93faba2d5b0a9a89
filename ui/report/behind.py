"""Where else the numbers of a report can be asked for: an address whose answer holds them, or in words that only a report says
them. An address that holds none of them is no answer to who wants to check one."""

from ui.accounting import MAX_ROWS_ASKED, MAX_STEPS_GPUS
from ui.report.document import Figure, Table
from ui.report.energy import query
from ui.report.gather import Inputs

ONLY = "Only a report says this"
FROM = "; what it was made from can be looked at under "
# Where in the answer of /api/v1/oncall/report, and of /api/v1/energy, a number of the whole centre stands.
ON_CALL = {"alerts_count": "/alerts", "incidents_count": "/times/incidents"}
ON_CALL_TABLES, BILLED = {"alerts": "/noise"}, {"cost": "/bill", "demand": "/bill/months"}


def behind(block: Figure | Table, inputs: Inputs, base: str) -> str:
    """The address, with where in its answer they stand (RFC 6901) after ``#``, or the sentence. ``base``: before addresses."""
    asked = _of_table(block, inputs) if isinstance(block, Table) else _of_figure(block, inputs)
    if "#" in asked:
        return base + asked
    return f"{ONLY}{FROM}{base}{asked}" if asked else f"{ONLY}."


def _of_figure(figure: Figure, inputs: Inputs) -> str:
    pointer = ON_CALL.get(figure.key)
    return _on_call(inputs, pointer) if pointer and inputs.scope.whole else figure.query


def _of_table(table: Table, inputs: Inputs) -> str:
    if not inputs.scope.whole:
        return ""
    if pointer := ON_CALL_TABLES.get(table.key):
        return _on_call(inputs, pointer)
    if pointer := BILLED.get(table.key):
        return query(inputs, pointer)
    by = table.key.removeprefix("by_")
    if by == table.key:
        return ""
    steps = (inputs.until - inputs.span.start).total_seconds() / inputs.meters.step_s
    if steps * inputs.site.count("gpu") > MAX_STEPS_GPUS or len(table.rows) > MAX_ROWS_ASKED:
        return ""  # that much is not told at once
    return f"{query(inputs, '', by)}&limit={MAX_ROWS_ASKED}#/split"


def _on_call(inputs: Inputs, pointer: str) -> str:
    start, end = (f"{moment:%Y-%m-%dT%H:%MZ}" for moment in (inputs.span.start, inputs.over))
    return f"/api/v1/oncall/report?start={start}&end={end}#{pointer}"
