"""A webhook whose receiver can tell that it is from us, unchanged, fresh and not played again.

By the Standard Webhooks specification 1.0 (standardwebhooks.com): the signature covers id, time and body. ``verified`` is
what a receiver does; its libraries in other languages do the same."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, MutableMapping

from analytics.oncall.keep import plain
from analytics.oncall.outbox import Pace
from ui.faces.notify import ChannelOptions, Parcel, Secret
from ui.faces.notify.post import Post, as_json

PACE = Pace()
TOLERANCE_S = 300.0  # clocks and the way may differ by so much
MAX_SEEN = 10_000  # ids that a receiver remembers


class Options(ChannelOptions):
    """``url``: the receiver; ``secret``: ``whsec_`` and base64, or any text of 24 bytes or more."""

    url: str
    secret: Secret


def key_of(secret: str) -> bytes:
    """The key that ``secret`` writes; ``ValueError`` where it is shorter than the 24 bytes that the specification asks for."""
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True) if secret.startswith("whsec_") else secret.encode()
    except binascii.Error:
        raise ValueError("the secret begins with whsec_ and is no base64 after it; write it as the receiver gave it") from None
    if len(key) < 24:
        raise ValueError(f"the secret has {len(key)} bytes; use 24 or more")
    return key


def signature(key: bytes, id_: str, time_s: int, body: bytes) -> str:
    """``v1,`` and base64 of HMAC-SHA256 over id, time and body."""
    mark = hmac.new(key, f"{id_}.{time_s}.".encode() + body, hashlib.sha256).digest()
    return "v1," + base64.b64encode(mark).decode()


def verified(key: bytes, headers: Mapping[str, str], body: bytes, now_s: float, seen: MutableMapping[str, float]) -> bool:
    """Whether a request is from us, fresh, and new: what is older than ``TOLERANCE_S`` or whose id is in ``seen`` is not.

    ``seen``: id -> time, the receiver's memory; what is too old to pass anyway is dropped from it.
    """
    id_, time_text, given = (headers.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature"))
    if not time_text.isdigit() or abs(now_s - int(time_text)) > TOLERANCE_S:
        return False
    expected = signature(key, id_, int(time_text), body)
    if not any(hmac.compare_digest(expected.encode(), one.encode()) for one in given.split()):
        return False
    for old in [one for one, at_s in seen.items() if abs(now_s - at_s) > TOLERANCE_S]:
        del seen[old]
    if id_ in seen or len(seen) >= MAX_SEEN:
        return False
    seen[id_] = float(time_text)
    return True


class Signed:
    """Posts pages as JSON, signed."""

    def __init__(self, options: Options, secrets: Mapping[str, str]) -> None:
        self._options, self._key = options, key_of(secrets["secret"])

    async def deliver(self, parcel: Parcel, post: Post) -> None:
        """See ``ui.faces.notify.Channel``. The id stays the same when it is tried again: a receiver that has taken it once may
        say so again and do nothing."""
        table = {"type": f"page.{parcel.page.event}", "title": parcel.said.title, "lines": list(parcel.said.lines)}
        table |= {"link": parcel.said.link, "pages": [plain(page) for page in parcel.pages]}
        body = as_json(table)
        time_s = int(parcel.now_s)
        headers = {
            "Content-Type": "application/json",
            "webhook-id": parcel.id,
            "webhook-timestamp": str(time_s),
            "webhook-signature": signature(self._key, parcel.id, time_s, body),
        }
        await post.send(self._options.url, data=body, headers=headers)


def build(name: str, options: Options, secrets: Mapping[str, str]) -> Signed:
    """See ``ui.faces.notify.ChannelModule``."""
    return Signed(options, secrets)
