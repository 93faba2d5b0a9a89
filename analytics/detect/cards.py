"""Model cards: what each detector was fitted and judged on, its figures beside baselines, and where it is known to be weak.

They stand in ``cards.toml``. The figures are those of ``icctwin bench detect`` when the card was written; the bench measures
them again.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Card:
    """One detector. ``chosen_on``: what its settings were chosen on; ``judged_on``: what the figures are from."""

    name: str
    asks: str
    method: str
    data: str
    chosen_on: str
    judged_on: str
    figures: Mapping[str, float]
    baselines: Mapping[str, float]
    weak: tuple[str, ...]

    def plain(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self) | {"figures": dict(self.figures), "baselines": dict(self.baselines)}

    def text(self) -> str:
        """As lines for a terminal."""
        lines = [f"{self.name}: {self.asks}", f"  method     {self.method}", f"  data       {self.data}"]
        lines += [f"  chosen on  {self.chosen_on}", f"  judged on  {self.judged_on}"]
        lines += ["  figures    " + ", ".join(f"{k} {v:g}" for k, v in self.figures.items())]
        lines += ["  baselines  " + ", ".join(f"{k} {v:g}" for k, v in self.baselines.items())]
        return "\n".join([*lines, *(f"  weak       {weak}" for weak in self.weak)])


def _read_cards() -> tuple[Card, ...]:
    table = tomllib.loads(Path(__file__).with_name("cards.toml").read_text(encoding="utf-8"))
    return tuple(Card(**row | {"weak": tuple(row["weak"])}) for row in table["card"])


CARDS = _read_cards()
