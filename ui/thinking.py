"""Which process of a centre thinks, and what each part of a centre does when."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from ui.duties import Duties
from ui.shared import Shared
from ui.tasks import Task

Run = Callable[[datetime], Awaitable[None] | None]


class Thinking:
    """The duties of a centre, done by the process that leads. ``anew`` makes them from what is written down, which is where a
    process that takes the lead over goes on from."""

    def __init__(self, shared: Shared, anew: Callable[[], Duties]) -> None:
        self._shared, self._anew = shared, anew
        self.duties = anew()

    def leads(self, now: datetime) -> bool:
        """Whether this process is the one that thinks."""
        was = self._shared.leading
        if self._shared.leads(now) and not was:
            self.duties = self._anew()
        return self._shared.leading

    def led(self, run: Callable[[Duties, datetime], Awaitable[None] | None]) -> Run:
        """What one process alone does."""
        return lambda now: run(self.duties, now) if self.leads(now) else None

    def alerts(self, now: datetime) -> None:
        """Judge, or show what the process that leads has judged."""
        if self.leads(now):
            self.duties.alerts(now)
        else:
            self.duties.recall()


def some_of(tasks: Sequence[tuple[str, Task]], roles: frozenset[str]) -> tuple[Task, ...]:
    """The tasks of these roles; each stands beside the role that has it, ``all`` for any and ``keep`` for any but a wall's."""
    held = roles | {"all"} | ({"keep"} if roles != {"wall"} else set())
    return tuple(task for role, task in tasks if role in held)
