"""Requests of the grid over the open flexibility bus (NVIDIA DSX Flex, AsyncAPI 1.7): load targets over MQTT.

A publisher ``grid/v1/isv/{identifier}`` sets load targets; each message of it replaces what it asked before. Its data are
signed (JWS, RFC 7515, ES256 or RS256): a message is believed where the key that the operator gave for that publisher verifies
it, where its ``source`` names the same publisher as its topic, and where neither it nor its signed data were seen before.
Everything else is counted and dropped. What tells messages apart (id, time, source) is not signed, so whoever may publish on
the bus may repeat signed data under another id: these hold no longer than the ``end_time`` within them, which every limit
must have, and are believed once while they could hold. Where we have a name on the bus, it is told how its requests are
answered (``ingest.answers``).
"""

import asyncio
import base64
import hashlib
import json
import logging
import math
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from ingest.answers import Feed, Snapshots
from ingest.curtail import LOAD_TARGET, read_request
from ingest.registry import Opened
from ingest.sources.device import beside, host_port, library
from ingest.sources.mqtt_client import PORT, client_of, has_begun
from twin.curtail import Asked, PowerState, Request
from twin.errors import ConfigError, Problem, SourceError
from twin.frame import Frame
from twin.site import Site

log = logging.getLogger(__name__)
TOPICS = "grid/v1/isv/+/loadtarget/set"
ALGORITHMS = ["ES256", "RS256"]
MAX_PAYLOAD_BYTES = 2**18
MAX_NEWS, MAX_SEEN = 100, 1000  # messages that wait to be taken (the oldest goes first), ids and data that are remembered
OLD = timedelta(minutes=10)  # a message that was made longer ago, or is from the future by so much, is not believed


class Options(BaseModel):
    """What a ``[[source]]`` of type ``flexbus`` may say.

    ``broker``: ``host`` or ``host:port``; ``user`` and ``password_file``; ``ca_file``, ``cert_file`` and ``key_file`` for TLS;
    ``publishers``: identifier of a publisher -> file with its public key (PEM), none that is not named is heard.
    ``unsigned``: believe their data without a signature, for a bus where the broker's own rights say who may publish.
    ``identifier``: our own name on the bus (none: nothing is told back); ``sign_key_file``: our private key (PEM) where data
    are signed; ``feed``, ``least_kw``, ``most_kw``: the feed that power states are of, and between what it draws;
    ``tell_every_s``: how often one is published where nothing changes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    broker: str
    publishers: Mapping[str, Path | None] = Field(min_length=1, max_length=100)
    unsigned: bool = False
    user: str = ""
    password_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    client_id: str = Field(default="", max_length=100)
    identifier: str = Field(default="", pattern=r"^[\w.-]{0,60}$")
    sign_key_file: Path | None = None
    feed: str = Field(default="main", pattern=r"^[\w.-]{1,60}$")
    least_kw: float = Field(default=0.0, ge=0, le=1e7)
    most_kw: float = Field(default=0.0, ge=0, le=1e7)
    tell_every_s: float = Field(default=30.0, ge=1, le=3600)
    every_s: float = Field(default=5.0, ge=0.1, le=3600)
    timeout_s: float = Field(default=10.0, gt=0, le=300)

    @field_validator("password_file", "ca_file", "cert_file", "key_file", "sign_key_file")
    @classmethod
    def _files_beside(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        return beside(value, info)

    @field_validator("publishers")
    @classmethod
    def _keys_beside(cls, value: Mapping[str, Path | None], info: ValidationInfo) -> Mapping[str, Path | None]:
        return {name: beside(path, info) for name, path in value.items()}

    @field_validator("broker")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        host_port(value, PORT)
        return value

    @model_validator(mode="after")
    def _fit(self) -> "Options":
        if self.identifier and not self.most_kw > self.least_kw:
            raise ValueError("identifier tells the bus of a feed: write most_kw, above least_kw")
        if self.identifier and not (self.unsigned or self.sign_key_file):
            raise ValueError("what is told is signed: name sign_key_file, or say unsigned = true")
        return self


def source_ids(name: str, options: Options) -> Sequence[str]:
    """The one source asset."""
    return [name]


def build(name: str, options: Options, site: Site) -> Opened:
    """The source, which brings requests and no values. ``ConfigError`` where a publisher's key is missing or none."""
    mqtt = library("aiomqtt", f"source {name}")
    keys: dict[str, Any] = {}
    problems: list[Problem] = []
    for publisher, path in options.publishers.items():
        if options.unsigned:
            continue
        try:
            keys[publisher] = _key(name, path)
        except ValueError as error:
            problems.append(Problem(f"source {name}", f"publisher {publisher!r}: {error}"))
    own = None
    try:
        own = _key(name, options.sign_key_file) if options.identifier and not options.unsigned else None
    except ValueError as error:
        problems.append(Problem(f"source {name}", f"sign_key_file: {error}"))
    if problems:
        raise ConfigError(problems)
    bus = FlexBus(name, options, keys, mqtt, own)
    return Opened([bus], askers=[bus])


