"""``[access]`` of the configuration: whether people sign in, for how long, and at which identity provider."""

import ipaddress
from collections.abc import Mapping
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ui.access.role import ROLES


class Mode(StrEnum):
    """``single``: one person on this machine, nobody signs in; ``accounts``: everybody signs in; ``open``: whoever reaches the
    address may look, and only this machine may change anything."""

    SINGLE = "single"
    ACCOUNTS = "accounts"
    OPEN = "open"


class OidcSection(BaseModel):
    """``[access.oidc]``: an OpenID Connect provider. ``roles``: value of the claim ``role_claim`` -> role, the highest counts;
    ``default_role`` "": who has none of them is refused. ``vouched_days``: after so long without a sign-in by the provider who
    somebody is counts no more, nor do their tokens; the next sign-in renews it."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    issuer: str = Field(pattern=r"^https?://[^\s?#]+$")
    client_id: str = Field(min_length=1, max_length=300)
    client_secret_file: Path | None = None
    name: str = Field("single sign-on", min_length=1, max_length=60)
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    role_claim: str = "groups"
    roles: Mapping[str, str] = {}
    default_role: str = ""
    vouched_days: float = Field(30.0, ge=1, le=400)

    @field_validator("issuer")
    @classmethod
    def _is_safe(cls, value: str) -> str:
        at = urlsplit(value)
        if "@" in value:
            raise ValueError("holds a password, a secret that must not stand here; use client_secret_file")
        if at.scheme != "https" and not is_loopback(at.hostname or ""):
            raise ValueError("an issuer is reached by https (http only on this machine)")
        return value

    @field_validator("roles")
    @classmethod
    def _known_roles(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        for role in value.values():
            _known(role)
        return value

    @field_validator("default_role")
    @classmethod
    def _known_default(cls, value: str) -> str:
        return _known(value) if value else value


def _known(role: str) -> str:
    if role not in ROLES:
        raise ValueError(f"there is no role {role!r}; roles are {', '.join(ROLES)}")
    return role


class AccessSection(BaseModel):
    """``[access]``: where it stands, everybody signs in, unless ``mode`` says otherwise.

    ``url``: under which address people open the wall, such as ``https://noc.example.org``; cookies are sent by TLS alone
    where it begins with https. ``proxies``: addresses whose word on where a request comes from is believed. ``requests_per_s``:
    what each user, token or unknown network (an IPv4 address, an IPv6 /64) may ask on average; what is more is told to wait
    (429).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    mode: Mode = Mode.ACCOUNTS
    url: str = Field("", pattern=r"^(https?://[^/\s]+)?$")
    idle_minutes: float = Field(60.0, ge=1, le=1440)
    longest_hours: float = Field(12.0, ge=0.1, le=720)
    proxies: tuple[str, ...] = ("127.0.0.1",)
    requests_per_s: float = Field(50.0, ge=1, le=10_000)
    oidc: OidcSection | None = None

    @model_validator(mode="after")
    def _can_come_back(self) -> "AccessSection":
        if self.oidc is not None and not self.url:
            raise ValueError('an identity provider sends people back to our own address; write url = "https://…"')
        if self.oidc is not None and find_spec("authlib") is None:
            raise ValueError("authlib is not installed; make field, or pip install 'icctwin[oidc]'")
        return self

    @property
    def secure(self) -> bool:
        """Whether the wall is reached by TLS."""
        return self.url.startswith("https://")


SINGLE = AccessSection.model_validate({"mode": Mode.SINGLE})


def is_loopback(host: str) -> bool:
    """Whether ``host`` is this machine whatever the network says."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def is_address(host: str) -> bool:
    """Whether ``host`` is an IP address, not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def refuses(section: AccessSection, host: str) -> str:
    """Why a wall may not listen on ``host`` with this section; "" where it may."""
    if section.mode is not Mode.SINGLE or is_loopback(host):
        return ""
    return (
        f"listens on {host}, so that others reach it, and nobody signs in; write [access] (people sign in: icctwin user add), "
        'or [access] mode = "open" where whoever reaches it may look'
    )
