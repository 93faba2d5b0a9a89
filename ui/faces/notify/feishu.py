"""A Feishu (Lark) custom robot (open.feishu.cn, "custom bot usage guide"): signed cards, 100 a minute and 5 a second, 20 KB."""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

from analytics.oncall.outbox import Pace
from ui.faces.notify import ChannelOptions, Parcel, Secret
from ui.faces.notify.post import Post, as_json
from ui.faces.notify.robot import markdown, taken
from ui.faces.notify.said import cut

PACE = Pace(per_minute_count=90, per_second_count=4, digests=True)  # a tenth under the limits: others may use the robot too
MAX_BYTES = 20_000  # of a request
_BUSY = (11232, 11233)  # frequency limited
_REFUSED = (19001, 19021, 19022, 19024)  # token, signature, address, keyword
_COLOURS = {"critical": "red", "warning": "orange", "info": "blue"}


class Options(ChannelOptions):
    """``url``: the robot's, which is a secret itself; ``secret``: for the signature; ``mention_all``: critical pages name
    all."""

    url: Secret
    secret: Secret
    mention_all: bool = False


def sign(secret: str, time_s: int) -> str:
    """The robot's signature: HMAC-SHA256 of nothing, with time and secret as the key."""
    return base64.b64encode(hmac.new(f"{time_s}\n{secret}".encode(), b"", hashlib.sha256).digest()).decode()


class Feishu:
    """Posts one card a page."""

    def __init__(self, options: Options, secrets: Mapping[str, str]) -> None:
        self._options, self._url, self._secret = options, secrets["url"], secrets["secret"]

    async def deliver(self, parcel: Parcel, post: Post) -> None:
        """See ``ui.faces.notify.Channel``."""
        time_s = int(parcel.now_s)
        body = {"timestamp": str(time_s), "sign": sign(self._secret, time_s), "msg_type": "interactive"}
        room = MAX_BYTES - len(as_json(body | {"card": self._card(parcel, 0)}))
        # JSON writes a line's end and a quotation mark as two bytes: of what is left a quarter is kept for them
        answer = await post.send(self._url, body=body | {"card": self._card(parcel, room * 3 // 4)})
        taken(answer, "code", "msg", _BUSY, _REFUSED)

    def _card(self, parcel: Parcel, room_bytes: int) -> dict[str, Any]:
        said, page = parcel.said, parcel.page
        mention = "<at id=all></at>" if self._options.mention_all and page.severity == "critical" else ""
        text = markdown(said, max(room_bytes, 200), mention)
        over = page.event == "resolve"
        title = {"tag": "plain_text", "content": cut(said.title, 600)}
        return {
            "config": {"wide_screen_mode": True},
            "header": {"template": "green" if over else _COLOURS[page.severity], "title": title},
            "elements": [{"tag": "markdown", "content": text}],
        }


def build(name: str, options: Options, secrets: Mapping[str, str]) -> Feishu:
    """See ``ui.faces.notify.ChannelModule``."""
    return Feishu(options, secrets)
