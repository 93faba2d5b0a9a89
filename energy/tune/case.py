"""What a prediction is made for, and what a plant must say of itself to be tuned."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from energy.tune.knobs import Knob
from twin.frame import Floats


class Case(NamedTuple):
    """Columns over n cases: settings of all knobs [n, k], air outside [°C], load over full load (0-1)."""

    knobs: Floats
    dry_bulb_c: Floats
    wet_bulb_c: Floats
    load_frac: Floats


class Part(NamedTuple):
    """A metered part of facility power, over the plant's scale: what its terms are worth by the twin, how sure that is, and
    the standard deviation of its meter's readings."""

    mean: tuple[float, ...]
    doubt: tuple[float, ...]
    noise: float


class Physics(Protocol):
    """A kind of plant by the twin's physics."""

    @property
    def it_w(self) -> float:
        """Scale of all powers [W]: IT power at full load."""
        ...

    @property
    def jump_frac(self) -> float:
        """The largest rise of load, over full load, that may come before a decision has worked."""
        ...

    @property
    def knobs(self) -> tuple[Knob, ...]:
        """What may be set."""
        ...

    @property
    def margins(self) -> tuple[str, ...]:
        """Names of what must stay above 0, in their units."""
        ...

    def limits(self, case: Case) -> Floats:
        """float64[n, c]: those margins as the physics has them."""
        ...

    def parts(self) -> Mapping[str, Part]:
        """Metered parts with the prior of their terms."""
        ...

    def terms(self, case: Case) -> Mapping[str, Floats]:
        """part -> float64[n, m]: the terms that the parts are made of."""
        ...
