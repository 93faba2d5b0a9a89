"""What ``/hall`` says is from a meter or from the twin, and who is silent."""

from datetime import timedelta

import numpy as np
from faces_harness import NOW, Hands, live_of

from twin.frame import Frame, Origin
from twin.load import Row, build_site
from ui.faces.pages.hall import look, told
from ui.view import view
from ui.words import words

ROWS = [{"id": "h0", "kind": "hall"}, {"id": "h1", "kind": "hall"}]
for i in range(4):
    ROWS += [{"id": f"r{i}", "kind": "rack", "parent": f"h{i // 2}", "rated_w": "40000"}]
    ROWS += [{"id": f"n{i}", "kind": "node", "parent": f"r{i}"}, {"id": f"g{i}", "kind": "gpu", "parent": f"n{i}"}]


def test_a_number_of_the_twin_is_marked_as_such_everywhere_and_one_of_a_meter_nowhere() -> None:
    live = live_of(build_site("c", "UTC", [Row("test", row) for row in ROWS]), Hands())
    at = NOW - timedelta(seconds=2)
    every = np.arange(4, dtype=np.int32)
    metered = Frame("rack", at, every[:2], {"power_w": np.array([10e3, 12e3])})
    live.state.absorb(metered, NOW)
    live.state.absorb(Frame("rack", at, every[2:], {"power_w": np.array([2e3, 1e3])}, Origin.MODELLED), NOW)
    live.state.absorb(Frame("gpu", at, every[:2], {"temp_c": np.array([60.0, 64.0])}), NOW)

    def page(after_s: float = 0.0) -> dict[str, object]:
        seen = view(live, NOW + timedelta(seconds=after_s))
        return told(look(seen, live), seen, words("en"))

    table = page()
    said = [[(one["n"], one["u"], one.get("o", "")) for one in row["c"][3:5]] for row in table["l.halls"]]
    assert said == [[("22.0", "kW", ""), ("64.0", "°C", "")], [("3.00", "kW", "model"), ("–", "", "")]]
    hot = {row["c"][0]: [(one["n"], one.get("o", "")) for one in row["c"][2:4]] for row in table["l.racks"]}
    assert hot["r1"] == [("12.0", ""), ("30", "")]
    assert hot["r2"] == [("2.00", "model"), ("5.0", "model")]
    assert (table["n.load"]["n"], table["n.load"].get("o")) == ("30", None), "the fullest rack has a meter"
    assert (table["n.load_mean"]["n"], table["n.load_mean"]["o"]) == ("16", "model")  # 25/160
    assert table["n.silent"]["n"] == "0", "of the racks r2 and r3 no GPU was ever read"
    assert page(3600.0)["n.silent"]["n"] == "2"
    nobody = live_of(live.site, Hands())
    seen = view(nobody, NOW)
    assert told(look(seen, nobody), seen, words("en"))["n.silent"]["f"] == "none"
