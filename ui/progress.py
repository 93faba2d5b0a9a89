"""How far a long command is, on stderr, with the time that is left."""

import sys
import time

FIRST_S, EVERY_S = 1.0, 0.5  # nothing is said of what takes less than a second


class Bar:
    """Call it with the share that is done; it draws a line over itself, and only where somebody looks (a terminal) or,
    elsewhere, one line every tenth."""

    def __init__(self, what: str) -> None:
        self.what, self.began_s, self.said_s, self.tenth = what, time.monotonic(), -1e9, 0
        self.drawn = False

    def __call__(self, share: float) -> None:
        """Say it, if it is time to."""
        now_s = time.monotonic()
        took_s = now_s - self.began_s
        if took_s < FIRST_S or share <= 0:
            return
        left_s = took_s / share * (1 - share)
        line = f"icctwin: {self.what} {share:4.0%}, {left_s:.0f} s left"
        if sys.stderr.isatty():
            if now_s - self.said_s >= EVERY_S or share >= 1:
                sys.stderr.write(f"\r\x1b[K{line}" + ("\n" if share >= 1 else ""))
                sys.stderr.flush()
                self.said_s = now_s
        elif int(share * 10) > self.tenth:
            self.tenth = int(share * 10)
            sys.stderr.write(line + "\n")