def _key(name: str, path: Path | None) -> Any:
    if path is None:
        raise ValueError("has no key; name the file with its public key, or say unsigned = true")
    jwk = library("joserfc.jwk", f"source {name}")
    try:
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"its key {path} cannot be read ({error})") from None
    for kind in (jwk.ECKey, jwk.RSAKey):
        try:
            return kind.import_key(text)
        except (ValueError, TypeError):
            continue
    raise ValueError(f"{path} holds no EC or RSA key in PEM")


class FlexBus:
    """One broker, listened to beside the polls. See ``twin.ports.Source`` and ``twin.curtail.Asker``."""

    def __init__(self, name: str, options: Options, keys: Mapping[str, Any], mqtt: Any, own: Any = None) -> None:
        """``own``: the key that we sign with."""
        self._name, self._options, self._keys, self._mqtt, self._own = name, options, keys, mqtt, own
        feed = Feed(options.feed, 1e3 * options.least_kw, 1e3 * options.most_kw)
        self._snapshots = Snapshots(name, feed, options.tell_every_s)
        self._states: deque[PowerState] = deque(maxlen=MAX_NEWS)
        self._client_now: Any = None
        self._task: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._why = "never connected"
        self._news: deque[Asked] = deque(maxlen=MAX_NEWS)
        self._seen: deque[str] = deque(maxlen=MAX_SEEN)
        self._held: dict[bytes, float] = {}  # signed data that were believed -> until when they could hold, s since 1970
        self._waiting: deque[tuple[str, bytes]] = deque(maxlen=MAX_NEWS)
        self.unmapped = 0  # messages that were not believed

    @property
    def name(self) -> str:
        """Id of the source's own asset."""
        return self._name

    @property
    def every_s(self) -> float:
        """Seconds between two polls."""
        return self._options.every_s

    async def poll(self, now: datetime) -> Sequence[Frame]:
        """See that the bus is listened to, and read what came. ``SourceError`` while there is no connection."""
        if self._task is None or self._task.done():
            await self._connect()
        while self._waiting:
            topic, payload = self._waiting.popleft()
            try:
                self._news.append(self._read(topic, payload, now))
            except (SourceError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
                self.unmapped += 1
                log.warning(
                    "%s: a message on %s is not believed: %s", self._name, topic[:100], " ".join(str(error).split())[:200]
                )
        await self._tell()
        return ()

    def inform(self, state: PowerState) -> None:
        """See ``twin.curtail.Informed``."""
        if self._options.identifier:
            self._states.append(state)

    async def _tell(self) -> None:
        """Publish what of the states that came is worth it; what cannot be sent now is old by the next time."""
        while self._states and self._client_now is not None:
            data = self._snapshots.take(self._states.popleft())
            if data is None:
                continue
            try:
                await self._client_now.publish(
                    f"grid/v1/dsx-flex-agent/{self._options.identifier}/powerstate/status", self._envelope(data), qos=1
                )
            except self._mqtt.MqttError as error:
                raise SourceError(f"{self._options.broker}: a power state could not be published ({error})") from None

    def _envelope(self, data: Mapping[str, Any]) -> str:
        """The CloudEvent; its data signed where the bus wants it so."""
        signed: Any = data
        if self._own is not None:
            jws = library("joserfc.jws", self._name)
            signed = jws.serialize_compact(
                {"alg": "RS256" if self._own.key_type == "RSA" else "ES256"}, json.dumps(data), self._own, algorithms=ALGORITHMS
            )
        trace = uuid.uuid4().hex
        return json.dumps({
            "specversion": "1.0.2", "id": str(uuid.uuid4()), "source": f"//grid/v1/dsx-flex-agent/{self._options.identifier}",
            "type": "grid.powerstate.status.v1", "time": data["snapshot_time"], "datacontenttype": "application/json",
            "subject": "powerstate", "traceparent": f"00-{trace}-{trace[:16]}-01", "data": signed,
        })  # fmt: skip

    def asked(self) -> Sequence[Asked]:
        """See ``twin.curtail.Asker``."""
        news = tuple(self._news)
        self._news.clear()
        return news

    async def close(self) -> None:
        """Leave the broker."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def _read(self, topic: str, payload: bytes, now: datetime) -> Asked:
        """What a message asks. Whatever is wrong with it is an error of one of the sorts that ``poll`` counts."""
        publisher = topic.split("/")[3]
        if publisher not in self._options.publishers:
            raise ValueError(f"publisher {publisher!r} is none of those that are named")
        message = json.loads(payload)
        if not isinstance(message, Mapping) or message.get("type") != LOAD_TARGET:
            raise ValueError(f"it is of type {str(message.get('type'))[:60]!r}")
        if message.get("source") != f"//grid/v1/isv/{publisher}":
            raise ValueError(f"its source {str(message.get('source'))[:80]!r} is another publisher's")
        made = datetime.fromisoformat(str(message["time"]))
        if made.tzinfo is None or not abs(now - made) <= OLD:
            raise ValueError(f"it was made at {made.isoformat()}, and now it is {now.isoformat(timespec='seconds')}")
        number = str(message["id"])
        if number in self._seen:
            raise ValueError(f"message {number[:60]!r} was seen before")
        data = message["data"] if self._options.unsigned else self._verified(publisher, message["data"])
        self._seen.append(number)
        request = read_request({**message, "data": data}, min(made, now))
        if not self._options.unsigned:
            self._hold(message["data"], request, now)
        return Asked(f"{self._name}/{publisher}", () if request is None else (request,))

    def _hold(self, signed: str, request: Request | None, now: datetime) -> None:
        """Believe signed data once. ``ValueError`` where they were believed before, or could be repeated for ever."""
        if request is not None and not math.isfinite(request.end_s):
            raise ValueError("its signed data have a limit without an end_time, which could be repeated for ever")
        content, _, signature = signed.rpartition(".")
        raw = base64.urlsafe_b64decode(signature + "==")
        # of an ES256 signature the second half may be changed by anybody
        key = hashlib.sha256(content.encode() + raw[: len(raw) // 2]).digest()
        if key in self._held:
            raise ValueError("its signed data were seen before, under another id")
        if len(self._held) >= MAX_SEEN:
            self._held = {one: until_s for one, until_s in self._held.items() if until_s > now.timestamp()}
        if len(self._held) >= MAX_SEEN:
            free = next((one for one, until_s in self._held.items() if until_s == math.inf), None)
            if free is None:
                raise ValueError(f"over {MAX_SEEN} targets still hold")
            del self._held[free]  # the oldest that only took back what was asked
        self._held[key] = math.inf if request is None else request.end_s

    def _verified(self, publisher: str, data: Any) -> Any:
        if not isinstance(data, str):
            raise ValueError("its data bear no signature")
        jws, errors = library("joserfc.jws", self._name), library("joserfc.errors", self._name)
        try:
            found = jws.deserialize_compact(data, self._keys[publisher], algorithms=ALGORITHMS)
        except (errors.JoseError, ValueError) as error:
            raise ValueError(f"its signature is not {publisher}'s ({error})") from None
        return json.loads(found.payload)

    async def _connect(self) -> None:
        self._ready.clear()
        self._task = asyncio.create_task(self._live())
        if not await has_begun(self._task, self._ready, self._options.timeout_s):
            why = self._why if self._task.done() else f"no connection within {self._options.timeout_s:g} s"
            await self.close()
            raise SourceError(f"{self._options.broker}: {why}; is the broker running and the address right?")

    async def _live(self) -> None:
        options = self._options
        try:
            async with self._client() as client:
                await client.subscribe(TOPICS, qos=1)
                self._client_now = client
                self._ready.set()
                async for message in client.messages:
                    if isinstance(message.payload, bytes) and len(message.payload) <= MAX_PAYLOAD_BYTES:
                        self._waiting.append((str(message.topic), message.payload))
                    else:
                        self.unmapped += 1
        except (self._mqtt.MqttError, OSError, ValueError) as error:
            self._why = " ".join(str(error).split()) or type(error).__name__
            log.warning("%s: %s: %s", self._name, options.broker, self._why)
        finally:
            self._client_now = None

    def _client(self) -> Any:
        options = self._options
        # with a name of ours, the broker keeps what came while we were away
        clean = not options.client_id
        return client_of(self._mqtt, options.broker, options, bool(options.ca_file or options.cert_file), clean_session=clean)
