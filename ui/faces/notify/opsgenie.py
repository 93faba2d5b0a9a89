"""Opsgenie, and Jira Service Management with the same alert API (docs.opsgenie.com/docs/alert-api): create, acknowledge,
close."""

import hashlib
from collections.abc import Mapping
from urllib.parse import quote

from analytics.oncall.desk import Event, Page
from analytics.oncall.outbox import Pace
from ui.faces.notify import ChannelOptions, Parcel, Secret
from ui.faces.notify.post import Post
from ui.faces.notify.said import cut

PACE = Pace(per_minute_count=60)
MAX_MESSAGE_CHARS, MAX_ALIAS_CHARS, MAX_TEXT_BYTES = 130, 512, 15_000
_PRIORITIES = {"critical": "P1", "warning": "P3", "info": "P5"}
_ACTIONS = {Event.ACKNOWLEDGE: "acknowledge", Event.RESOLVE: "close"}


class Options(ChannelOptions):
    """``api_key``: of the integration; ``url``: of another region, or of Jira Service Management's alert API; ``responders``:
    names of teams."""

    api_key: Secret
    url: str = "https://api.opsgenie.com/v2/alerts"
    responders: tuple[str, ...] = ()


def alias(page: Page) -> str:
    """The incident's name, hashed where it is longer than the API takes."""
    if len(page.incident) <= MAX_ALIAS_CHARS:
        return page.incident
    return page.incident[:400] + hashlib.sha256(page.incident.encode()).hexdigest()


class Opsgenie:
    """Posts one request a page."""

    def __init__(self, options: Options, secrets: Mapping[str, str]) -> None:
        self._options, self._headers = options, {"Authorization": f"GenieKey {secrets['api_key']}"}

    async def deliver(self, parcel: Parcel, post: Post) -> None:
        """See ``ui.faces.notify.Channel``."""
        page, said, url = parcel.page, parcel.said, self._options.url.rstrip("/")
        if action := _ACTIONS.get(page.event):
            url = f"{url}/{quote(alias(page), safe='')}/{action}?identifierType=alias"
            await post.send(url, body={"source": "icctwin", "note": cut(page.note, 5000)}, headers=self._headers)
            return
        labels = page.signals[0].labels if page.signals else page.labels
        body = {
            "message": said.title[:MAX_MESSAGE_CHARS],
            "alias": alias(page),
            "description": said.text(MAX_TEXT_BYTES),
            "responders": [{"name": name, "type": "team"} for name in self._options.responders],
            "tags": [page.severity.value, labels.get("alertname", "")][:20],
            "details": {key: text for key, text in labels.items() if text},
            "entity": labels.get("asset", ""),
            "source": "icctwin",
            "priority": _PRIORITIES[page.severity],
        }
        await post.send(url, body=body, headers=self._headers)


def build(name: str, options: Options, secrets: Mapping[str, str]) -> Opsgenie:
    """See ``ui.faces.notify.ChannelModule``."""
    return Opsgenie(options, secrets)
