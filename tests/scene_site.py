"""Sites and values for tests of the 3D twin."""

from typing import Any

import numpy as np
from faces_harness import Hands, live_of

from analytics.forecast import Forecast
from analytics.score import Score
from ingest.sources.simulated.layout import demo_rows
from twin.frame import Floats, Frame, Origin
from twin.load import Row, build_site
from twin.ports import Store
from twin.site import Site
from ui.view import Live

SITE = build_site("demo", "UTC", *demo_rows(512))  # 8 racks, 64 nodes, one hall


def bare_site() -> Site:
    """Two halls, racks of which half have a row, nodes without a unit: no position anywhere."""
    rows: list[dict[str, str]] = []
    links: list[dict[str, str]] = []
    for h in ("h1", "h2"):
        rows += [{"id": h, "kind": "hall"}, {"id": f"{h}-row", "kind": "row", "parent": h}]
        rows += [{"id": f"{h}-cdu", "kind": "cdu", "parent": h}, {"id": f"{h}-water", "kind": "loop", "parent": h}]
        rows.append({"id": f"{h}-p1", "kind": "pump", "parent": f"{h}-water"})
        links.append({"from": f"{h}-water", "to": f"{h}-cdu", "relation": "cools"})
        for r in range(6):
            rack = f"{h}-r{r}"
            rows.append({"id": rack, "kind": "rack", "parent": f"{h}-row" if r % 2 else h})
            links.append({"from": f"{h}-cdu", "to": rack, "relation": "cools"})
            for n in range(3):
                rows.append({"id": f"{rack}-n{n}", "kind": "node", "parent": rack})
                rows += [{"id": f"{rack}-n{n}-g{g}", "kind": "gpu", "parent": f"{rack}-n{n}"} for g in range(5)]
    rows += [{"id": "tower", "kind": "tower"}, {"id": "sky", "kind": "weather"}]
    return build_site("bare", "UTC", [Row("t", row) for row in rows], [Row("t", link) for link in links])


def values_of(site: Site, seed: int = 1) -> dict[tuple[str, str], Floats]:
    """(kind, metric) -> a reading of every asset, as a centre that is well."""
    rng = np.random.Generator(np.random.PCG64(seed))

    def some(kind: str, low: float, high: float) -> Floats:
        return rng.uniform(low, high, site.count(kind))

    made = {("gpu", "temp_c"): some("gpu", 45, 70), ("gpu", "power_w"): some("gpu", 300, 900)}
    made |= {("gpu", "util_frac"): some("gpu", 0, 1), ("node", "power_w"): some("node", 4e3, 1e4)}
    made |= {("rack", name): some("rack", low, high) for name, low, high in (*_WATER, ("power_w", 3e4, 8e4))}
    made |= {("cdu", name): some("cdu", low, high) for name, low, high in _WATER}
    made |= {("cdu", f"primary_{name}"): some("cdu", low, high) for name, low, high in _WATER}
    return made


_WATER = (("supply_temp_c", 28.0, 32.0), ("return_temp_c", 38.0, 45.0), ("flow_kgps", 0.5, 2.0))


def frames_of(live: Live, values: dict[tuple[str, str], Floats], origin: Origin = Origin.MEASURED) -> list[Frame]:
    """One frame a kind, of now."""
    site, now = live.site, live.clock.now()
    kinds = dict.fromkeys(kind for kind, _ in values)
    return [
        Frame(kind, now, site.all_rows(kind), {name: v for (k, name), v in values.items() if k == kind}, origin)
        for kind in kinds
    ]


def fed(site: Site = SITE, store: Store | None = None, **how: Any) -> Live:
    """A live centre with a reading of everything, kept in ``store`` too where one is given."""
    live = live_of(site, how.pop("clock", Hands()), **how)
    if store is not None:
        live.store = store
    feed_scene(live)
    return live


def feed_scene(live: Live, seed: int = 1, **more: dict[tuple[str, str], Floats]) -> None:
    """Readings of now into the state, and into the store where it takes them."""
    for frame in frames_of(live, values_of(live.site, seed) | more.get("values", {})):
        live.state.absorb(frame, live.clock.now())
        if not hasattr(live.store, "mean_w"):  # the made-up day of the harness is written by nobody
            live.store.append([frame])


def forecast_of(live: Live, ratio: Floats) -> Forecast:
    """A forecast of the site's IT power: that of its racks now times ``ratio``, an hour a step."""
    now = live.clock.now()
    power_w = float(live.state.column("rack", "power_w", now).sum()) * ratio
    score = Score("blend", 1.0, 1.0, 1.0, 0.8, 1)
    return Forecast(
        "site", 0, "it_power_w", now, now.timestamp() + 3600.0 * np.arange(len(ratio)), power_w, power_w, power_w, score
    )
