"""How a report's values read: one way for page, PDF and charts; data files carry the bare numbers."""

from collections.abc import Sequence

import numpy as np

from twin.kinds import KINDS
from ui.report.document import Cell, Figure
from ui.words import DASH, Words

# Units that reports have beside the metric table's: (factor, sign, decimals); None decimals: three significant digits.
_OWN = {
    "kg_per_kwh": (1.0, "kg/kWh", 3),
    "gpu_h": (1.0, "GPU\u202fh", 0),
    "money": (1.0, "", 0),
    "per_mwh": (1.0, "/MWh", 2),
    "flops": (1e-15, "PFLOP/s", 1),
}
# Texts in cells that name no one, and kinds of assets: they are translated.
SPOKEN = frozenset((*KINDS, "total", "demand", "(idle)", "(unseen)", "(no tenant)", "(no project)", "(no user)", "not known",
                    "the program itself", "sharp", "peak", "flat", "valley", "deep", "spot"))  # fmt: skip
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
            return f"{self._number(value * factor, digits)}\u202f{sign}".strip()
        return str(self.words.quantity(value, unit))

    def cell(self, cell: Cell, unit: str) -> str:
        """A cell of a table: texts as they are, but those that name no one are translated."""
        if isinstance(cell, str):
            return self.words(cell) if cell in SPOKEN else cell
        return self.value(cell, unit)

    def change(self, figure: Figure) -> str:
        """Against the span before, as a signed percentage."""
        change = figure.change_frac
        return "" if not np.isfinite(change) else f"{'+' if change > 0 else '−' if change < 0 else '±'}{abs(change):.1%}"

    def heads(self, heads: Sequence[tuple[str, str]]) -> list[str]:
        """Column heads."""
        return [self.words(label) for label, _ in heads]

    def _number(self, value: float, digits: int | None = None) -> str:
        if digits is None:
            size = abs(value)
            digits = 2 if size < 10 else 1 if size < 100 else 0
        text = f"{round(value, digits) + 0.0:,.{digits}f}"
        return text.replace("-", "−")
