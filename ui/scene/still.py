"""One moment of the scene, from what the store has: for a picture in a file."""

from datetime import datetime

from twin.frame import Origin
from twin.ports import Store
from ui.scene.geometry import Geometry
from ui.scene.moments import PastValues, best_values, residual_values
from ui.scene.paint import TOP, Values, paint
from ui.scene.wire import Detail, frame_body


def still(made: Geometry, store: Store, time: datetime, colour: str, origin: str = "best") -> tuple[bytes, int]:
    """The frame's body, and how many boxes have a value in it. ``colour``: a metric; ``origin``: best, measured, modelled or
    residual."""
    measured, modelled = (
        PastValues(made.site, store, time, side, colour, made.pipes, old=True) for side in (Origin.MEASURED, Origin.MODELLED)
    )
    water = best_values(measured, modelled)
    whose: dict[str, Values] = {"measured": measured, "modelled": modelled, "residual": residual_values(measured, modelled)}
    signed = origin == "residual"
    painted = paint(made, whose.get(origin, water), colour, (), water, signed=signed)
    about = {"time": time.timestamp(), "colour": colour, "origin": origin, "against": False}
    return frame_body(made, painted, Detail(), about), int((painted.boxes <= TOP).sum())
