"""How a scene and its frames travel: a few bytes of marker, a JSON head, then arrays as they lie in memory.

Both bodies: 4 bytes marker (``ICS1`` a scene, ``ICF1`` a frame), uint32 length of the head, the head in UTF-8 padded with
blanks to a multiple of 4, then data; everything little-endian.

Scene: head ``{hash, site, kinds, levels, halls, counts, arrays: {name: {type, shape, at}}, ids: {at, bytes}}``; ``at`` counts
from the end of the head, ``type`` is ``f4``, ``i4``, ``u2`` or ``u1``. Arrays are those of ``geometry.Geometry`` and
``routes.Pipes``; ids are joined by line feeds, in the order of boxes. Parents, links and cables name boxes by their number.

Frame: head ``{hash, time, colour, unit, origin, lead_h, run, against, folded_s, scales, water_c, pieces, pipes, pulses,
added}``, then one byte a box for each of ``pieces`` (``[begin, end]`` of box numbers), ``pipes`` bytes of temperature,
``pipes`` bytes of flow, ``pulses`` times uint32: box number times four plus severity, then a byte for each of the ``added``
racks of a what-if run, on the scale of racks. Bytes mean what ``paint`` says.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twin.kinds import KINDS
from ui.scene.geometry import Geometry
from ui.scene.paint import Painted
from ui.scene.sizes import Level

SCENE, FRAME = b"ICS1", b"ICF1"


@dataclass(frozen=True, slots=True)
class Detail:
    """What of a picture is wanted: boxes of levels up to ``levels``; GPUs only of the halls (rows) in ``halls``, None: all."""

    levels: int = int(Level.GPU)
    halls: tuple[int, ...] | None = None


def scene_body(geometry: Geometry) -> bytes:
    """The whole geometry in one body."""
    g, p = geometry, geometry.pipes
    columns: Mapping[str, NDArray[Any]] = {
        "centre": g.centre,
        "size": g.size,
        "parent": g.parent,
        "kind": g.kind,
        "level": g.level,
        "turned": g.turned,
        "hall": g.hall.astype(np.uint16),
        "span": g.span,
        "pipe_points": p.points,
        "pipe_first": p.first,
        "pipe_box": g.box_of[p.owner] if len(p.owner) else p.owner,
        "pipe_side": p.side,
        "pipe_radius": p.radius,
        "cable": g.cable,
        "feed": g.feed,
        "cool": g.cool,
    }
    told, parts, at = {}, [], 0
    for name, column in columns.items():
        column = np.ascontiguousarray(column, dtype=column.dtype.newbyteorder("<"))
        raw = column.tobytes()
        told[name] = {"type": column.dtype.str[1:], "shape": list(column.shape), "at": at}
        raw += b"\0" * (-len(raw) % 4)
        parts.append(raw)
        at += len(raw)
    ids = "\n".join(g.ids()).encode()
    site = g.site
    names = dict(zip(site.ids_of("hall"), site.text("hall", "name"), strict=True))
    head = {
        "hash": g.hash,
        "site": site.name,
        "kinds": list(KINDS),
        "levels": [level.name.lower() for level in Level],
        "halls": [{"id": id_, "name": name} for id_, name in names.items()],
        "counts": {kind: site.count(kind) for kind in KINDS if site.count(kind)},
        "arrays": told,
        "ids": {"at": at, "bytes": len(ids)},
    }
    return _packed(SCENE, head, [*parts, ids])


def pieces(geometry: Geometry, detail: Detail) -> list[list[int]]:
    """[begin, end] of the boxes of ``detail``, joined where they touch."""
    found: list[list[int]] = []
    for level in range(min(detail.levels, int(Level.GPU)) + 1):
        for hall in range(geometry.span.shape[1]):
            begin, end = (int(v) for v in geometry.span[level, hall])
            if begin == end or (level == Level.GPU and detail.halls is not None and hall not in detail.halls):
                continue
            if found and found[-1][1] == begin:
                found[-1][1] = end
            else:
                found.append([begin, end])
    return found


def frame_body(geometry: Geometry, painted: Painted, detail: Detail, about: Mapping[str, Any], added: bytes = b"") -> bytes:
    """One frame at one level of detail; ``about`` says whose (time, colour, origin, …); ``added``: bytes of added racks."""
    wanted = pieces(geometry, detail)
    head = {
        "hash": geometry.hash,
        **about,
        "unit": painted.unit,
        "scales": {kind: list(scale) for kind, scale in painted.scales.items()},
        "water_c": list(painted.water_c),
        "pieces": wanted,
        "pipes": len(painted.pipe_temp),
        "pulses": len(painted.pulse),
        "added": len(added),
    }
    pulse = (painted.pulse_box.astype("<u4") * 4 + painted.pulse).astype("<u4")
    data = [painted.boxes[begin:end].tobytes() for begin, end in wanted]
    return _packed(FRAME, head, [*data, painted.pipe_temp.tobytes(), painted.pipe_flow.tobytes(), pulse.tobytes(), added])


def _packed(marker: bytes, head: Mapping[str, Any], parts: Sequence[bytes]) -> bytes:
    text = json.dumps(head, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    return b"".join([marker, len(text).to_bytes(4, "little"), text, *parts])


def unpacked(body: bytes) -> tuple[dict[str, Any], bytes]:
    """Head and data of either body; ``ValueError`` where it is neither."""
    if body[:4] not in (SCENE, FRAME):
        raise ValueError("no scene and no frame: the first bytes are none of ICS1, ICF1")
    length = int.from_bytes(body[4:8], "little")
    return json.loads(body[8 : 8 + length]), body[8 + length :]
