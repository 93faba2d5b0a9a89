"""What a prediction is made for, and what a plant must say of itself to be tuned."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np

from energy.tune.knobs import Knob
from twin.frame import Floats


class Case(NamedTuple):
    """Cases as columns: settings of all knobs [..., k], air outside [°C] and load over full load (0-1) [...]. The leading axes
    broadcast: a few hours of weather [h, 1] beside many settings [1, m, k] are h·m cases, and what depends on the weather alone
    is worked out h times."""

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
    def peak_frac(self) -> float:
        """The highest load, over full load, that there can be."""
        ...

    @property
    def knobs(self) -> tuple[Knob, ...]:
        """What may be set."""
        ...

    @property
    def margins(self) -> tuple[str, ...]:
        """Names of what must stay above 0, in their units."""
        ...

    @property
    def reserves(self) -> tuple[float, ...]:
        """What is kept off each margin for how the plant behaves before it has settled, in the margin's unit."""
        ...

    def limits(self, case: Case) -> Floats:
        """float64[..., c]: those margins as the physics has them."""
        ...

    def adapted(self, case: Case, margins: Mapping[str, float]) -> "Physics":
        """Itself, or itself with parameters nearer to what a reading shows: ``case`` is that reading's, without axes;
        ``margins`` as measured, NaN where silent."""
        ...

    def parts(self) -> Mapping[str, Part]:
        """Metered parts with the prior of their terms."""
        ...

    def terms(self, case: Case) -> Mapping[str, Floats]:
        """part -> float64[..., p]: the terms that the parts are made of."""
        ...


def columns(*values: Floats) -> Floats:
    """float64[..., p]: p broadcast columns side by side."""
    return np.stack(np.broadcast_arrays(*values), axis=-1)
