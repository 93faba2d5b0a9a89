"""A WeCom group robot (developer.work.weixin.qq.com, "group robot"): Markdown of at most 4,096 bytes, 20 a minute.

WeCom's robots have no signature: the key in the URL is all, and so a secret. A picture is a message of its own there (base64
and MD5, at most 2 MB), sent after the text of a group's first page."""

import base64
import hashlib
from collections.abc import Mapping

from analytics.oncall.desk import Event
from analytics.oncall.outbox import Pace
from ui.faces.notify import ChannelOptions, Parcel, Secret
from ui.faces.notify.post import Post, Undelivered
from ui.faces.notify.robot import markdown, taken

PACE = Pace(per_minute_count=9, digests=True)  # a page may be two messages
MAX_BYTES = 4096
MAX_PICTURE_BYTES = 2_000_000
_BUSY = (45009, 45033)
_REFUSED = (93000, 40058, 40008)


class Options(ChannelOptions):
    """``url``: the robot's with its key, which is a secret itself."""

    url: Secret


class WeCom:
    """Posts one message a page, and a picture with the first."""

    def __init__(self, options: Options, secrets: Mapping[str, str]) -> None:
        self._url = secrets["url"]

    async def deliver(self, parcel: Parcel, post: Post) -> None:
        """See ``ui.faces.notify.Channel``."""
        text = {"msgtype": "markdown", "markdown": {"content": markdown(parcel.said, MAX_BYTES)}}
        taken(await post.send(self._url, body=text), "errcode", "errmsg", _BUSY, _REFUSED)
        picture = parcel.said.picture
        if picture and len(picture) <= MAX_PICTURE_BYTES and parcel.page.event is Event.TRIGGER:
            mark = hashlib.md5(picture, usedforsecurity=False).hexdigest()  # as the API asks for it: a checksum
            image = {"msgtype": "image", "image": {"base64": base64.b64encode(picture).decode(), "md5": mark}}
            try:
                taken(await post.send(self._url, body=image), "errcode", "errmsg", _BUSY, _REFUSED)
            except Undelivered:
                return  # the text has arrived: to send it again for the picture's sake would page twice


def build(name: str, options: Options, secrets: Mapping[str, str]) -> WeCom:
    """See ``ui.faces.notify.ChannelModule``."""
    return WeCom(options, secrets)
