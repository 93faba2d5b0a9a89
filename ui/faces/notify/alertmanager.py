"""Into a real Alertmanager by its API v2: our alerts are routed, silenced and inhibited there beside Prometheus' own."""

from collections.abc import Mapping

from analytics.oncall.outbox import Pace
from ui.faces.notify import ChannelOptions, Parcel, Secret
from ui.faces.notify.post import Post
from ui.faces.notify.v4 import annotations, generator, moment
from ui.words import words

PACE = Pace()
VALID_S = 86400.0  # an alert that is not said again ends there after so long; repeats come far more often


class Options(ChannelOptions):
    """``url``: of the Alertmanager, without a path of its API; ``token``: sent as bearer where given; ``outside``: URL under
    which people reach icctwin (none: that of ``[delivery]``)."""

    url: str
    token: Secret | None = None
    outside: str = ""


class Alertmanager:
    """Posts the page's alerts as they stand."""

    def __init__(self, options: Options, secrets: Mapping[str, str]) -> None:
        self._options = options
        self._headers = {"Authorization": f"Bearer {secrets['token']}"} if "token" in secrets else {}

    async def deliver(self, parcel: Parcel, post: Post) -> None:
        """See ``ui.faces.notify.Channel``."""
        said, outside = words(self._options.language), self._options.outside
        alerts = [
            {
                "labels": {key: text for key, text in signal.labels.items() if text},
                "annotations": annotations(signal, said, outside),
                "startsAt": moment(signal.since_s),
                "endsAt": moment(parcel.now_s + VALID_S if signal.fires else signal.ended_s),
                "generatorURL": generator(signal, outside),
            }
            for signal in parcel.page.signals
        ]
        if alerts:
            url = f"{self._options.url.rstrip('/')}/api/v2/alerts"
            await post.send(url, body=alerts, headers=self._headers)


def build(name: str, options: Options, secrets: Mapping[str, str]) -> Alertmanager:
    """See ``ui.faces.notify.ChannelModule``."""
    return Alertmanager(options, secrets)
