"""A text message or a call, by the webhook of whoever provides them: a request made of the operator's own template."""

from collections.abc import Mapping
from string import Formatter
from typing import Any, Literal

from pydantic import field_validator

from analytics.oncall.outbox import Pace
from ui.faces.notify import ChannelOptions, Parcel, Secret
from ui.faces.notify.post import Post
from ui.faces.notify.said import cut

PACE = Pace(per_minute_count=20, digests=True)
KNOWN = frozenset({"text", "title", "number", "id", "severity"})


class Options(ChannelOptions):
    """``url``: the provider's, which may be a secret; ``numbers``: whom to reach; ``body``: JSON in which {text}, {title},
    {number}, {id} and {severity} are filled in; ``token``: sent as bearer; ``max_bytes``: of {text} (a text message has
    140)."""

    url: str
    numbers: tuple[str, ...]
    body: dict[str, Any]
    token: Secret | None = None
    max_bytes: int = 140
    pictures: Literal[False] = False

    @field_validator("body")
    @classmethod
    def _fields(cls, value: dict[str, Any]) -> dict[str, Any]:
        for text in _texts(value):
            names = {name for _, name, _, _ in Formatter().parse(text) if name is not None}
            if unknown := sorted(names - KNOWN):
                raise ValueError(f"the body names {{{unknown[0]}}}; it may name {', '.join(sorted(KNOWN))}")
        return value


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return [text for one in inner for text in _texts(one)]


def filled(value: Any, params: Mapping[str, str]) -> Any:
    """``value`` with every text filled in."""
    if isinstance(value, str):
        return value.format(**params)
    if isinstance(value, Mapping):
        return {key: filled(inner, params) for key, inner in value.items()}
    return [filled(inner, params) for inner in value] if isinstance(value, list) else value


class Sms:
    """Posts one request a number."""

    def __init__(self, options: Options, secrets: Mapping[str, str]) -> None:
        self._options = options
        self._headers = {"Authorization": f"Bearer {secrets['token']}"} if "token" in secrets else {}

    async def deliver(self, parcel: Parcel, post: Post) -> None:
        """See ``ui.faces.notify.Channel``."""
        options, said = self._options, parcel.said
        text = cut("\n".join((said.title, *said.lines[:2])), options.max_bytes)
        for number in options.numbers:
            params = {"text": text, "title": cut(said.title, options.max_bytes), "number": number}
            params |= {"id": f"{parcel.id}-{number}", "severity": parcel.page.severity.value}
            body = filled(options.body, params)
            headers = {**self._headers, "Content-Type": "application/json", "Idempotency-Key": params["id"]}
            await post.send(options.url, body=body, headers=headers)


def build(name: str, options: Options, secrets: Mapping[str, str]) -> Sms:
    """See ``ui.faces.notify.ChannelModule``."""
    return Sms(options, secrets)
