"""How often Python looks for garbage: seldom, for a process that lives long and makes many short-lived objects.

Nearly all of ours dies by reference count. At Python's own thresholds an ingest process of a thousand endpoints spends a tenth
of its time on looking through everything that it learnt at the start and keeps.
"""

import gc

YOUNG = 50_000  # objects made and kept since, before the young ones are looked through: some 10 MB
OLDER = 20  # such looks, before the next generation's turn


def look_seldom() -> None:
    """Set it for this process, and leave alone what it has loaded so far."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, OLDER, OLDER)
