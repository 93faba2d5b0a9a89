"""A small whole centre (power chain, cooling, two halls) and readings for it; and random ones for properties."""

from datetime import UTC, datetime

import numpy as np
from hypothesis import strategies as st

from tests.small import rows
from twin.frame import Frame, Origin, frame_of
from twin.load import build_site
from twin.site import Site
from twin.state import State

NOW = datetime(2026, 11, 1, tzinfo=UTC)

_ASSETS = [
    "id=h1 kind=hall", "id=h2 kind=hall", "id=net kind=grid", "id=sky kind=weather", "id=m1 kind=meter",
    "id=tr kind=transformer rated_va=200000", "id=tp kind=transformer rated_va=100000",
    "id=ua kind=ups rated_w=90000", "id=ub kind=ups rated_w=90000",
    "id=c1 kind=cdu parent=h1", "id=pp kind=pump rated_w=2000", "id=ch1 kind=chiller rated_w=20000", "id=ct1 kind=tower",
    "id=sp kind=switch parent=h1 rated_w=1500", "id=fs kind=storage",
]  # fmt: skip
_LINKS = [
    "from=net to=m1", "from=m1 to=tr", "from=m1 to=tp", "from=tr to=ua", "from=tr to=ub", "from=ua to=sp",
    "from=tp to=pp", "from=tp to=ch1", "from=tp to=ct1", "from=tr to=c1",
]  # fmt: skip


def centre(*more: str, links: tuple[str, ...] = ()) -> Site:
    """h1: racks r1, r2 under CDU c1; h2: rack r3 in air. Each rack has two PDUs in it, two nodes of four GPUs."""
    assets, wires = list(_ASSETS), list(_LINKS)
    for rack, hall in (("r1", "h1"), ("r2", "h1"), ("r3", "h2")):
        assets.append(f"id={rack} kind=rack parent={hall}")
        for side in "ab":
            assets.append(f"id={rack}p{side} kind=pdu parent={rack} rated_w=15000")
            wires += [f"from=u{side} to={rack}p{side}", f"from={rack}p{side} to={rack}"]
        for n in (1, 2):
            assets.append(f"id={rack}n{n} kind=node parent={rack}")
            assets += [f"id={rack}n{n}g{g} kind=gpu parent={rack}n{n} index={g}" for g in range(4)]
    wires = [f"{wire} relation=feeds" for wire in wires]
    wires += ["from=ct1 to=ch1 relation=cools", "from=ch1 to=c1 relation=cools"]
    wires += ["from=c1 to=r1 relation=cools", "from=c1 to=r2 relation=cools"]
    return build_site("test", "UTC", rows(*assets, *more), rows(*wires, *links))


CENTRE = centre()


def tell(state: State, kind: str, when: datetime = NOW, **columns: object) -> None:
    """Absorb one value a metric for every asset of ``kind`` (a number or an array, NaN: silent)."""
    n = state.site.count(kind)
    values = {name: np.broadcast_to(np.asarray(c, dtype=np.float64), n).copy() for name, c in columns.items()}
    state.absorb(Frame(kind, when, state.site.all_rows(kind), values), when)


def heard(site: Site, gpu_w: object = 500.0, wet_bulb_c: float = 12.0) -> State:
    """A state in which every GPU and the weather speak."""
    state = State(site)
    tell(state, "gpu", power_w=gpu_w)
    state.absorb(frame_of("weather", NOW, 0, wet_bulb_c=wet_bulb_c, dry_bulb_c=wet_bulb_c + 6), NOW)
    return state


def find(frames: list[Frame], kind: str, name: str, origin: Origin = Origin.MODELLED, band: str = "") -> np.ndarray:
    """The values of one metric by row over all assets of ``kind``, NaN where no frame speaks."""
    size = max([int(f.rows.max()) + 1 for f in frames if f.kind == kind], default=0)
    found = np.full(size, np.nan)
    for f in frames:
        if (f.kind, f.origin, f.band) == (kind, origin, band) and name in f.values:
            found[f.rows] = f.values[name]
    return found


@st.composite
def random_centres(draw: st.DrawFn) -> tuple[Site, State]:
    """The centre with some links gone or added, and any mix of silence and readings."""
    extra = draw(st.sets(st.sampled_from(["d1 kind=drycooler", "l1 kind=loop", "r4 kind=rack parent=h2 rated_w=9000"])))
    feeds = draw(st.sets(st.sampled_from(["from=ua to=r3n1", "from=ua to=r3n2", "from=m1 to=h2", "from=net to=c1"])))
    site = centre(*(f"id={line}" for line in extra), links=tuple(f"{line} relation=feeds" for line in feeds))
    state = State(site)
    some = st.sampled_from([np.nan, 0.0, 90.0, 700.0])
    n = site.count("gpu")
    tell(state, "gpu", power_w=draw(st.lists(some, min_size=n, max_size=n)), util_frac=draw(st.sampled_from([np.nan, 0.4])))
    m = site.count("rack")
    tell(state, "rack", power_w=draw(st.lists(st.sampled_from([np.nan, 8000.0]), min_size=m, max_size=m)))
    tell(state, "node", cpu_util_frac=draw(st.sampled_from([np.nan, 0.9])), power_w=draw(st.sampled_from([np.nan, 3000.0])))
    tell(state, "weather", wet_bulb_c=draw(st.sampled_from([np.nan, 2.0, 27.0])))
    tell(state, "pump", pump_speed_frac=draw(st.sampled_from([np.nan, 0.7])))
    return site, state
