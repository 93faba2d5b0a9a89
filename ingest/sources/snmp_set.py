"""SNMP SET, by pysnmp: rare, so that its processor time does not matter. The object's own type is asked for first."""

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, Self

from ingest.sources.device import host_port, library
from ingest.wire import read_secret
from twin.errors import SourceError

PORT = 161
RETRIES = 1
AUTH = {
    "MD5": "USM_AUTH_HMAC96_MD5",
    "SHA": "USM_AUTH_HMAC96_SHA",
    "SHA224": "USM_AUTH_HMAC128_SHA224",
    "SHA256": "USM_AUTH_HMAC192_SHA256",
    "SHA384": "USM_AUTH_HMAC256_SHA384",
    "SHA512": "USM_AUTH_HMAC384_SHA512",
}
PRIV = {
    "DES": "USM_PRIV_CBC56_DES",
    "AES": "USM_PRIV_CFB128_AES",
    "AES192": "USM_PRIV_CFB192_AES",
    "AES256": "USM_PRIV_CFB256_AES",
}


class Login(Protocol):
    """The options that say who asks."""

    @property
    def user(self) -> str:
        """Of version 3; "" for version 2c."""
        ...

    @property
    def auth(self) -> str:
        """A key of ``AUTH``."""
        ...

    @property
    def priv(self) -> str:
        """A key of ``PRIV``."""
        ...

    @property
    def community_file(self) -> Path | None:
        """Of version 2c."""
        ...

    @property
    def auth_file(self) -> Path | None:
        """Pass phrase."""
        ...

    @property
    def priv_file(self) -> Path | None:
        """Pass phrase."""
        ...

    @property
    def timeout_s(self) -> float:
        """For a whole exchange."""
        ...


@dataclass
class Setter:
    """Sets objects of one agent. The engine is made at the first order."""

    target: str
    options: Login
    lib: ModuleType
    error: type[Exception]  # the library's base of errors
    engine: Any = None

    @classmethod
    def of(cls, target: str, options: Login, where: str) -> Self:
        """One for ``target``; ``ConfigError`` at ``where`` while the library is missing."""
        lib, error = library("pysnmp.hlapi.v3arch.asyncio", where), library("pysnmp.error", where).PySnmpError
        return cls(target, options, lib, error)

    async def set(self, oid: tuple[int, ...], value: float) -> None:
        """Order ``value`` at ``oid``. ``SourceError`` where there is no such number, or the agent refuses."""
        lib = self.lib
        name = lib.ObjectIdentity(oid)
        ((_, held),) = await self._ask(lib.get_cmd, lib.ObjectType(name))
        dotted = ".".join(map(str, oid))
        if isinstance(held, lib.NoSuchObject | lib.NoSuchInstance | lib.EndOfMibView):
            raise SourceError(f"{self.target}: there is no object {dotted} to set")
        if not isinstance(held, lib.Integer32 | lib.Gauge32 | lib.Unsigned32 | lib.Integer):
            raise SourceError(f"{self.target}: object {dotted} is no number and is not set")
        await self._ask(lib.set_cmd, lib.ObjectType(name, type(held)(round(value))))

    def close(self) -> None:
        """Let go of the socket."""
        if self.engine is not None:
            self.engine.close_dispatcher()
            self.engine = None

    async def _ask(self, command: Any, *wanted: Any) -> list[tuple[Any, Any]]:
        lib = self.lib
        if self.engine is None:
            self.engine = lib.SnmpEngine()
        timeout_s = self.options.timeout_s / (2 + RETRIES)
        try:
            transport = await lib.UdpTransportTarget.create(host_port(self.target, PORT), timeout=timeout_s, retries=RETRIES)
            wrong, status, index, binds = await command(
                self.engine, self._who(), transport, lib.ContextData(), *wanted, lookupMib=False
            )
        except (OSError, self.error) as error:
            raise SourceError(f"{self.target}: broken SNMP ({type(error).__name__}: {' '.join(str(error).split())})") from None
        if wrong:
            raise SourceError(f"{self.target}: {' '.join(str(wrong).split())}")
        if status:
            raise SourceError(f"{self.target}: refuses with {status.prettyPrint()} at object {int(index)}")
        return list(binds)

    def _who(self) -> Any:
        options, lib = self.options, self.lib
        files = (options.community_file, options.auth_file, options.priv_file)
        community, auth, priv = (read_secret(file) if file else "" for file in files)
        if not options.user:
            return lib.CommunityData(f"c{abs(hash(community))}", community or "public", mpModel=1)
        return lib.UsmUserData(
            options.user,
            auth or None,
            priv or None,
            authProtocol=getattr(lib, AUTH[options.auth]) if auth else lib.USM_AUTH_NONE,
            privProtocol=getattr(lib, PRIV[options.priv]) if priv else lib.USM_PRIV_NONE,
        )
