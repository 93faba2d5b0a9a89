"""Adopted parameters: kept beside the site with where they come from, put in force at a start, taken back by one step.

The file ``calibration.json`` lies beside ``site.toml``. It lists adoptions, oldest first; those not undone are in force one
after the other, so the newest wins where two speak of the same. Nothing in it is ever overwritten: an adoption that is taken
back stays, marked.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from twin.calibrate import CURVE, one_stage
from twin.errors import ConfigError, Problem, SourceError
from twin.fit import Fit
from twin.frame import Floats
from twin.learned import LEARNABLE, Learned
from twin.liquid import TURBULENT_EXPONENT
from twin.losses import CHAIN
from twin.params import LossCurve, Params
from twin.site import Site

FORMAT = 1
MOST_ADOPTIONS = 200  # kept; the oldest that were undone, then the oldest, go
MOST_BYTES = 64_000_000
FILE = "calibration.json"
LEAST_SIGMA_FRAC, LEAST_SIGMA_K = 0.001, 0.03  # no sensor is better than this for long; assumed
LEAST_MODEL_FRAC = 0.02  # nor an exchanger's or a rack's heat better known, away from where it was fitted; assumed
# fit -> (kind, value's name in the fit -> key of LEARNABLE, key of its spread)
_LEARNT: Mapping[str, tuple[Mapping[str, str], str]] = {
    "flow": ({"flow_per_speed_kgps": "cdu:flow_per_speed_kgps"}, "cdu:flow_sigma_frac"),
    "pump": ({"base_frac": "cdu:pump_base_frac", "rise_frac": "cdu:pump_cubic_frac"}, ""),
    "loop pump": (
        {"base_frac": "pump:base_frac", "rise_frac": "pump:rise_frac", "exponent_ratio": "pump:exponent_ratio"},
        "",
    ),
    "exchanger": (
        {"conductance_wpk": "cdu:conductance_wpk", "conductance_exponent": "cdu:conductance_exponent"},
        "cdu:conductance_sigma_frac",
    ),
    "flow share": ({"flow_share_frac": "rack:flow_share_frac"}, "rack:flow_share_sigma_frac"),
    "liquid share": ({"liquid_frac": "rack:liquid_frac"}, "rack:liquid_sigma_frac"),
    "supply sensor": ({"supply_temp_offset_k": "rack:supply_temp_offset_k"}, "rack:supply_temp_sigma_k"),
}
_LEFT_OUT = {"exponent_ratio": 3.0, "conductance_exponent": TURBULENT_EXPONENT}  # of a fit that went without this parameter
Entry = dict[str, Any]
Ranges = Mapping[str, tuple[float, float]]


def entry_of(
    fits: Sequence[Fit], span: tuple[datetime, datetime], now: datetime, by: str, ranges: Ranges | None = None
) -> Entry:
    """An adoption of all of ``fits`` that are sound, made by ``by`` at ``now`` on readings of ``span``, as a JSON object.
    ``ranges``: see ``fitted_ranges``."""
    kept = [fit_record(one) for one in fits if one.known]
    return {
        "time": now.isoformat(),
        "by": by,
        "start": span[0].isoformat(),
        "end": span[1].isoformat(),
        "undone": None,
        "fits": kept,
        "ranges": {name: list(ends) for name, ends in (ranges or {}).items()},
    }


def fitted_ranges(entries: Sequence[Entry]) -> dict[str, tuple[float, float]]:
    """Name of a series of the offline twin -> lowest and highest value that the newest adoption in force was fitted on; empty
    where none is in force."""
    for entry in reversed(entries):
        if not entry.get("undone"):
            return {name: (float(low), float(high)) for name, (low, high) in entry.get("ranges", {}).items()}
    return {}


def fit_record(one: Fit) -> Entry:
    """A fit as a JSON object; NaN is null."""
    made = asdict(one)
    made["why"] = {"text": one.why.text, "params": dict(one.why.params)}
    cleaned: Entry = _plain(made)
    return cleaned


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def load_adoptions(path: Path) -> list[Entry]:
    """The adoptions in the file ``path``, none where there is no file; ``ConfigError`` where it is not one of ours."""
    if not path.exists():
        return []
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ConfigError([Problem(str(path), f"is over {MOST_BYTES} bytes; move it away and calibrate anew")])
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ConfigError([Problem(str(path), f"cannot be read ({error}); mend it, or move it away to run without")]) from error
    if not isinstance(found, dict) or found.get("format") != FORMAT or not isinstance(found.get("adoptions"), list):
        raise ConfigError([Problem(str(path), f"is no calibration of format {FORMAT}; move it away and calibrate anew")])
    return list(found["adoptions"])


def save_adoptions(path: Path, entries: Sequence[Entry]) -> None:
    """Write them, whole or not at all; beyond ``MOST_ADOPTIONS`` the oldest that were undone go, then the oldest.
    ``SourceError`` where the disk says no."""
    over = max(len(entries) - MOST_ADOPTIONS, 0)
    gone = set(sorted(range(len(entries)), key=lambda i: (not entries[i].get("undone"), i))[:over])
    kept = [entry for i, entry in enumerate(entries) if i not in gone]
    text = json.dumps({"format": FORMAT, "adoptions": kept}, ensure_ascii=False, allow_nan=False)
    fresh = path.with_name(path.name + ".new")
    try:
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(path)
    except OSError as error:
        raise SourceError(f"{path} cannot be written ({error.strerror}): nothing was adopted") from error


def undo(entries: Sequence[Entry], now: datetime) -> tuple[list[Entry], Entry | None]:
    """``entries`` with the newest adoption in force taken back, and that one; None where none is in force."""
    made = [dict(entry) for entry in entries]
    for entry in reversed(made):
        if not entry.get("undone"):
            entry["undone"] = now.isoformat()
            return made, entry
    return made, None


def in_force(site: Site, params: Params, entries: Sequence[Entry], where: str = FILE) -> Params:
    """``params`` with every adoption that was not taken back. Assets that the site no longer has are passed over;
    ``ConfigError`` for what is not understood."""
    columns: dict[str, Floats] = {key: column.copy() for key, column in params.learned.columns.items()}
    for i, entry in enumerate(entries):
        if entry.get("undone"):
            continue
        for one in entry.get("fits", []):
            try:
                params = _with(site, params, columns, one)
            except (KeyError, TypeError, ValueError) as error:
                what = f"adoption {i + 1}: {one!r:.80} is not understood ({error}); take it back or move the file away"
                raise ConfigError([Problem(where, what)]) from error
    return replace(params, learned=Learned(columns))


def _with(site: Site, params: Params, columns: dict[str, Floats], one: Entry) -> Params:
    """One fit put in force: in ``columns`` where it is of an asset, in ``params`` where it is of a kind."""
    name, values = str(one["name"]), {value["name"]: float(value["value"]) for value in one["values"]} if one["sound"] else {}
    if name in _LEARNT:
        if one["asset"] in site.position:
            _learn(site, columns, one, *_LEARNT[name], values)
        return params
    if name == "node":
        return _node(params, values, one)
    if name.removeprefix("loss of ") in CHAIN and name.startswith("loss of "):
        return _loss(params, name.removeprefix("loss of "), values) if values else params
    plant = params.plant
    if name == "fans" and values:
        base, rise = values.get("base_frac", 0.0), values["rise_frac"]
        plant = replace(
            plant, fan_base_frac=base, fan_full_frac=base + rise, fan_exponent=values.get("exponent_ratio", plant.fan_exponent)
        )
    elif name == "house" and values:
        return replace(params, house_w=values["house_w"])
    elif name not in ("fans", "house"):
        raise KeyError(f"no fit is called {name!r}")
    return replace(params, plant=plant)


def _learn(
    site: Site, columns: dict[str, Floats], one: Entry, keys: Mapping[str, str], sigma_key: str, values: Mapping[str, float]
) -> None:
    row = site.row(one["asset"])
    found = {key: values.get(name, _LEFT_OUT.get(name, 0.0)) for name, key in keys.items()} if values else {}
    if sigma_key and one["sigma_frac"] is not None:
        kelvin, modelled = sigma_key.endswith("_k"), "conductance" in sigma_key or "liquid" in sigma_key
        least = LEAST_SIGMA_K if kelvin else LEAST_MODEL_FRAC if modelled else LEAST_SIGMA_FRAC
        found[sigma_key] = max(float(one["sigma" if kelvin else "sigma_frac"]), least)
    for key, value in found.items():
        kind = key.split(":")[0]
        if key not in LEARNABLE or site.kind(one["asset"]) != kind:
            raise KeyError(f"{one['asset']!r} is no {kind}")
        columns.setdefault(key, np.full(site.count(kind), np.nan))[row] = value


def _node(params: Params, values: Mapping[str, float], one: Entry) -> Params:
    """The node model, and how far single nodes and all of them together are off from it."""
    node, doubt = params.node, params.doubt
    if "efficiency_frac" in values:
        plate = node.plate_stages or node.stages
        node = replace(node, stages=one_stage(params, values["efficiency_frac"]), plate_stages=plate)
    if "rest_idle_frac" in values:
        node = replace(node, rest_idle_frac=values["rest_idle_frac"])
    if "rest_full_frac" in values:
        node = replace(node, rest_full_frac=values["rest_full_frac"])
    each = max(float(one["sigma_frac"]), LEAST_SIGMA_FRAC)
    common = max(abs(float(one["validate"]["nmbe_frac"])), doubt.meter)
    whole = math.hypot(each, common)
    return replace(params, node=node, doubt=replace(doubt, node=whole, common_frac=(common / whole) ** 2))


def _loss(params: Params, kind: str, values: Mapping[str, float]) -> Params:
    if "loss_ratio" in values:
        return replace(params, chain=replace(params.chain, pdu_ratio=values["loss_ratio"]))
    curve = LossCurve(*(values.get(name, 0.0) for name in CURVE))
    chain = replace(params.chain, **{kind: curve}, fitted=tuple(dict.fromkeys((*params.chain.fitted, kind))))  # type: ignore[arg-type]
    return replace(params, chain=chain)
