"""Slack by an incoming webhook (api.slack.com/messaging/webhooks): a header, the text, a button, a picture where it can be
fetched."""

from collections.abc import Mapping
from typing import Any

from analytics.oncall.outbox import Pace
from ui.faces.notify import ChannelOptions, Parcel, Secret
from ui.faces.notify.post import Post

PACE = Pace(per_second_count=1, per_minute_count=60, digests=True)  # one message a second and channel
MAX_HEADER_CHARS, MAX_SECTION_CHARS = 150, 3000


class Options(ChannelOptions):
    """``url``: the webhook, which is a secret itself."""

    url: Secret


def escaped(text: str) -> str:
    """Slack's three control characters as entities, so that a summary can name nobody and link nowhere."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


class Slack:
    """Posts one message a page."""

    def __init__(self, options: Options, secrets: Mapping[str, str]) -> None:
        self._url = secrets["url"]

    async def deliver(self, parcel: Parcel, post: Post) -> None:
        """See ``ui.faces.notify.Channel``."""
        said = parcel.said
        blocks: list[dict[str, Any]] = [
            {"type": "header", "text": {"type": "plain_text", "text": said.title[:MAX_HEADER_CHARS]}}
        ]
        if said.lines:
            text = escaped("\n".join(said.lines))[:MAX_SECTION_CHARS]
            blocks.append({"type": "section", "text": {"type": "mrkdwn", "text": text}})
        if said.picture_link.startswith("https:"):
            blocks.append({"type": "image", "image_url": said.picture_link, "alt_text": said.title[:MAX_HEADER_CHARS]})
        if said.link:
            button = {"type": "button", "text": {"type": "plain_text", "text": "icctwin"}, "url": said.link}
            blocks.append({"type": "actions", "elements": [button]})
        await post.send(self._url, body={"text": escaped(said.title), "blocks": blocks})


def build(name: str, options: Options, secrets: Mapping[str, str]) -> Slack:
    """See ``ui.faces.notify.ChannelModule``."""
    return Slack(options, secrets)
