"""How a report's values read: one way for page, PDF and charts; data files carry the bare numbers."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from twin.kinds import KINDS
from ui.report.document import MEANS, Cell, Figure, Report, Section, Table
from ui.words import DASH, Words

# Units that reports have beside the metric table's: (factor, sign, decimals); None decimals: three significant digits.
_OWN = {
    "kg_per_kwh": (1.0, "kg/kWh", 3),
    "gpu_h": (1.0, "GPU\u202fh", 0),
    "money": (1.0, "", 0),
    "per_mwh": (1.0, "/MWh", 2),
    "flops": (1e-15, "PFLOP/s", 1),
}
# Words of ours in cells, by the head of their column: they are translated. Names that people gave are not, whatever they are.
SPOKEN: Mapping[str, frozenset[str]] = {
    "component": frozenset(KINDS),
    "kind": frozenset(KINDS),
    "period": frozenset(("demand", "sharp", "peak", "flat", "valley", "deep", "spot")),
    "cause": frozenset(("not known", "the program itself")),
}
NOBODY = frozenset(("(idle)", "(unseen)", "(no tenant)", "(no project)", "(no user)"))  # in the other columns
_TERM = re.compile(r"^[\u4e00-\u9fff]+: ")
_SCALED = {
    "tokens": ((1e9, "G"), (1e6, "M"), (1.0, "")),
    "kwh": ((1e6, "GWh"), (1e3, "MWh"), (1.0, "kWh")),
    "kg": ((1e6, "kt"), (1e3, "t"), (1.0, "kg")),
}


class Show:
    """Values as text in one language; ``currency`` stands after money."""

    def __init__(self, words: Words, currency: str = "") -> None:
        self.words, self._currency = words, currency

    def value(self, value: float, unit: str) -> str:
        """``value`` in ``unit``; a dash where it is not known."""
        if not np.isfinite(value):
            return DASH
        if unit in _SCALED:
            scale, sign = next(((s, u) for s, u in _SCALED[unit] if abs(value) >= s), _SCALED[unit][-1])
            return f"{self._number(value / scale)}\u202f{sign}".strip()
        if unit in _OWN:
            factor, sign, digits = _OWN[unit]
            sign = self._currency if unit == "money" else f"{self._currency}{sign}" if unit == "per_mwh" else sign
            return f"{self._number(value * factor, digits)}\u202f{self.words(sign)}".strip()
        return str(self.words.quantity(value, unit))

    def figure(self, figure: Figure) -> str:
        """The value of a figure, marked as on the wall where it rests on the twin."""
        text = self.value(figure.value, figure.unit)
        return f"≈\u202f{text}" if figure.modelled else text

    def row(self, table: Table, cells: Sequence[Cell], total: bool = False) -> list[str]:
        """The cells of a row: names as they are, our own words translated. ``total``: it is the last row."""
        return [
            self._cell(cell, unit) if not isinstance(cell, str) else self.word(cell, head, total)
            for cell, (head, unit) in zip(cells, table.heads, strict=True)
        ]  # fmt: skip

    def word(self, cell: str, head: str, total: bool = False) -> str:
        """A text that stands below ``head``: ours translated, a name as it is."""
        return self.words(cell) if total or head == MEANS or cell in SPOKEN.get(head, NOBODY) else cell

    def _cell(self, value: float, unit: str) -> str:
        """GPU hours without their unit, which their column's head is, and with the digits of small ones."""
        return self._number(value) if unit == "gpu_h" and np.isfinite(value) else self.value(value, unit)

    def change(self, figure: Figure) -> str:
        """Against the span before, as a signed percentage; of a share, in percentage points."""
        points = figure.unit == "frac"
        change = figure.apart if points else figure.change_frac
        if not np.isfinite(change):
            return ""
        text = f"{abs(change):.1%}"
        sign = "±" if not float(text[:-1]) else "+" if change > 0 else "−"
        return sign + (self.words("{n} points").format(n=text[:-1]) if points else text)

    def heading(self, report: Report) -> str:
        """Of when and, of a part, of what."""
        kind, _, name = report.scope.partition(":")
        scope = f"{self.words(kind)} {name}" if name else ""
        return " · ".join(filter(None, (scope, report.span, f"{report.first_day} – {report.last_day}", report.zone)))

    def terms(self, section: Section) -> list[tuple[str, str]]:
        """(figure, definition) of a section's figures that have one."""
        told = [(self.words(one.label), self.words(one.note)) for one in section.figures if one.note]
        # an English page need not have a font for the Chinese term before a definition; one that is the label stands once
        if self.words.language == "en":
            return [(name, _TERM.sub("", said)) for name, said in told]
        return [(name, said.removeprefix(f"{name}：")) for name, said in told]

    def heads(self, heads: Sequence[tuple[str, str]]) -> list[str]:
        """Column heads."""
        return [self.words(label) for label, _ in heads]

    def _number(self, value: float, digits: int | None = None) -> str:
        if digits is None:
            size = abs(value)
            digits = 2 if size < 10 else 1 if size < 100 else 0
        text = f"{round(value, digits) + 0.0:,.{digits}f}"
        return text.replace("-", "−")
