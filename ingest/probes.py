"""One question for each protocol, to find out whether it is spoken somewhere and by what. See ``ingest.discover``.

A probe answers with options of a source (``mapping`` among them), the kind of asset and how the device introduces itself;
None where nobody speaks this protocol there. It uses the sources' own code, so what it finds can be read.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from yarl import URL

from ingest.mappings import best_mapping
from ingest.rest import Rest
from ingest.sources.device import library
from ingest.wire import Tls, fetch, new_session
from twin.errors import ConfigError, SourceError

Answer = tuple[dict[str, object], str, str] | None
_NAME = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{|\s)", re.MULTILINE)
_TYPED = re.compile(r"^# (?:TYPE|HELP) [a-zA-Z_:]", re.MULTILINE)  # what any page of metrics has, and no other page
MAX_PAGE_BYTES = 16 * 2**20
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Given:
    """What the user gave: ``only`` these protocols (none: all), how long to wait, and with what to log in."""

    only: tuple[str, ...] = ()
    timeout_s: float = 3.0
    community_file: Path | None = None
    user: str = ""
    password_file: Path | None = None
    ca_file: Path | None = None
    bacnet_bind: str = ""


@dataclass(frozen=True, slots=True)
class Probe:
    """How to find one protocol: its usual ports and its question (host, port, given)."""

    type: str
    ports: tuple[int, ...]
    ask: Callable[[str, int, Given], Awaitable[Answer]]


def _at(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def _prometheus(host: str, port: int, given: Given) -> Answer:
    names = set(_NAME.findall(await _exposition(host, port, given)))
    best = best_mapping(names)
    if best is None:
        return None
    return {"mapping": best[0]}, "", f"{len(names)} metrics; fits the mapping {best[0]}"


async def _strange_prometheus(host: str, port: int, given: Given) -> Answer:
    """A page of metrics of which no mapping knows any: asked last, for what else speaks there may be known."""
    text = await _exposition(host, port, given)
    if not _TYPED.search(text):
        return None
    return {"mapping": "yours.toml"}, "", f"{len(set(_NAME.findall(text)))} metrics; fits no mapping that ships: write one"


async def _exposition(host: str, port: int, given: Given) -> str:
    """The page of metrics there; ``SourceError`` where there is none."""
    session = new_session(10.0)
    try:
        return (await fetch(session, URL(f"http://{_at(host, port)}/metrics"), {}, given.timeout_s, MAX_PAGE_BYTES)).text
    finally:
        await session.close()


async def _redfish(host: str, port: int, given: Given) -> Answer:
    for scheme in ("http", "https") if port not in (443, 8443) else ("https",):
        rest = Rest(URL(f"{scheme}://{_at(host, port)}"), tls=Tls(given.ca_file), timeout_s=given.timeout_s, verified=False)
        try:
            reply = await rest.get("/redfish/v1/")
        except SourceError:
            continue
        finally:
            await rest.close()
        root = reply.body if isinstance(reply.body, dict) else {}
        if not reply.ok or "RedfishVersion" not in root:
            continue
        kinds = (("Systems", "node"), ("ThermalEquipment", "cdu"), ("PowerEquipment", "pdu"))
        kind = next((kind for link, kind in kinds if link in root), "rack")
        words = [str(root[name]) for name in ("Vendor", "Product", "Name") if root.get(name)]
        options: dict[str, object] = {"target": f"{scheme}://{_at(host, port)}", "mapping": "standard"}
        if given.user:
            options |= {"user": given.user, "password_file": str(given.password_file)}
        if scheme == "https" and rest.seen_fingerprint:
            options["fingerprint"] = rest.seen_fingerprint
        return options, kind, f"Redfish {root['RedfishVersion']}: {', '.join(words) or 'no name'}"
    return None


_SYS_OBJECT_ID, _SYS_DESCR = "1.3.6.1.2.1.1.2.0", "1.3.6.1.2.1.1.1.0"
_UPS_MODEL = "1.3.6.1.2.1.33.1.1.2.0"
_MAPPINGS = (
    ("1.3.6.1.4.1.13742.", "raritan", "pdu"),
    ("1.3.6.1.4.1.318.1.3.4.", "apc_pdu", "pdu"),
    ("1.3.6.1.4.1.318.", "apc_ups", "ups"),
)


async def _snmp(host: str, port: int, given: Given) -> Answer:
    from ingest.sources.snmp import SnmpOptions, SnmpReach, SnmpTable, text_of

    target = _at(host, port)
    said_so = {"targets": target, "mapping": "x", "community_file": given.community_file, "timeout_s": given.timeout_s}
    options = SnmpOptions.model_validate(said_so)
    entry = {"kind": "switch", "metric": "up_flag", "series": "none", "asset": "none"}
    scalars = {"id": _SYS_OBJECT_ID, "descr": _SYS_DESCR, "ups": _UPS_MODEL}
    table = SnmpTable.model_validate({"scalars": scalars, "metric": [entry]})
    reach = SnmpReach(target, table, options, library("gufo.snmp", "discover"), library("gufo.snmp.aio", "discover"))
    try:
        raw = await reach.objects(list(scalars.values()))
    except SourceError:
        return None
    finally:
        await reach.close()
    said = dict(zip(scalars, raw, strict=True))
    identity = text_of(said["id"]) + "."
    found = next(((name, kind) for prefix, name, kind in _MAPPINGS if identity.startswith(prefix)), None)
    if found is None:
        found = ("ups_mib", "ups") if said["ups"] is not None else ("if_mib", "switch")
    more = {"community_file": str(given.community_file)} if given.community_file else {}
    return {"mapping": found[0], **more}, found[1], text_of(said["descr"])[:100]


_FIT_MODBUS = "its kind is a guess; write its registers into yours.toml (mapping cdu is a pattern), then allow orders"


async def _modbus(host: str, port: int, given: Given) -> Answer:
    client = library("pymodbus.client", "discover").AsyncModbusTcpClient(
        host, port=port, timeout=given.timeout_s, retries=0, reconnect_delay=0
    )
    errors = library("pymodbus.exceptions", "discover").ModbusException
    try:
        if not await client.connect():
            return None
        said = await client.read_device_information(device_id=1)
        # nobody says what its registers are: whoever writes that down allows orders too
        options: dict[str, object] = {"mapping": "yours.toml", "orders": False}
        if said.isError():  # it speaks Modbus, and will not say who it is
            return options, "cdu", f"Modbus unit 1 answers ({said}); {_FIT_MODBUS}"
        words = [value.decode("utf-8", "replace") for value in said.information.values() if isinstance(value, bytes)]
        return options, "cdu", f"{' '.join(words)}; {_FIT_MODBUS}"
    except (errors, OSError, TimeoutError):
        return None
    finally:
        client.close()


async def _mqtt(host: str, port: int, given: Given) -> Answer:
    lib = library("aiomqtt", "discover")
    topics: set[str] = set()
    try:
        async with lib.Client(host, port, timeout=given.timeout_s) as client:
            await client.subscribe("BMS/v1/PUB/Metadata/#")
            await client.subscribe("spBv1.0/#")
            with suppress(TimeoutError):  # what is retained comes at once; Sparkplug speaks when it likes
                async with asyncio.timeout(given.timeout_s):
                    async for message in client.messages:
                        topics.add(str(message.topic).partition("/")[0])
                        if "BMS" in topics:
                            break
    except lib.MqttError:
        return None
    if "BMS" in topics:
        return {"mapping": "bms"}, "", "a broker with the BMS event bus"
    return {"mapping": "yours.toml"}, "", f"a broker{' with Sparkplug B' if topics else ''}; write a mapping of its topics"


async def _gnmi(host: str, port: int, given: Given) -> Answer:
    grpc, aio = library("grpc", "discover"), library("grpc.aio", "discover")
    messages = library("pygnmi.spec.v080.gnmi_pb2", "discover")
    stubs = library("pygnmi.spec.v080.gnmi_pb2_grpc", "discover")
    channel = aio.insecure_channel(_at(host, port), options=[("grpc.enable_http_proxy", 0)])
    try:
        said = await stubs.gNMIStub(channel).Capabilities(messages.CapabilityRequest(), timeout=given.timeout_s)
    except grpc.RpcError as error:
        # somebody speaks gRPC there who wants a login, or does not tell what it can
        if error.code().name not in ("UNAUTHENTICATED", "PERMISSION_DENIED", "UNIMPLEMENTED"):
            return None
        said = None
    finally:
        await channel.close()
    version = f"gNMI {said.gNMI_version}, {len(said.supported_models)} models" if said else "gRPC that wants a login"
    models = {model.name for model in said.supported_models} if said else set()
    mapping = "sonic" if any("sonic" in name for name in models) and "openconfig-interfaces" not in models else "openconfig"
    return {"mapping": mapping, "tls": False}, "switch", version


async def _bacnet(host: str, port: int, given: Given) -> Answer:
    from ingest.sources.bacnet import BacnetOptions, BacnetReach, BacnetTable, Own, libraries

    if not given.bacnet_bind:
        return None
    target = _at(host, port)
    said_so = {"targets": target, "mapping": "x", "bind": given.bacnet_bind, "timeout_s": given.timeout_s}
    options = BacnetOptions.model_validate(said_so)
    # the instance that means "you, whoever you are"
    wanted = {"name": "model", "object": "device,4194303", "property": "model-name"}
    entry = {"kind": "crah", "metric": "power_w", "series": "none", "asset": "none"}
    table = BacnetTable.model_validate({"object": [wanted], "metric": [entry], "multiple": False})
    reach = BacnetReach(target, table, Own(libraries("discover"), options))
    try:
        read = await reach.read(_EPOCH)
    except SourceError:
        return None
    finally:
        await reach.close()
    says = f"BACnet device, model {read.values[0] or '?'}; copy mapping air_handler and fit it, then allow orders"
    return {"mapping": "air_handler", "bind": given.bacnet_bind, "orders": False}, "crah", says


async def _slurm(host: str, port: int, given: Given) -> Answer:
    rest = Rest(URL(f"http://{_at(host, port)}"), timeout_s=given.timeout_s)
    try:
        reply = await rest.get("/openapi/v3")
    except SourceError:
        return None
    finally:
        await rest.close()
    paths = reply.body.get("paths") if isinstance(reply.body, dict) else None
    # without a token it says 401, or 500 and its own kind of errors
    ours = isinstance(reply.body, dict) and isinstance(reply.body.get("meta"), dict) and "Slurm" in str(reply.body["meta"])
    if (
        not (paths and any(str(path).startswith("/slurm/") for path in paths))
        and not ours
        and reply.text != "Authentication failure"
    ):
        return None
    target: dict[str, object] = {"target": f"http://{_at(host, port)}", "queue": "slurm"}
    return target | {"user": "root", "token_file": "slurm.token"}, "queue", "slurmrestd; put a token into slurm.token"


async def _kubernetes(host: str, port: int, given: Given) -> Answer:
    for scheme in ("https", "http"):
        rest = Rest(URL(f"{scheme}://{_at(host, port)}"), tls=Tls(given.ca_file), timeout_s=given.timeout_s, verified=False)
        try:
            reply = await rest.get("/version")
        except SourceError:
            continue
        finally:
            await rest.close()
        body = reply.body if isinstance(reply.body, dict) else {}
        if body.get("gitVersion") or (body.get("kind") == "Status" and body.get("apiVersion") == "v1"):
            options: dict[str, object] = {"target": f"{scheme}://{_at(host, port)}", "queue": "kubernetes"}
            options |= {"token_file": "kubernetes.token", "ca_file": "kubernetes-ca.pem"}
            return options, "queue", f"Kubernetes {body.get('gitVersion', 'API server')}; put a token into kubernetes.token"
    return None


def _safely(ask: Callable[[str, int, Given], Awaitable[Answer]]) -> Callable[[str, int, Given], Awaitable[Answer]]:
    """A library that is not installed finds nothing, and hurts no other probe; nor does one that takes too long, or an answer
    that cannot be read."""

    async def asked(host: str, port: int, given: Given) -> Answer:
        try:
            async with asyncio.timeout(4 * given.timeout_s):
                return await ask(host, port, given)
        except (ConfigError, SourceError, TimeoutError):
            return None

    return asked


PROMETHEUS = (9400, 9100, 9445, 9290, 9283, 8080)
PROBES = (
    Probe("prometheus", PROMETHEUS, _safely(_prometheus)),
    Probe("redfish", (443,), _safely(_redfish)),
    Probe("snmp", (161,), _safely(_snmp)),
    Probe("modbus", (502,), _safely(_modbus)),
    Probe("mqtt", (1883,), _safely(_mqtt)),
    Probe("gnmi", (9339, 57400, 6030, 50051), _safely(_gnmi)),
    Probe("bacnet", (47808,), _safely(_bacnet)),
    Probe("slurm", (6820,), _safely(_slurm)),
    Probe("kubernetes", (6443,), _safely(_kubernetes)),
    Probe("prometheus", PROMETHEUS, _safely(_strange_prometheus)),
)
