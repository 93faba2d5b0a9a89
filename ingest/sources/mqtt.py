"""Reads and sets what speaks over an MQTT broker: JSON by a mapping of topics, Sparkplug B, the open BMS event bus.

A target is a broker, and what is behind it are many assets, so it is no asset itself. What a mapping
(``ingest.mappings.device``) says beside its ``[[metric]]``s::

    format = "json"               # or "sparkplug" (Sparkplug B 3.0), or "bms" (the open BMS event bus: see ingest.sources.bms)
    silence_s = 300               # a broker from which nothing is heard for so long is an error, however well it is connected

    [[topic]]                     # format json
    filter = "cooling/{cdu}/telemetry"   # {x} is one level and becomes label x; + and # as in MQTT
    time = "ts"                   # member with the time of the values (s or ms since 1970, or ISO 8601); else when they arrived

    [[command]]                   # format json: where [[set]] sends orders
    name = "supply_setpoint_order"
    topic = "cooling/{cdu}/setpoint/set"
    payload = '{"value": %s}'     # the number stands for %s

A point of JSON is named by its members (``secondary.supply_temp``), of a bare value by the last level of its topic. A point of
Sparkplug is the metric's name, with the labels ``group``, ``edge`` and ``device``; orders go out as NCMD or DCMD.

A value is reported once, with the time of its message, to the second. A metric made of several points is reported when any of
them is heard, the others as they last were; it is unknown while one is older than the newest by more than the metric may be.
Orders are read back from what the device reports after them.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from ingest.mappings import FOLDER, load_table
from ingest.mappings.bind import Series
from ingest.mappings.device import Bound, DeviceTable, Points
from ingest.registry import Opened
from ingest.sources.bms import BmsDecoder
from ingest.sources.device import DeviceOptions, beside, host_port, library, source_names
from ingest.sources.device_targets import open_targets
from ingest.sources.mqtt_client import PORT, client_of, has_begun
from ingest.sources.mqtt_points import Cache, Command, Decoder, JsonDecoder, Topic
from ingest.sources.sparkplug import SparkplugDecoder
from twin.errors import ConfigError, Problem, SourceError
from twin.site import Site

MAX_PAYLOAD_BYTES = 2**18  # of one message; a larger one is left out and counted
FIRST_S = 1.0  # how long a first poll waits for what the broker has retained to begin
SETTLE_S = 0.2  # ... and, up to half the timeout, for it to end: a large bus retains a hundred thousand messages
QOS = 0  # of what we listen to: of retained messages a broker queues few at QoS 1 (mosquitto 1,000) and drops the rest
QUIET_S = 0.5  # of a bus that has said all that it retains
MAX_WAITS = 10  # times the timeout, that reading a whole bus may take


class MqttTable(DeviceTable):
    """A mapping of topics."""

    format: Literal["json", "sparkplug", "bms"] = "json"
    silence_s: float = Field(default=300.0, gt=0)
    topic: tuple[Topic, ...] = ()
    command: tuple[Command, ...] = ()

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if (self.format == "json") != bool(self.topic):
            raise ValueError('[[topic]] is of format = "json", which needs one at least')
        known = {one.name for one in self.command}
        for setting in self.settings:
            if self.format == "json" and setting.write not in known:
                raise ValueError(f"[[set]] {setting.kind}.{setting.metric}: write must name a [[command]]")
        return self


class MqttOptions(DeviceOptions):
    """What a ``[[source]]`` of type ``mqtt`` may say.

    ``user`` and ``password_file``; ``tls`` with ``ca_file``, ``cert_file`` and ``key_file``; ``client_id``: how the broker
    knows us; ``integration``: our name on a BMS event bus, where we are to publish there; ``rebirth``: whether to ask a
    Sparkplug node that speaks of metrics that it never named to introduce itself again. ``orders`` names the assets that may be
    ordered over this broker, for it is not known which of the site's are behind it.
    """

    every_s: float = Field(default=5.0, ge=0.1, le=3600)
    orders: bool | tuple[str, ...] = False
    user: str = ""
    password_file: Path | None = None
    tls: bool = False
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    client_id: str = Field(default="", max_length=100)
    integration: str = Field(default="", pattern=r"^[A-Za-z0-9_.-]*$")
    rebirth: bool = True

    @field_validator("password_file", "ca_file", "cert_file", "key_file")
    @classmethod
    def _files_beside(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        return beside(value, info)

    @model_validator(mode="after")
    def _belong_together(self) -> Self:
        if (self.ca_file or self.cert_file or self.key_file) and not self.tls:
            raise ValueError("ca_file, cert_file and key_file are of tls = true")
        if bool(self.cert_file) != bool(self.key_file):
            raise ValueError("cert_file and key_file belong together")
        return self

    def check_target(self, target: str) -> None:
        """``ValueError`` where ``target`` is neither host nor host:port."""
        super().check_target(target)
        host_port(target, PORT)


Options = MqttOptions


def source_ids(name: str, options: MqttOptions) -> Sequence[str]:
    """Ids of the ``source`` assets, one a broker."""
    return source_names(name, options)


def build(name: str, options: MqttOptions, site: Site) -> Opened:
    """One source a broker. ``ConfigError`` for a mapping that is wrong and assets that the site does not have."""
    lib = library("aiomqtt", f"source {name}")

    def reach(target: str, table: MqttTable, bound: Bound, source: str) -> MqttReach:
        return MqttReach(target, table, options, lib)

    return open_targets(name, options, site, "mqtt", MqttTable, reach, homeless=True)


async def bus_of(
    target: str, timeout_s: float, user: str = "", password_file: Path | None = None, ca_file: Path | None = None
) -> BmsDecoder:
    """What the broker at ``target`` retains of a BMS event bus. ``SourceError`` where it does not answer, or holds no such
    bus."""
    try:
        login = {"user": user, "password_file": password_file, "tls": bool(ca_file), "ca_file": ca_file}
        options = MqttOptions.model_validate({"targets": target, "mapping": "bms", "timeout_s": timeout_s, **login})
    except ValidationError as error:
        raise ConfigError([Problem(target, str(one["msg"]).removeprefix("Value error, ")) for one in error.errors()]) from None
    table = load_table("bms", MqttTable, FOLDER / "mqtt")
    reach = MqttReach(target, table, options, library("aiomqtt", "discover"))
    decoder = reach.decoder
    try:
        await reach.last(datetime.fromtimestamp(0, UTC))
        loop, heard = asyncio.get_running_loop(), -1
        ends_s = loop.time() + MAX_WAITS * timeout_s
        while isinstance(decoder, BmsDecoder) and decoder.metadata_count != heard and loop.time() < ends_s:
            heard = decoder.metadata_count
            await asyncio.sleep(QUIET_S)  # until nothing more of what is retained comes
    finally:
        await reach.close()
    if not isinstance(decoder, BmsDecoder) or not decoder.objects():
        raise SourceError(f"{target}: a broker, but it retains no metadata of a BMS event bus (BMS/v1/PUB/Metadata/#)")
    return decoder


class MqttReach:
    """One broker, listened to beside the polls. See ``ingest.sources.device.Reach``."""

    def __init__(self, target: str, table: MqttTable, options: MqttOptions, lib: Any) -> None:
        self._target, self._table, self._options, self._lib = target, table, options, lib
        self._cache = Cache()
        self.decoder = self._new_decoder()
        self._client: Any = None
        self._task: asyncio.Task[None] | None = None
        self._ready, self._heard = asyncio.Event(), asyncio.Event()
        self._why = "never connected"
        self._heard_s = 0.0  # of the loop's clock, as all times of arrival

    def _new_decoder(self) -> Decoder:
        table, options = self._table, self._options
        if table.format == "sparkplug":
            return SparkplugDecoder(self._cache, rebirth=options.rebirth)
        if table.format == "bms":
            return BmsDecoder(self._cache, options.integration)
        return JsonDecoder(self._cache, table.topic, table.command)

    async def read(self, now: datetime) -> Points:
        """What came since the last reading. ``SourceError`` while there is no connection, and for too long a silence."""
        loop = asyncio.get_running_loop()
        if self._task is None or self._task.done():
            await self._connect(loop)
        clock_s = loop.time()
        if clock_s - self._heard_s > self._table.silence_s:
            silence = f"nothing was heard for {self._table.silence_s:g} s"
            raise SourceError(f"{self._target}: connected, but {silence}; are its topics those of the mapping?")
        self.decoder.tick(clock_s, now.timestamp())
        await self._send()
        return self._cache.points(now.timestamp() - clock_s)

    async def last(self, now: datetime) -> Points:
        """The newest of every point. See ``ingest.sources.device.Listening``."""
        loop = asyncio.get_running_loop()
        if self._task is None or self._task.done():
            await self._connect(loop)
        self.decoder.tick(loop.time(), now.timestamp())
        return self._cache.last(loop.time())

    async def write(self, series: Series, value: float) -> None:
        """Publish an order, and wait until the device has reported something after it."""
        topic, payload = self.decoder.order(series, value)
        if self._client is None:
            raise SourceError(f"{self._target}: not connected ({self._why}); the order was not sent")
        asked_s = asyncio.get_running_loop().time()
        try:
            await self._client.publish(topic, payload, qos=1, timeout=self._options.timeout_s)
        except self._lib.MqttError as error:
            raise SourceError(f"{self._target}: the order was not taken by the broker ({error})") from None
        await self._cache.changed_after(asked_s, self._options.timeout_s)

    async def close(self) -> None:
        """Leave the broker."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> None:
        """A new connection; returns when it is subscribed and the broker has sent what it retains."""
        self._ready.clear()
        self._heard_s = loop.time()
        self._task = asyncio.create_task(self._live(loop))
        if not await has_begun(self._task, self._ready, self._options.timeout_s):
            why = self._why if self._task.done() else f"no connection within {self._options.timeout_s:g} s"
            await self.close()
            raise SourceError(f"{self._target}: {why}; is the broker running and the address right?")
        began_s = loop.time()
        await self._listened(began_s, FIRST_S)
        while await self._listened(loop.time(), SETTLE_S) and loop.time() - began_s < self._options.timeout_s / 2:
            pass

    async def _listened(self, clock_s: float, limit_s: float) -> bool:
        """Wait until any message came at ``clock_s`` or later; False where that takes longer than ``limit_s``."""
        try:
            async with asyncio.timeout(limit_s):
                while self._heard_s < clock_s:
                    self._heard.clear()
                    await self._heard.wait()
        except TimeoutError:
            return False
        return True

    async def _live(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            async with self._new_client() as client:
                self._client = client
                for wanted in self.decoder.filters():
                    await client.subscribe(wanted, qos=QOS)
                self._ready.set()
                async for message in client.messages:
                    self._heard_s = loop.time()
                    self._heard.set()
                    self._take(str(message.topic), message.payload)
        except (self._lib.MqttError, OSError, ValueError, SourceError) as error:
            self._why = " ".join(str(error).split()) or type(error).__name__
        finally:
            self._client = None
            self.decoder.lost()

    def _take(self, topic: str, payload: Any) -> None:
        """One message. What cannot be read is counted as a point that nobody maps, and hurts no other."""
        if not isinstance(payload, bytes) or len(payload) > MAX_PAYLOAD_BYTES:
            self._cache.strange(topic)
            return
        try:
            self.decoder.take(topic, payload, self._heard_s)
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError, OverflowError):
            self._cache.strange(topic)

    async def _send(self) -> None:
        """What the decoder wants to say to the bus by itself: heartbeats, requests for a new birth."""
        for topic, payload in self.decoder.say():
            if self._client is not None:
                try:
                    await self._client.publish(topic, payload, qos=0, timeout=self._options.timeout_s)
                except self._lib.MqttError as error:
                    raise SourceError(f"{self._target}: cannot publish ({error})") from None

    def _new_client(self) -> Any:
        return client_of(self._lib, self._target, self._options, self._options.tls)
