"""Reads switches over gNMI (OpenConfig gNMI 0.7 and newer): interfaces, queues, flow control, ECN, temperatures.

What a mapping (``ingest.mappings.device``) says beside its ``[[metric]]``s::

    mode = "once"                 # how paths are read: a subscription that ends by itself, "get", or "stream": one that
                                  # stays open, on which the switch says everything anew every every_s
    encoding = "json_ietf"        # or json, proto

    [[path]]
    path = "/interfaces/interface/state/counters"
    origin = "openconfig"         # "" is not said
    target = "COUNTERS_DB"        # of the path's prefix, where a switch wants one
    keys = { device = "Ethernet[0-9]+" }   # label -> pattern: an element of a path that fits is that label, and * in the name

A point is named by its path without keys and module names (``/interfaces/interface/state/counters/in-octets``); each key
is a label ``element_key`` (``interface_name``). JSON below a path is read in the same way, lists by ``name``, ``index``,
``id`` or ``interface-id``. Values count from the time that the switch gives with them, to the second.

Nothing is written: no metric of a switch or port can be set (``twin.metrics``).
"""

import json
import math
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from ingest.mappings.bind import Series
from ingest.mappings.device import MAX_POINTS, DeviceTable, Points, Value
from ingest.registry import Opened
from ingest.sources.device import DeviceOptions, beside, host_port, library, source_names
from ingest.sources.device_targets import open_targets
from ingest.sources.gnmi_stream import Stream
from ingest.sources.mqtt_points import AHEAD_S, BORN_S
from ingest.wire import number, read_secret
from twin.errors import SourceError
from twin.site import Site

PORT = 9339  # IANA, gnmi-gnoi
MAX_MESSAGE_BYTES = 32 * 2**20
MAX_STAMPS = 200  # distinct seconds of one reading; beyond, all of it counts as of now
MAX_DEPTH = 20
_KEYS = ("name", "index", "id", "interface-id", "sequence")
_ELEMENT = re.compile(r"/((?:[^/\[\]]|\[[^\]]*\])+)")
_KEY = re.compile(r"\[([^=\]]+)=([^\]]*)\]")


