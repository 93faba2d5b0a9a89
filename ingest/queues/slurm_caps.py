"""Power caps of nodes by the site's own tool: a configured command sets, another one prints what is set.

Slurm 22.05 caps no power by itself; a site that manages it does so by a tool on its nodes (``nvidia-smi -pl`` over its own
remote shell, a BMC's tool). The tool gets a list of arguments, never a shell's line, and its word is read back.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from ingest.queues.slurm_commands import Commands
from twin.errors import SourceError
from twin.frame import Frame, Origin, frame_of
from twin.ports import Action, Actuator
from twin.site import Site

METRIC = "power_cap_w"


class Capping(Protocol):
    """The options of the tool."""

    @property
    def cap(self) -> Sequence[str]:
        """Sets; ``{node}`` and ``{watts}`` are filled in."""
        ...

    @property
    def cap_read(self) -> Sequence[str]:
        """Prints watts; ``{node}`` is filled in."""
        ...

    @property
    def timeout_s(self) -> float:
        """How long it may take."""
        ...


def caps_of(options: Capping, site: Site) -> Mapping[str, Actuator]:
    """An actuator for each node of the site."""
    cap = PowerCap(options, site)
    return dict.fromkeys(site.ids_of("node"), cap)


class PowerCap:
    """Caps nodes. See ``twin.ports.Actuator``."""

    def __init__(self, options: Capping, site: Site) -> None:
        self._options, self._site = options, site
        self._commands = Commands(None, options.timeout_s)
        names = site.texts.get("hostname", [""] * len(site.ids))
        self._host = {node: names[site.position[node]] or node for node in site.ids_of("node")}

    def takes(self, asset: str) -> frozenset[str]:
        """See ``twin.ports.Choosing``."""
        return frozenset({METRIC})

    async def apply(self, action: Action, now: datetime) -> Frame:
        """Set and read back. ``SourceError`` where the tool refuses, or prints no number."""
        if action.metric != METRIC:
            raise SourceError(f"{action.asset}: its cap tool sets {METRIC}, not {action.metric}")
        if not now < action.until:
            raise SourceError(f"{action.asset}: the order's time was over at {action.until.isoformat()}")
        host = self._host[action.asset]
        await self._commands.run(*(word.format(node=host, watts=round(action.value)) for word in self._options.cap))
        said = (await self._commands.run(*(word.format(node=host) for word in self._options.cap_read))).decode(
            "utf-8", "replace"
        )
        try:
            value = float(said.strip().removesuffix("W"))
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise SourceError(f"{self._options.cap_read[0]}: prints {said.strip()[:40]!r} for {host}; it should print watts")
        return frame_of("node", now, self._site.row(action.asset), Origin.COMMANDED, "slurm", power_cap_w=value)
