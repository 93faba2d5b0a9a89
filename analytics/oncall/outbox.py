"""In which order and how fast pages go out: retries, rate limits, digests, dead letters. Pure; ``ui.oncall`` keeps the rows.

Pages of one group go by one channel in the order in which they were made, whatever happens to others. A channel that fails is
left alone for a growing while. Where more waits than a channel may be sent within a minute, what waits is merged into one
digest: a robot that is sent too much is banned for minutes, and then nothing gets through."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analytics.rule import Severity

FIRST_RETRY_S, LONGEST_RETRY_S, LONGEST_ASKED_S = 1.0, 300.0, 3600.0
JITTER_FRAC = 0.2
GIVE_UP_S = 86400.0  # of trying; then a page is a dead letter
MAX_WAITING = 20_000  # rows; beyond, some become dead letters
# ... the oldest repeats first, then updates, then what else is no beginning and no end; of the fullest channel before others,
# so that what one cannot be told costs the others nothing, and of what is least severe
DROPPED_FIRST = ("repeat", "update")
DROPPED_LAST = ("resolve", "escalate", "trigger")
MAX_DIGEST = 100  # pages merged into one
MINUTE_S = 60.0
_RANK = {severity.value: rank for rank, severity in enumerate(Severity)}


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a channel may be sent to; 0: no limit. ``digests``: what does not fit is merged, else it waits."""

    per_minute_count: int = 0
    per_second_count: int = 0
    digests: bool = False


@dataclass(frozen=True, slots=True)
class Waiting:
    """A page in the outbox; ``number`` grows with the time it was put there."""

    number: int
    group: str
    severity: str
    due_s: float
    attempts: int
    made_s: float


@dataclass(frozen=True, slots=True)
class Send:
    """What to send now, as one message: pages by number, in order."""

    numbers: tuple[int, ...]
    digest: bool = False


def next_send(rows: Sequence[Waiting], sent_s: Sequence[float], pace: Pace, now_s: float) -> Send | float:
    """What one channel is sent next, or when to ask again (inf: nothing waits). ``rows``: what waits, by number; ``sent_s``:
    when the channel was last sent to, at least the last minute's."""
    heads: dict[str, Waiting] = {}
    for row in rows:
        heads.setdefault(row.group, row)
    due = {group: head for group, head in heads.items() if head.due_s <= now_s}
    if not due:
        return min((head.due_s for head in heads.values()), default=float("inf"))
    free_s = _free_s(sent_s, pace, now_s)
    if free_s > now_s:
        return free_s
    ready = [row for row in rows if row.group in due]
    left = pace.per_minute_count - sum(1 for at_s in sent_s if now_s - at_s < MINUTE_S)
    if pace.digests and pace.per_minute_count and len(ready) > max(1, left - 1):
        return Send(tuple(row.number for row in ready[:MAX_DIGEST]), digest=len(ready) > 1)
    first = min(due.values(), key=lambda row: (_RANK.get(row.severity, len(_RANK)), row.number))
    return Send((first.number,))


def _free_s(sent_s: Sequence[float], pace: Pace, now_s: float) -> float:
    """From when on the channel may be sent to."""
    free_s = now_s
    for count, span_s in ((pace.per_minute_count, MINUTE_S), (pace.per_second_count, 1.0)):
        if count:
            within = sorted(at_s for at_s in sent_s if now_s - at_s < span_s)
            if len(within) >= count:
                free_s = max(free_s, within[-count] + span_s)
    return free_s


def retry_s(attempts: int, asked_s: float, rng: np.random.Generator) -> float:
    """After how many seconds to try again after this many failures; ``asked_s``: what the receiver said (Retry-After), 0 for
    nothing. Doubles each time, with some chance in it so that not all come back at once."""
    wait_s = min(FIRST_RETRY_S * 2.0 ** min(attempts, 20), LONGEST_RETRY_S)
    wait_s *= 1.0 + JITTER_FRAC * float(rng.uniform(-1.0, 1.0))
    return max(wait_s, min(asked_s, LONGEST_ASKED_S))


def hopeless(status: int) -> bool:
    """Whether an HTTP answer says that the same again would be refused again. 408, 425 and 429 ask for patience (RFC 9110,
    8470, 6585)."""
    return 400 <= status < 500 and status not in (408, 425, 429)
