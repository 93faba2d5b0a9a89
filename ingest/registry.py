"""The sources that icctwin can read, by the name that a configuration gives as ``type``.

A source's module has ``Options`` (a pydantic model that forbids what it does not know), ``source_ids(name, options)`` (the ids
of the ``source`` assets it reports under) and ``build(name, options, site)`` (an ``Opened``). It reads no environment and
opens nothing before its first poll, so that checking a configuration touches nothing. ``Options`` is validated with the context
``folder``, the place of the configuration: a relative path in it is meant from there.
"""

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Protocol

from pydantic import BaseModel

from ingest.push import Batch
from twin.curtail import Asker
from twin.errors import Problem
from twin.frame import Frame
from twin.ports import Actuator, Queue, Source
from twin.site import Site


@dataclass(frozen=True, slots=True)
class Opened:
    """What one ``[[source]]`` of a configuration gives; ``actuators`` by id of the asset whose metrics they set; ``history``:
    the past that a simulated plant makes up before its first poll at the given time, step by step; ``inlets``: those of its
    sources that are pushed into; ``askers``: those that bring requests of the grid to draw less."""

    sources: Sequence[Source]
    queues: Sequence[Queue] = ()
    actuators: Mapping[str, Actuator] = field(default_factory=dict)
    history: Callable[[datetime], Iterator[Sequence[Frame]]] | None = None
    inlets: "Sequence[Inlet]" = ()
    askers: Sequence[Asker] = ()


def no_node(where: str, node: str, site: Site) -> Problem:
    """``node``, which the configuration names at ``where``, is no node of ``site``."""
    known = site.ids_of("node")
    shown = ", ".join(known[:10]) + (f" and {len(known) - 10} more" if len(known) > 10 else "")
    does = "name one of them, or take the source away" if known else "add one to the assets, or take the source away"
    return Problem(where, f"node {node!r} is no node of the site (known: {shown or 'none'}); {does}")


class Inlet(Protocol):
    """A source that others push into; requests come through the faces."""

    @property
    def name(self) -> str:
        """Id of the source's own asset."""
        ...

    def opens(self, token: str) -> bool:
        """Whether a sender that shows ``token`` pushes into it. ``SourceError`` where that cannot be told."""
        ...

    def take(self, batch: Batch, now: datetime) -> Sequence[Frame]:
        """Frames of ``batch``. ``Refused`` where it is not taken. One thread at a time."""
        ...


class SourceModule(Protocol):
    """What the module of a source must have."""

    Options: type[BaseModel]

    def source_ids(self, name: str, options: BaseModel) -> Sequence[str]:
        """Ids of the ``source`` assets that ``build`` will report under; the first is ``name`` itself or starts with it."""
        ...

    def build(self, name: str, options: BaseModel, site: Site) -> Opened:
        """The source, bound to ``site``. Raises ``ConfigError`` where options and site do not fit."""
        ...


SOURCES: Mapping[str, str] = MappingProxyType(
    {
        "bacnet": "ingest.sources.bacnet",
        "flexbus": "ingest.sources.flexbus",
        "gnmi": "ingest.sources.gnmi",
        "grid": "ingest.sources.grid",
        "host": "ingest.sources.host",
        "kubernetes": "ingest.queues.kubernetes",
        "modbus": "ingest.sources.modbus",
        "mqtt": "ingest.sources.mqtt",
        "openadr": "ingest.sources.openadr",
        "prometheus": "ingest.sources.prometheus",
        "push": "ingest.sources.push",
        "redfish": "ingest.sources.redfish",
        "simulated": "ingest.sources.simulated",
        "slurm": "ingest.queues.slurm",
        "snmp": "ingest.sources.snmp",
        "snmp_traps": "ingest.sources.snmp_traps",
        "weather": "ingest.sources.weather",
    }
)


def source_module(type_name: str) -> SourceModule:
    """The module that reads sources of ``type_name``; imported only now, so that a source nobody uses costs nothing."""
    return importlib.import_module(SOURCES[type_name])


def set_twice(opened: Sequence[tuple[str, Opened]]) -> list[Problem]:
    """A problem for each asset that more than one source (name, what it gives) would set: an order must go one way."""
    sets: dict[str, str] = {}
    problems: list[Problem] = []
    for name, one in opened:
        for asset in one.actuators:
            other = sets.setdefault(asset, name)
            if other != name:
                what = f"would set {asset}, as source {other} does; an order goes one way: say orders = false at one of them"
                problems.append(Problem(f"source {name}", what))
    return problems
