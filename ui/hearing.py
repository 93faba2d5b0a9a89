"""What people said of plans, done once each: a no at once and for good, a yes as soon as its plan is on the desk.

What is said while nobody acts (a restart, a new release) waits in the records. A no counts from the start on, before anything
is proposed. A yes is for the plan that waited under its key: it is carried out where that is proposed again and the guard still
allows it, within ``YES_FOR`` of when it was said, and not where everything was stopped since.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

from energy.act import Desk
from energy.notes import Stage
from energy.plan import Plan, Refusal, Verdict
from twin.errors import ConfigError, SourceError
from twin.frame import Frame
from twin.message import Message
from ui.switch import Heard, Switch
from ui.view import Live

log = logging.getLogger(__name__)
YES_FOR = timedelta(seconds=600)  # a yes waits for its plan as long as most plans do for a yes
STOPPED = Message("Everything was stopped after somebody said yes")

Judge = Callable[[Plan, datetime], Awaitable[tuple[Plan, Verdict]]]


class Hearing:
    """Of one desk. Used from one task at a time."""

    def __init__(
        self, live: Live, desk: Desk, switch: Switch, judge: Judge, publish: Callable[[Sequence[Frame]], None]
    ) -> None:
        """Takes in what was refused while nobody acted."""
        self._live, self._desk, self._switch, self._judge, self._publish = live, desk, switch, judge, publish
        self._unheard = list[Heard]()
        self._take_no(live.clock.now())

    async def hear(self, now: datetime) -> None:
        """Do what people said; what the world hinders is done at a later look, and what breaks us takes no other along."""
        self._take_no(now)
        for heard in tuple(self._unheard):
            self._unheard.remove(heard)
            try:
                await self._approve(heard, now)
            except (ConfigError, SourceError) as error:
                log.error("the yes of %s to plan %s could not be done: %s", heard.wish.who, heard.wish.plan, error)
            if self._switch.is_open(heard):
                self._unheard.append(heard)

    def _take_no(self, now: datetime) -> None:
        """Hear what is new, and do first what was refused: who says yes and no at once means no."""
        self._unheard += self._switch.news()
        refused = [heard for heard in self._unheard if heard.wish.what == "reject"]
        for heard in refused:
            self._desk.reject(heard.wish.plan, heard.wish.who, now)
        if refused:
            self._switch.done(now, *refused)
        self._unheard = [heard for heard in self._unheard if heard not in refused]

    async def _approve(self, heard: Heard, now: datetime) -> None:
        """Do what a yes asks, unless its plan is still to come."""
        said, since = heard.wish, self._switch.stopped_since(heard)
        plan = next((plan for plan in self._desk.waiting if plan.key == said.plan), None)
        waited = self._desk.stage(said.plan) is Stage.WAITING  # before a restart, and nobody has proposed it since
        if plan is None and waited and not since and now - heard.time < YES_FOR:
            return
        fits, verdict = await self._judge(plan, now) if plan else (None, Verdict(said.plan, ()))
        if since:
            verdict = Verdict(said.plan, (Refusal("stop", STOPPED),))
        self._switch.done(now, heard)  # before it is begun: it counts once, also where we die in the middle of it
        outcome = await self._desk.approve(said.plan, said.who, verdict, self._live.state, now, fits)
        log.warning("plan %s, approved by %s: %s %s", said.plan, said.who, outcome.stage, outcome.why or "")
        self._publish(outcome.frames)
