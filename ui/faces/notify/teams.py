"""Microsoft Teams by a Workflows webhook: an adaptive card (adaptivecards.io, schema 1.4), at most 28 KB."""

import base64
from collections.abc import Mapping
from typing import Any

from analytics.oncall.outbox import Pace
from ui.faces.notify import ChannelOptions, Parcel, Secret
from ui.faces.notify.post import Post, as_json
from ui.faces.notify.said import cut

PACE = Pace(per_second_count=4, per_minute_count=60, digests=True)  # learn.microsoft.com: connectors and webhooks, rate limits
MAX_BYTES = 28_000
_COLOURS = {"critical": "attention", "warning": "warning", "info": "accent"}


class Options(ChannelOptions):
    """``url``: the workflow's, which is a secret itself."""

    url: Secret


class Teams:
    """Posts one card a page."""

    def __init__(self, options: Options, secrets: Mapping[str, str]) -> None:
        self._url = secrets["url"]

    async def deliver(self, parcel: Parcel, post: Post) -> None:
        """See ``ui.faces.notify.Channel``."""
        body = _message(parcel, pictured=True)
        if len(as_json(body)) > MAX_BYTES:
            body = _message(parcel, pictured=False)
        await post.send(self._url, body=body)


def _message(parcel: Parcel, pictured: bool) -> dict[str, Any]:
    said = parcel.said
    title = {"type": "TextBlock", "text": cut(said.title, 2000), "weight": "bolder", "size": "medium", "wrap": True}
    parts: list[dict[str, Any]] = [title | {"color": _COLOURS[parcel.page.severity]}]
    parts += [{"type": "TextBlock", "text": cut(line, 1000), "wrap": True, "spacing": "small"} for line in said.lines]
    if pictured and said.picture:
        parts.append({"type": "Image", "url": "data:image/png;base64," + base64.b64encode(said.picture).decode()})
    card: dict[str, Any] = {"$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard"}
    card |= {"version": "1.4", "body": parts}
    if said.link:
        card["actions"] = [{"type": "Action.OpenUrl", "title": "icctwin", "url": said.link}]
    attached = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return {"type": "message", "attachments": [attached]}


def build(name: str, options: Options, secrets: Mapping[str, str]) -> Teams:
    """See ``ui.faces.notify.ChannelModule``."""
    return Teams(options, secrets)
