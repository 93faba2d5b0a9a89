"""Everything else, by apprise (an extra: ``make field``): Telegram, Discord, GoAlert, incident.io, MQTT and a hundred more."""

import asyncio
from collections.abc import Mapping
from typing import Any

from analytics.oncall.outbox import Pace
from twin.errors import ConfigError, Problem
from ui.faces.notify import ChannelOptions, Parcel, Secret
from ui.faces.notify.post import Post, Undelivered

PACE = Pace(per_minute_count=20, digests=True)
_TYPES = {"critical": "failure", "warning": "warning", "info": "info"}


class Options(ChannelOptions):
    """``url``: as apprise writes it (tgram://…), which is a secret itself."""

    url: Secret


class Apprise:
    """Hands one message a page to apprise."""

    def __init__(self, url: str) -> None:
        try:
            import apprise
        except ImportError:
            what = "the library apprise is not installed; run make field, or leave this channel out"
            raise ConfigError([Problem("apprise", what)]) from None
        self._apprise: Any = apprise.Apprise()
        if not self._apprise.add(url):
            raise ConfigError([Problem("apprise", "apprise does not understand the URL; see its wiki for the form")])

    async def deliver(self, parcel: Parcel, post: Post) -> None:
        """See ``ui.faces.notify.Channel``."""
        said = parcel.said
        type_ = "success" if parcel.page.event == "resolve" else _TYPES[parcel.page.severity]
        text = "\n".join((*said.lines, *((said.link,) if said.link else ()))) or said.title
        done = await asyncio.to_thread(self._apprise.notify, body=text, title=said.title, notify_type=type_)
        if not done:
            raise Undelivered("apprise could not deliver it; its log says why")


def build(name: str, options: Options, secrets: Mapping[str, str]) -> Apprise:
    """See ``ui.faces.notify.ChannelModule``."""
    return Apprise(secrets["url"])
