"""Any receiver of Alertmanager webhooks: the payload of version 4, exactly."""

from collections.abc import Mapping

from analytics.oncall.outbox import Pace
from twin.token import weak
from ui.faces.notify import ChannelOptions, Parcel, Secret
from ui.faces.notify.post import Post
from ui.faces.notify.v4 import payload
from ui.words import words

PACE = Pace()


class Options(ChannelOptions):
    """``url``: the receiver, or where it stands, if it is a secret itself; ``token``: sent as bearer where given, 22 characters
    or more; ``outside``: URL under which people reach icctwin (none: that of ``[delivery]``)."""

    url: Secret | str
    token: Secret | None = None
    outside: str = ""


class Webhook:
    """Posts one payload a page."""

    def __init__(self, name: str, options: Options, secrets: Mapping[str, str]) -> None:
        self._name, self._options = name, options
        self._url = secrets.get("url", options.url)
        self._headers = {"Authorization": f"Bearer {secrets['token']}"} if "token" in secrets else {}

    async def deliver(self, parcel: Parcel, post: Post) -> None:
        """See ``ui.faces.notify.Channel``."""
        options = self._options
        body = payload(parcel.page, self._name, words(options.language), options.outside)
        await post.send(self._url, body=body, headers={**self._headers, "Idempotency-Key": parcel.id})


def build(name: str, options: Options, secrets: Mapping[str, str]) -> Webhook:
    """See ``ui.faces.notify.ChannelModule``; ``ValueError`` for a token that can be guessed."""
    if "token" in secrets and (why := weak(secrets["token"])):
        raise ValueError(f"the token {why}")
    return Webhook(name, options, secrets)
