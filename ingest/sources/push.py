"""Receives what senders push: Telegraf and Influx clients (line protocol), Prometheus and vmagent (remote write), OTLP.

The faces take the requests and ask here; this opens no socket. One ``[[source]]`` of type ``push`` is one token: who shows it,
pushes into it. Nothing that was acknowledged waits here but what needs a whole moment (see ``ingest.push.series``).
"""

import hmac
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from ingest.mappings import known_mappings, load_mapping
from ingest.push import Batch, Refused
from ingest.push.series import Pushed
from ingest.registry import Opened
from ingest.wire import read_secret
from twin.errors import ConfigError, Problem, SourceError
from twin.event import Event
from twin.frame import Frame
from twin.site import Site
from twin.token import weak

_Texts = Annotated[tuple[str, ...], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)]


class Options(BaseModel):
    """What a ``[[source]]`` of type ``push`` may say.

    ``token_file``: the secret that its senders show, 22 characters or more; ``mapping``: tables that their series are read by,
    "auto": all that come with icctwin; ``node``, ``assets``: as of a ``prometheus`` source, for senders that do not name
    theirs; ``silent_s``: after so long without a push the source is down; ``max_samples_per_s``: what is more is refused for a
    moment.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    token_file: Path
    mapping: _Texts = ("auto",)
    node: str = ""
    assets: dict[str, str] = Field(default={})
    silent_s: float = Field(default=60.0, ge=1, le=86400)
    max_samples_per_s: float = Field(default=1e6, gt=0)

    @field_validator("token_file", "mapping")
    @classmethod
    def _beside_the_configuration(cls, value: Path | tuple[str, ...], info: ValidationInfo) -> Path | tuple[str, ...]:
        folder = (info.context or {}).get("folder")
        if folder is None:
            return value
        if isinstance(value, Path):
            return Path(folder / value)
        return tuple(one if one in (*known_mappings(), "auto") else str(folder / one) for one in value)


def source_ids(name: str, options: Options) -> Sequence[str]:
    """The one source asset."""
    return [name]


def build(name: str, options: Options, site: Site) -> Opened:
    """The receiver. ``ConfigError`` for a mapping that is wrong, for assets that the site does not have, and for a token that
    can be guessed; where none can be read yet, whoever pushes is told so."""
    names = [one for said in options.mapping for one in (known_mappings() if said == "auto" else [said])]
    tables = [load_mapping(one) for one in dict.fromkeys(names)]
    given, problems = {}, []
    for kind, asset in {**options.assets, **({"node": options.node} if options.node else {})}.items():
        if asset in site.position and site.kind(asset) == kind:
            given[kind] = site.row(asset)
        else:
            problems.append(Problem(f"source {name}", f"the site has no {kind} {asset!r}"))
    with suppress(SourceError):
        if why := weak(read_secret(options.token_file)):
            problems.append(Problem(f"source {name}", f"the token in {options.token_file} {why}"))
    if problems:
        raise ConfigError(problems)
    source = PushSource(name, options, Pushed(name, tables, site, given.get("node"), given))
    return Opened([source], inlets=[source])


class PushSource:
    """Takes batches of senders. See ``twin.ports.Source``, ``Eventful`` and ``ingest.registry.Inlet``."""

    def __init__(self, name: str, options: Options, pushed: Pushed) -> None:
        self._name, self._options, self._pushed = name, options, pushed
        self._last: datetime | None = None
        self._began: datetime | None = None
        self._budget = 10 * options.max_samples_per_s
        self._budget_time: datetime | None = None
        self._now: datetime | None = None

    @property
    def name(self) -> str:
        """Id of the source's own asset."""
        return self._name

    @property
    def every_s(self) -> float:
        """How often moments that became whole are looked for."""
        return 1.0

    @property
    def unmapped(self) -> int:
        """Series seen since start that belong to no known asset or metric."""
        return self._pushed.unmapped

    @property
    def unmapped_names(self) -> Sequence[str]:
        """Names of such series, a bounded number of them."""
        return list(self._pushed.unmapped_names)

    def opens(self, token: str) -> bool:
        """Whether ``token`` is its own. ``SourceError`` where its file cannot be read, or holds one now that can be guessed."""
        own = read_secret(self._options.token_file)
        if why := weak(own):
            raise SourceError(f"the token in {self._options.token_file} {why}")
        return hmac.compare_digest(token.encode(), own.encode())

    def take(self, batch: Batch, now: datetime) -> list[Frame]:
        """Frames of a batch. ``Refused`` where it is none, or more than the limit lets through."""
        self._spend(len(batch.keys), now)
        frames = self._pushed.take(batch, now)
        self._last = now
        return frames

    async def poll(self, now: datetime) -> Sequence[Frame]:
        """What became whole since. ``SourceError`` where nobody has pushed for ``silent_s``."""
        self._now = now
        self._began = self._began or now
        frames = self._pushed.settle(now)
        heard = self._last or self._began
        if not frames and (now - heard).total_seconds() > self._options.silent_s:
            what = f"nothing was pushed for {(now - heard).total_seconds():.0f} s" if self._last else "nothing was ever pushed"
            raise SourceError(f"{self._name}: {what}; is the sender running, and its token this source's?")
        return frames

    def take_events(self) -> Sequence[Event]:
        """What was found of the assets themselves: moved, replaced, renamed."""
        return self._pushed.events(self._now) if self._now else ()

    async def close(self) -> None:
        """Nothing is open."""

    def _spend(self, samples: int, now: datetime) -> None:
        """A bucket that fills at the limit's rate and holds ten seconds of it. A batch that is larger takes a full one and
        leaves a debt: told to come again it would do so for ever, and hold up all that its sender has behind it."""
        rate = self._options.max_samples_per_s
        holds = 10 * rate
        if self._budget_time is not None:
            gone_s = max((now - self._budget_time).total_seconds(), 0.0)
            self._budget = min(self._budget + gone_s * rate, holds)
        self._budget_time = now
        if samples > self._budget and self._budget < holds:
            raise Refused(429, f"Over {rate:g} samples/s for {self._name}; send more slowly, or raise max_samples_per_s.")
        self._budget -= samples