class Wanted(BaseModel):
    """One ``[[path]]``; what its fields mean, the module says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    origin: str = ""
    target: str = ""
    keys: dict[str, str] = {}

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if "".join(f"/{one}" for one in _ELEMENT.findall(self.path)) != self.path:
            raise ValueError(f"path {self.path!r}: write /element/element[key=value]/…")
        for pattern in self.keys.values():
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"keys: {pattern!r} is no regular expression ({error})") from None
        return self

    @cached_property
    def patterns(self) -> dict[str, "re.Pattern[str]"]:
        """Label -> pattern of the element that it is."""
        return {label: re.compile(pattern) for label, pattern in self.keys.items()}


class GnmiTable(DeviceTable):
    """A mapping of paths."""

    mode: Literal["once", "get", "stream"] = "once"
    encoding: Literal["json_ietf", "json", "proto"] = "json_ietf"
    path: tuple[Wanted, ...] = Field(min_length=1, max_length=200)

    @model_validator(mode="after")
    def _streams_one_target(self) -> Self:
        if self.mode == "stream" and len({one.target for one in self.path}) > 1:
            raise ValueError('mode = "stream" reads one target; write a mapping for each')
        return self


class GnmiOptions(DeviceOptions):
    """What a ``[[source]]`` of type ``gnmi`` may say.

    ``user`` and ``password_file``; TLS with ``ca_file`` (else the system's authorities), ``cert_file`` and ``key_file``
    for mutual TLS, ``server_name`` where the certificate names another than the target; ``tls = false`` speaks in clear.
    """

    mapping: str = "openconfig"
    user: str = ""
    password_file: Path | None = None
    tls: bool = True
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    server_name: str = ""
    timeout_s: float = Field(default=10.0, gt=0, le=300)

    @field_validator("password_file", "ca_file", "cert_file", "key_file")
    @classmethod
    def _files_beside(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        return beside(value, info)

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if bool(self.cert_file) != bool(self.key_file):
            raise ValueError("cert_file and key_file belong together")
        if not self.tls and (self.ca_file or self.cert_file):
            raise ValueError("ca_file and cert_file are of tls = true")
        if bool(self.user) != bool(self.password_file):
            raise ValueError("user and password_file belong together")
        return self

    def check_target(self, target: str) -> None:
        """``ValueError`` where ``target`` is neither host nor host:port."""
        super().check_target(target)
        host_port(target, PORT)


Options = GnmiOptions


@dataclass(frozen=True, slots=True)
class Libraries:
    """What the protocol needs, imported only where somebody speaks it."""

    grpc: ModuleType
    aio: ModuleType
    messages: ModuleType
    stubs: ModuleType


def source_ids(name: str, options: GnmiOptions) -> Sequence[str]:
    """Ids of the ``source`` assets, one a target."""
    return source_names(name, options)


def build(name: str, options: GnmiOptions, site: Site) -> Opened:
    """One source a target. ``ConfigError`` for a mapping that is wrong and assets that the site does not have."""
    spec = "pygnmi.spec.v080"
    wanted = ("grpc", "grpc.aio", f"{spec}.gnmi_pb2", f"{spec}.gnmi_pb2_grpc")
    lib = Libraries(*(library(one, f"source {name}") for one in wanted))
    return open_targets(
        name, options, site, "gnmi", GnmiTable, lambda target, table, *_: GnmiReach(target, table, options, lib)
    )


class GnmiReach:
    """One switch. See ``ingest.sources.device.Reach``."""

    def __init__(self, target: str, table: GnmiTable, options: GnmiOptions, lib: Libraries) -> None:
        self._target, self._table, self._options, self._lib = target, table, options, lib
        self._channel: Any = None
        self._stub: Any = None
        self._stream = Stream(target, self._streamed, lambda said: self._points(said, table.path), _taken_back)

    async def read(self, now: datetime) -> Points:
        """All paths of the mapping. Several prefixes (targets) are several requests."""
        series: list[Series] = []
        values: list[Value] = []
        times: list[float] = []
        try:
            if self._table.mode == "stream":
                return await self._stream.read(now, self._options.timeout_s)
            for target in dict.fromkeys(one.target for one in self._table.path):
                paths = [one for one in self._table.path if one.target == target]
                async for notification in self._asked(target, paths):
                    time_s = notification.timestamp / 1e9 if notification.timestamp else math.nan
                    for name, labels, value in self._points(notification, paths):
                        series.append((name, labels))
                        values.append(value)
                        times.append(time_s)
                    if len(series) > MAX_POINTS:
                        raise SourceError(f"{self._target}: more than {MAX_POINTS} values; name less in the mapping")
        except self._lib.grpc.RpcError as error:
            await self.close()
            raise SourceError(f"{self._target}: {_why(error)}") from None
        except (ValueError, RecursionError) as error:
            raise SourceError(f"{self._target}: a value cannot be read ({' '.join(str(error).split())[:200]})") from None
        times_s = np.array(times, dtype=np.float64)
        said_s = (times_s >= BORN_S) & (times_s <= now.timestamp() + AHEAD_S)  # others are of a clock that says nothing
        times_s = np.where(said_s, times_s, np.nan)
        if len(np.unique(np.floor(times_s[~np.isnan(times_s)]))) > MAX_STAMPS:
            return Points(series, values)
        return Points(series, values, times_s)

    async def write(self, series: Series, value: float) -> None:
        """Never: see the module."""
        raise SourceError(f"{self._target}: nothing is set over gNMI")

    async def close(self) -> None:
        """Let go of the channel."""
        await self._stream.close()
        if self._channel is not None:
            channel, self._channel = self._channel, None
            await channel.close()

    async def _asked(self, target: str, paths: Sequence[Wanted]) -> Any:
        """Notifications that answer for ``paths``."""
        g, options = self._lib.messages, self._options
        metadata = self._ready()
        prefix = g.Path(target=target) if target else None
        encoding = g.Encoding.Value(self._table.encoding.upper())
        if self._table.mode == "get":
            asked = g.GetRequest(prefix=prefix, path=[self._path(one) for one in paths], encoding=encoding)
            answer = await self._stub.Get(asked, metadata=metadata, timeout=options.timeout_s)
            for notification in answer.notification:
                yield notification
            return
        wanted = [g.Subscription(path=self._path(one)) for one in paths]
        once = g.SubscriptionList(prefix=prefix, subscription=wanted, mode=g.SubscriptionList.ONCE, encoding=encoding)
        async for answer in self._answers(once, metadata, options.timeout_s):
            if answer.sync_response:
                return
            yield answer.update
        raise SourceError(f"{self._target}: ends its answer before it is whole (no sync_response)")

    async def _streamed(self) -> AsyncIterator[Any]:
        """Answers to a subscription of all paths that stays open, each value anew every ``every_s``."""
        g, paths = self._lib.messages, self._table.path
        metadata = self._ready()
        prefix = g.Path(target=paths[0].target) if paths[0].target else None
        every_ns = round(self._options.every_s * 1e9)
        wanted = [g.Subscription(path=self._path(one), mode=g.SAMPLE, sample_interval=every_ns) for one in paths]
        encoding = g.Encoding.Value(self._table.encoding.upper())
        asked = g.SubscriptionList(prefix=prefix, subscription=wanted, mode=g.SubscriptionList.STREAM, encoding=encoding)
        async for answer in self._answers(asked, metadata, None):
            yield answer

    async def _answers(self, asked: Any, metadata: Sequence[tuple[str, str]], timeout_s: float | None) -> AsyncIterator[Any]:
        call = self._stub.Subscribe(metadata=metadata, timeout=timeout_s)
        try:
            await call.write(self._lib.messages.SubscribeRequest(subscribe=asked))
            async for answer in call:
                yield answer
        finally:
            call.cancel()

    def _ready(self) -> list[tuple[str, str]]:
        """The channel is there; what a request says of who asks."""
        options = self._options
        if self._channel is None:
            self._open()
        if options.user and options.password_file:
            return [("username", options.user), ("password", read_secret(options.password_file))]
        return []

    def _open(self) -> None:
        lib, options = self._lib, self._options
        host, port = host_port(self._target, PORT)
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        settings = [
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.enable_http_proxy", 0),
            ("grpc.use_local_subchannel_pool", 1),
        ]
        if options.tls:
            read = [file.read_bytes() if file else None for file in (options.ca_file, options.key_file, options.cert_file)]
            if options.server_name:
                settings.append(("grpc.ssl_target_name_override", options.server_name))  # type: ignore[arg-type]
            credentials = lib.grpc.ssl_channel_credentials(*read)
            self._channel = lib.aio.secure_channel(address, credentials, options=settings)
        else:
            self._channel = lib.aio.insecure_channel(address, options=settings)
        self._stub = lib.stubs.gNMIStub(self._channel)

    def _path(self, one: Wanted) -> Any:
        g = self._lib.messages
        elements = [
            g.PathElem(name=text.partition("[")[0], key=dict(_KEY.findall(text))) for text in _ELEMENT.findall(one.path)
        ]
        return g.Path(origin=one.origin, elem=elements)

    def _points(self, notification: Any, paths: Sequence[Wanted]) -> Iterator[tuple[str, dict[str, str], Value]]:
        patterns = {label: pattern for one in paths for label, pattern in one.patterns.items()}
        for update in notification.update:
            names: list[str] = []
            labels: dict[str, str] = {}
            for element in (*notification.prefix.elem, *update.path.elem):
                _step(_bare(element.name), names, labels, patterns)
                for key, value in element.key.items():
                    labels[f"{_bare(element.name)}_{_bare(key)}"] = value
            for rest, more, value in _values(update.val, patterns):
                yield "".join(f"/{name}" for name in (*names, *rest)), labels | more, value


def _taken_back(notification: Any) -> Iterator[dict[str, str]]:
    """Labels of what is there no more."""
    for path in notification.delete:
        labels = {
            f"{_bare(one.name)}_{_bare(key)}": value
            for one in (*notification.prefix.elem, *path.elem)
            for key, value in one.key.items()
        }
        if labels:
            yield labels


def _bare(name: str) -> str:
    """Without the name of the YANG module."""
    return name.rpartition(":")[2]


def _step(name: str, names: list[str], labels: dict[str, str], patterns: dict[str, "re.Pattern[str]"]) -> None:
    """One element more of a path; one with a wildcard of the request says nothing."""
    for label, pattern in patterns.items():
        if pattern.fullmatch(name):
            labels[label] = name
            names.append("*")
            return
    if "*" not in name:
        names.append(name)


def _values(val: Any, patterns: dict[str, "re.Pattern[str]"]) -> Iterator[tuple[list[str], dict[str, str], Value]]:
    """What a typed value says: one point, or those of the JSON in it."""
    kind = val.WhichOneof("value")
    if kind in ("json_val", "json_ietf_val"):
        yield from _flat(json.loads(getattr(val, kind)), [], {}, patterns, "", MAX_DEPTH)
    elif kind == "decimal_val":
        yield [], {}, number("a decimal", val.decimal_val.digits, -val.decimal_val.precision)
    elif kind in ("int_val", "uint_val", "float_val", "double_val", "bool_val"):
        yield [], {}, float(getattr(val, kind))
    elif kind in ("string_val", "ascii_val"):
        yield [], {}, _plain(getattr(val, kind))


def _flat(
    body: Any, names: list[str], labels: dict[str, str], patterns: dict[str, "re.Pattern[str]"], above: str, depth: int
) -> Iterator[tuple[list[str], dict[str, str], Value]]:
    if isinstance(body, dict) and depth:
        for key, value in body.items():
            here, more = list(names), dict(labels)
            _step(_bare(key), here, more, patterns)
            yield from _flat(value, here, more, patterns, _bare(key), depth - 1)
    elif isinstance(body, list) and depth:
        for item in body:
            more = dict(labels)
            if isinstance(item, dict):
                more |= {f"{above}_{_bare(k)}": str(v) for k, v in item.items() if _bare(k) in _KEYS}
            yield from _flat(item, names, more, patterns, above, depth - 1)
    elif isinstance(body, bool | int | float):
        yield names, labels, number("/".join(names) or "a value", body)
    elif isinstance(body, str):
        yield names, labels, _plain(body)


def _plain(text: str) -> Value:
    """JSON of YANG writes 64-bit numbers and decimals as text (RFC 7951); an identity comes with its module's name."""
    try:
        return float(text)
    except ValueError:
        return _bare(text) if re.fullmatch(r"[\w-]+:[\w-]+", text) else text


def _why(error: Any) -> str:
    """What a failed call says, in one clause."""
    code = error.code().name if callable(getattr(error, "code", None)) else type(error).__name__
    said = " ".join(str(error.details() if callable(getattr(error, "details", None)) else error).split())[:200]
    hints = {
        "UNAVAILABLE": "is it running and the address right, and tls as it wants it?",
        "DEADLINE_EXCEEDED": "the switch or the network is slow",
        "UNAUTHENTICATED": "check user and password_file",
        "PERMISSION_DENIED": "check the user's rights",
        "UNIMPLEMENTED": 'set mode = "get" in the mapping',
        "RESOURCE_EXHAUSTED": "its answer is too large; name less in the mapping",
    }
    return f"{code} ({said})" + (f"; {hints[code]}" if code in hints else "")
