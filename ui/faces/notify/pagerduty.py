"""PagerDuty by its Events API v2 (developer.pagerduty.com/docs/events-api-v2): trigger, acknowledge, resolve by one dedup
key."""

import hashlib
from collections.abc import Mapping
from typing import Any

from analytics.oncall.desk import Event, Page
from analytics.oncall.outbox import Pace
from ui.faces.notify import ChannelOptions, Parcel, Secret
from ui.faces.notify.post import Post
from ui.faces.notify.said import cut
from ui.faces.notify.v4 import moment

PACE = Pace(per_minute_count=120)  # of one integration key, as the API's documentation has it
MAX_SUMMARY_BYTES, MAX_KEY_CHARS = 1024, 255
_ACTIONS = {Event.ACKNOWLEDGE: "acknowledge", Event.RESOLVE: "resolve"}
_SEVERITIES = {"critical": "critical", "warning": "warning", "info": "info"}


class Options(ChannelOptions):
    """``routing_key``: of the integration; ``url``: of another region where given."""

    routing_key: Secret
    url: str = "https://events.pagerduty.com/v2/enqueue"


def dedup_key(page: Page) -> str:
    """The incident's name, hashed where it is longer than the API takes."""
    if len(page.incident) <= MAX_KEY_CHARS:
        return page.incident
    return page.incident[:190] + hashlib.sha256(page.incident.encode()).hexdigest()


class PagerDuty:
    """Posts one event a page."""

    def __init__(self, options: Options, secrets: Mapping[str, str]) -> None:
        self._options, self._routing_key = options, secrets["routing_key"]

    async def deliver(self, parcel: Parcel, post: Post) -> None:
        """See ``ui.faces.notify.Channel``."""
        page, action = parcel.page, _ACTIONS.get(parcel.page.event, "trigger")
        event: dict[str, Any] = {
            "routing_key": self._routing_key,
            "event_action": action,
            "dedup_key": dedup_key(page),
        }
        if action == "trigger":
            event |= self._body(parcel)
        await post.send(self._options.url, body=event)

    def _body(self, parcel: Parcel) -> dict[str, Any]:
        page, said = parcel.page, parcel.said
        labels = page.signals[0].labels if page.signals else page.labels
        body: dict[str, Any] = {
            "client": "icctwin",
            "payload": {
                "summary": cut(said.title, MAX_SUMMARY_BYTES),
                "source": labels.get("asset") or labels.get("site") or "icctwin",
                "severity": _SEVERITIES[page.severity],
                "timestamp": moment(page.opened_s),
                "component": labels.get("kind", ""),
                "group": labels.get("rack") or labels.get("hall", ""),
                "class": labels.get("alertname", ""),
                "custom_details": {"lines": list(said.lines), "labels": dict(labels), "left_out": page.left_out},
            },
        }
        if said.link:
            body |= {"client_url": said.link, "links": [{"href": said.link, "text": "icctwin"}]}
        if said.picture_link.startswith("https:"):  # the only scheme that the API takes for images
            body["images"] = [{"src": said.picture_link, "href": said.link}]
        return body


def build(name: str, options: Options, secrets: Mapping[str, str]) -> PagerDuty:
    """See ``ui.faces.notify.ChannelModule``."""
    return PagerDuty(options, secrets)
