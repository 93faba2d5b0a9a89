"""A DingTalk custom robot (open.dingtalk.com, "custom robot access"): signed Markdown, 20 a minute, else silence for ten
minutes."""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from urllib.parse import quote

from analytics.oncall.outbox import Pace
from ui.faces.notify import ChannelOptions, Parcel, Secret
from ui.faces.notify.post import Post
from ui.faces.notify.robot import markdown, taken
from ui.faces.notify.said import cut

PACE = Pace(per_minute_count=18, digests=True)  # a tenth under the limit: others may use the robot too
MAX_BYTES = 20_000  # of the text
SILENT_S = 600.0  # over 20 a minute the robot is silenced for ten minutes (same document)
_BUSY = (130101, 410100)  # sending too fast
_REFUSED = (300001, 310000, 400013, 400101, 400102)  # token, signature or keyword, group gone, robot stopped


class Options(ChannelOptions):
    """``url``: the robot's with its access token, which is a secret itself; ``secret``: for the signature (SEC…);
    ``mobiles``: numbers that critical pages mention."""

    url: Secret
    secret: Secret
    mobiles: tuple[str, ...] = ()


def sign(secret: str, time_ms: int) -> str:
    """The robot's signature: HMAC-SHA256 of time and secret, with the secret as the key."""
    return base64.b64encode(hmac.new(secret.encode(), f"{time_ms}\n{secret}".encode(), hashlib.sha256).digest()).decode()


class DingTalk:
    """Posts one message a page."""

    def __init__(self, options: Options, secrets: Mapping[str, str]) -> None:
        self._options, self._url, self._secret = options, secrets["url"], secrets["secret"]

    async def deliver(self, parcel: Parcel, post: Post) -> None:
        """See ``ui.faces.notify.Channel``."""
        time_ms = int(parcel.now_s * 1000)
        mark = quote(sign(self._secret, time_ms), safe="")
        url = f"{self._url}{'&' if '?' in self._url else '?'}timestamp={time_ms}&sign={mark}"
        named = self._options.mobiles if parcel.page.severity == "critical" else ()
        said = parcel.said
        text = markdown(said, MAX_BYTES, " ".join(f"@{number}" for number in named))
        if said.picture_link:
            text = markdown(said, MAX_BYTES - 600) + f"\n\n![]({said.picture_link})"
        body = {
            "msgtype": "markdown",
            "markdown": {"title": cut(said.title, 200), "text": text},
            "at": {"atMobiles": list(named), "isAtAll": False},
        }
        taken(await post.send(url, body=body), "errcode", "errmsg", _BUSY, _REFUSED, SILENT_S)


def build(name: str, options: Options, secrets: Mapping[str, str]) -> DingTalk:
    """See ``ui.faces.notify.ChannelModule``."""
    return DingTalk(options, secrets)
