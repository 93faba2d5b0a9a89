"""The outbox on its own: order within a group, what a robot's minute can hold, retries, and kills at any moment."""

from typing import Any

import numpy as np
import receivers

from analytics.oncall.outbox import GIVE_UP_S, MINUTE_S, Pace, Send, Waiting, hopeless, next_send, retry_s
from ui.benches.pages import killed


def rows(*groups: str, due_s: float = 0.0) -> list[Waiting]:
    return [Waiting(i, group, "warning", due_s, 0, 0.0) for i, group in enumerate(groups, 1)]


def test_order_within_a_group_and_the_worst_first_across() -> None:
    waiting = rows("a", "a", "b")
    waiting[2] = Waiting(3, "b", "critical", 0.0, 0, 0.0)
    assert next_send(waiting, [], Pace(), 1.0) == Send((3,))
    assert next_send(waiting[:2], [], Pace(), 1.0) == Send((1,))
    held = [Waiting(1, "a", "critical", 9.0, 1, 0.0), *rows("x")[:0], Waiting(2, "a", "critical", 0.0, 0, 0.0)]
    assert next_send(held, [], Pace(), 1.0) == 9.0  # what comes after does not overtake
    assert next_send([], [], Pace(), 1.0) == float("inf")


def test_too_much_for_a_minute_becomes_one_digest_and_never_a_ban() -> None:
    """A robot that bans whoever is too fast, and two hundred pages in a minute: all are told, none is lost, no ban."""
    pace, clock = Pace(per_minute_count=18, digests=True), [0.0]
    rate = receivers.Rate(20, 600.0, lambda: clock[0])
    waiting, sent_s, told_numbers = rows(*(f"g{i}" for i in range(200))), list[float](), list[int]()
    while waiting:
        what = next_send(waiting, sent_s, pace, clock[0])
        if not isinstance(what, Send):
            clock[0] = what
            continue
        assert not rate.over()
        sent_s.append(clock[0])
        told_numbers += what.numbers
        waiting = [row for row in waiting if row.number not in what.numbers]
        clock[0] += 0.2
    assert rate.bans == 0
    assert sorted(told_numbers) == list(range(1, 201))
    assert clock[0] <= 2 * MINUTE_S


def test_retries_double_up_to_a_bound_and_follow_what_was_asked() -> None:
    rng = np.random.default_rng(1)
    waits = [retry_s(i, 0.0, rng) for i in range(30)]
    assert 0.8 <= waits[0] <= 1.2
    assert all(wait <= 360.0 for wait in waits)
    assert waits[-1] >= 240.0
    assert retry_s(0, 77.0, rng) == 77.0
    assert retry_s(0, 1e9, rng) == 3600.0
    assert [hopeless(status) for status in (400, 403, 408, 425, 429, 500, 503)] == [True, True, *[False] * 5]
    assert GIVE_UP_S == 86400.0


def test_a_receiver_away_for_an_hour_slow_and_refusing_while_we_are_killed() -> None:
    """A dozen kills (the bench has a hundred): every page arrives, in order, and nothing is left."""
    figures: dict[str, Any] = killed(kills=12)
    assert figures["pages_made_count"] >= 20
    for name in ("pages_lost_count", "groups_out_of_order_count", "pages_left_count"):
        assert figures[name] == 0.0, figures
    assert figures["kills_count"] == 12.0
