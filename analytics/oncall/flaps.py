"""What flaps: begins to fire again and again, and counts as firing until it has been quiet for a while."""

from collections.abc import Mapping

from analytics.oncall.labels import Signal
from analytics.oncall.policy import Policy

MAX_FLAPS = 20_000  # alerts whose beginnings are remembered


def flaps(
    policy: Policy,
    begun: Mapping[str, tuple[float, ...]],
    seen: Mapping[str, float],
    was_s: float,
    table: Mapping[str, Signal],
    now_s: float,
) -> tuple[dict[str, tuple[float, ...]], dict[str, float], frozenset[str]]:
    """When each alert lately began to fire, when each was last seen to, and which of them flap: from how that stood at
    ``was_s`` (``begun``, ``seen``) and what there is now."""
    first_s = now_s - policy.flap_window_s
    lately = {
        key: times if times[0] >= first_s else tuple(at_s for at_s in times if at_s >= first_s)
        for key, times in begun.items()
        if times[-1] >= first_s
    }
    held = dict(seen)
    for key, signal in table.items():
        if not signal.fires:
            continue
        if (key not in held or held[key] < was_s) and (key in lately or len(lately) < MAX_FLAPS):
            lately[key] = (*lately.get(key, ()), now_s)[-policy.flap_count * 4 :]
        held[key] = now_s
    found = set()
    for key in list(held):
        found |= {key} if len(lately.get(key, ())) >= policy.flap_count else set()
        fires = key in table and table[key].fires
        if not fires and not (key in found and now_s - held[key] < policy.flap_quiet_s):
            # an end counts at once; what flaps is held until it has been quiet
            del held[key]
    return lately, held, frozenset(found)
