"""The channels by which people and machines are told: one file a channel, one row in ``CHANNELS``.

A channel's module has ``Options`` (a pydantic model that forbids what it does not know; a ``Secret`` names where a secret is,
never the secret), ``PACE`` (what its receiver bears) and ``build(name, options, secrets)``, which gives a ``Channel``. A
channel says one page in its receiver's form and hands it to a ``Post``; it keeps nothing, retries nothing and knows no clock.
"""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Protocol

from pydantic import BaseModel, ConfigDict, StringConstraints

from analytics.oncall.desk import Page
from analytics.oncall.outbox import Pace
from ui.faces.notify.post import Post
from ui.faces.notify.said import Said

MAX_FILES_BYTES = 12_000_000  # of a parcel; what does not fit is fetched by its link (mail servers mostly take 20 MB in base64)
Secret = Annotated[str, StringConstraints(pattern=r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+)$", max_length=500)]


class ChannelOptions(BaseModel):
    """What every channel may be told: ``language`` of its texts, ``pictures`` of the series, whether it ``resolves`` (false:
    says nothing when all is over)."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    language: str = "en"
    pictures: bool = True
    resolves: bool = True


@dataclass(frozen=True, slots=True)
class Attached:
    """A file that goes along where a channel can send files."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Parcel:
    """What a channel is to deliver: ``pages`` (more than one only as a digest), the same in words, and an ``id`` that stays the
    same when it is tried again. ``now_s``: s since 1970, for signatures; ``files``: of reports, at most ``MAX_FILES_BYTES``."""

    id: str
    pages: Sequence[Page]
    said: Said
    now_s: float
    files: Sequence[Attached] = ()

    @property
    def page(self) -> Page:
        """The newest page."""
        return self.pages[-1]


class Channel(Protocol):
    """One way to tell somebody."""

    async def deliver(self, parcel: Parcel, post: Post) -> None:
        """Deliver once; ``Undelivered`` where the receiver did not take it."""
        ...


class ChannelModule(Protocol):
    """What the module of a channel must have."""

    Options: type[ChannelOptions]
    PACE: Pace

    def build(self, name: str, options: ChannelOptions, secrets: Mapping[str, str]) -> Channel:
        """The channel. ``secrets``: what each ``Secret`` of the options stands for."""
        ...


CHANNELS: Mapping[str, str] = MappingProxyType(
    {
        "alertmanager": "ui.faces.notify.alertmanager",
        "apprise": "ui.faces.notify.apprise",
        "dingtalk": "ui.faces.notify.dingtalk",
        "email": "ui.faces.notify.email",
        "feishu": "ui.faces.notify.feishu",
        "opsgenie": "ui.faces.notify.opsgenie",
        "pagerduty": "ui.faces.notify.pagerduty",
        "signed": "ui.faces.notify.signed",
        "slack": "ui.faces.notify.slack",
        "sms": "ui.faces.notify.sms",
        "teams": "ui.faces.notify.teams",
        "webhook": "ui.faces.notify.webhook",
        "wecom": "ui.faces.notify.wecom",
    }
)


def channel_module(type_name: str) -> ChannelModule:
    """The module of channels of ``type_name``; imported only now."""
    module: ChannelModule = importlib.import_module(CHANNELS[type_name])
    return module
