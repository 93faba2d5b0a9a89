"""Redfish resources as points: what to ask for, where links lead, and what a body says in numbers and states."""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from ingest.mappings.device import DeviceTable, Value
from ingest.wire import number

MAX_DEPTH = 6  # of objects and lists in a body
_SKIPPED = ("Links", "Actions", "Oem", "Thresholds")


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource: URI, what it is called by the link that leads to it, the next UUID above it, labels of the mapping."""

    path: str
    kind: str
    uuid: str
    labels: Mapping[str, str]


class Wanted(BaseModel):
    """One ``[[resource]]`` of a mapping."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(pattern=r"^[A-Za-z*]+(/[A-Za-z*]+)*$")
    labels: dict[str, str] = {}

    @field_validator("labels")
    @classmethod
    def _are_patterns(cls, value: dict[str, str]) -> dict[str, str]:
        for pattern in value.values():
            try:
                groups = re.compile(pattern).groups
            except re.error as error:
                raise ValueError(f"{pattern!r} is no regular expression ({error})") from None
            if groups != 1:
                raise ValueError(f"{pattern!r} has {groups} groups; put what names the part into one pair of brackets")
        return value

    @cached_property
    def _patterns(self) -> dict[str, "re.Pattern[str]"]:
        return {label: re.compile(pattern) for label, pattern in self.labels.items()}

    def read(self, path: str) -> dict[str, str]:
        """The labels that ``path`` gives."""
        found = {label: pattern.search(path) for label, pattern in self._patterns.items()}
        return {label: match.group(1) for label, match in found.items() if match}


class RedfishTable(DeviceTable):
    """A mapping of resources."""

    resource: tuple[Wanted, ...] = Field(min_length=1, max_length=200)

    def labels(self, path: str) -> dict[str, str]:
        """All labels that any ``[[resource]]`` reads out of ``path``."""
        return {label: value for one in self.resource for label, value in one.read(path).items()}


def members(body: Mapping[str, Any], step: str) -> list[str]:
    """URIs that ``step`` leads to from a body: the members of a collection (``*``) or one link."""
    links = many(body.get("Members")) if step == "*" else [body.get(step)]
    found = [link.get("@odata.id") for link in links if isinstance(link, dict)]
    return [path.partition("#")[0] for path in found if isinstance(path, str) and path.startswith("/")]


def many(said: Any) -> list[Any]:
    """The items of a list; none where it is no list."""
    return said if isinstance(said, list) else []


def typed(body: Mapping[str, Any], otherwise: str) -> str:
    """The schema that a body follows, without its version."""
    said = body.get("@odata.type")
    return said.lstrip("#").partition(".")[0] if isinstance(said, str) and said else otherwise


def flat(resource: Resource, body: Mapping[str, Any], wanted: frozenset[str]) -> Iterator[tuple[str, dict[str, str], Value]]:
    """Points of a body: all readings and set points, and whatever else is ``wanted``."""
    labels = {"path": resource.path, **resource.labels}
    labels["id"] = str(body.get("Id") or resource.path.rstrip("/").rpartition("/")[2])
    uuid = str(body.get("UUID") or resource.uuid)
    if uuid:
        labels["uuid"] = uuid
    kind = typed(body, resource.kind)
    if kind == "MetricReport":
        yield from _report(body, labels)
        return
    for name, more, value, reading in _walk(body, kind, {}, MAX_DEPTH):
        if name in wanted or (reading and isinstance(value, float)):
            yield name, labels | more, value


def _walk(
    body: Mapping[str, Any], prefix: str, labels: dict[str, str], depth: int
) -> Iterator[tuple[str, dict[str, str], Value, bool]]:
    for key, value in body.items():
        name = f"{prefix}.{key}"
        if "@" in key or key in _SKIPPED:
            continue
        if isinstance(value, dict):
            yield from _excerpt(value, name, labels)
            if depth and not value.keys() & {"Reading", "SetPoint"}:
                yield from _walk(value, name, labels, depth - 1)
        elif isinstance(value, list):
            for i, item in enumerate(value if depth else ()):
                if isinstance(item, dict):
                    more = labels | _item(item, i)
                    yield from _excerpt(item, name, more)
                    yield from _walk(item, name, more, depth - 1)
        else:
            yield name, labels, _plain(name, value), key.startswith("Reading")


def _excerpt(value: Mapping[str, Any], name: str, labels: dict[str, str]) -> Iterator[tuple[str, dict[str, str], Value, bool]]:
    if "Reading" in value:
        yield name, labels, _plain(name, value["Reading"]), True
    if "SetPoint" in value:
        yield f"{name}.SetPoint", labels, _plain(name, value["SetPoint"]), True


def _item(item: Mapping[str, Any], i: int) -> dict[str, str]:
    name = str(item.get("DeviceName") or item.get("Name") or item.get("FanName") or "")
    return {"item": str(item.get("MemberId", i)), "name": name, "context": str(item.get("PhysicalContext") or name)}


def _plain(name: str, value: Any) -> Value:
    if isinstance(value, bool | int | float):
        return number(name, value)
    return value if isinstance(value, str) else None


def _report(body: Mapping[str, Any], labels: dict[str, str]) -> Iterator[tuple[str, dict[str, str], Value]]:
    """A metric report of the telemetry service: ``MetricReport.<MetricId>`` with the ``property`` that it was made of."""
    for one in many(body.get("MetricValues")):
        if isinstance(one, dict) and one.get("MetricId"):
            value: Value = _plain(str(one["MetricId"]), one.get("MetricValue"))
            with suppress(ValueError):  # a state: the mapping's words know it, or nobody does
                value = float(value) if isinstance(value, str) else value
            yield f"MetricReport.{one['MetricId']}", labels | {"property": str(one.get("MetricProperty") or "")}, value
