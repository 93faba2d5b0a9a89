"""The desk: what the mode allows of a plan is carried out, once; what was begun is undone at its end, and all is written down.

Setpoints (``energy.setpoints``) and orders to schedulers (``energy.ordering``) go their own ways; what they share is here: who
may say yes, what was said before, also before a restart, and the switch that lets go of everything.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from energy.memory import Asked, Open, Ordered, remembered
from energy.notebook import Notebook
from energy.notes import TOPIC, Outcome, Stage, decision, last_word
from energy.ordering import Ordering
from energy.plan import Done, Mode, Plan, Verdict
from energy.setpoints import Setpoints
from twin.frame import Frame, Origin, frame_of
from twin.job import Jobs
from twin.message import Message
from twin.ports import Actuator, Records, Steerable
from twin.site import Site
from twin.state import State

__all__ = ["TOPIC", "Desk", "Open", "Outcome", "Stage"]
MAX_WAITING = 100  # plans that wait for a person; the oldest goes first
NOT_BEGUN = (Stage.WAITING, Stage.REFUSED, Stage.ADVISED, Stage.EXPIRED)


class Desk:
    """Decides by mode and carries out. One for a site, used from one task at a time."""

    def __init__(
        self,
        site: Site,
        records: Records,
        actuators: Mapping[str, Actuator],
        now: datetime,
        queues: Mapping[str, Steerable] | None = None,
        notebook: Notebook | None = None,
    ) -> None:
        """``actuators`` by asset id, ``queues`` by theirs. Reads the records of the last two days: what was in force still
        is. ``notebook``: where it writes; without one nothing is let go either that the records refuse a note of."""
        self._notebook = notebook or Notebook(records)
        self._memory = remembered(records, now)
        self._setpoints = Setpoints(site, self._notebook, actuators, self._memory)
        self._ordering = Ordering(self._notebook, queues or {}, self._memory, now)
        self._missing = set(self._memory.open) if self._notebook.missing else set[str]()  # of which notes are missing
        self._waiting: dict[str, Plan] = {}

    @property
    def takes(self) -> Mapping[str, frozenset[str]]:
        """The metrics of each asset that something sets; an asset that nothing sets is not there."""
        return self._setpoints.takes

    @property
    def waiting(self) -> Sequence[Plan]:
        """Plans that wait for a person, the oldest first."""
        return tuple(self._waiting.values())

    @property
    def in_force(self) -> Sequence[Open]:
        """Actions that were sent and not yet undone."""
        return tuple(self._memory.open.values())

    @property
    def ordered(self) -> Sequence[Ordered]:
        """Orders to schedulers that are in force."""
        return tuple(self._memory.ordered.values())

    def hands_off(self, queue: str) -> frozenset[str]:
        """What of a queue a person has taken over: its owner took it out, or somebody changed what we had ordered."""
        return frozenset(target for name, target in self._memory.left if name == queue)

    def asked(self, queue: str) -> Mapping[str, Asked]:
        """How long jobs of a queue were told to wait, by our orders of the last two days."""
        return {target: asked for (name, target), asked in self._memory.asked.items() if name == queue}

    def history(self, now: datetime) -> Sequence[Done]:
        """Actions begun in the last two days, for the guard."""
        self._memory.forget(now)
        return tuple(self._memory.done)

    def health(self, now: datetime) -> Frame:
        """How many actions could not be undone so far, as a reading of the site: for an alert rule."""
        open_, ordered = self._memory.open.values(), self._memory.ordered.values()
        stuck = sum(entry.stuck for entry in open_) + sum(entry.stuck for entry in ordered)
        return frame_of("site", now, 0, Origin.MEASURED, "act", overdue_reverts_count=float(stuck))

    async def decide(self, plan: Plan, verdict: Verdict, mode: Mode, state: State, now: datetime) -> Outcome:
        """What ``mode`` allows of ``plan``. A plan that was carried out before (by its key, also before a restart) is
        not carried out again, one that a person said no to is not put before anybody again; a stage that did not change is
        not recorded again."""
        if verdict.plan != plan.key:
            raise ValueError(f"the verdict is on plan {verdict.plan}, not on {plan.key}")
        known = self._memory.stage.get(plan.key)
        if known is Stage.REJECTED:
            return Outcome(known, Message("A person said no to this plan"))
        again = {None, Stage.REFUSED, Stage.ADVISED, Stage.WAITING, Stage.EXPIRED}
        if not plan.actions:  # orders are idempotent: what a crash cut off half-way is begun anew
            again |= {Stage.BEGUN, Stage.DONE, Stage.FAILED}
        if known not in again:
            return Outcome(known or Stage.DONE, Message("This plan was carried out already"))
        if not verdict.allowed:
            self._waiting.pop(plan.key, None)
            return self._noted(Stage.REFUSED, plan, verdict, mode, now, verdict.refusals[0].why)
        if mode is Mode.ADVISE:
            self._waiting.pop(plan.key, None)
            return self._noted(Stage.ADVISED, plan, verdict, mode, now, None)
        if mode is Mode.APPROVE:
            self._waiting[plan.key] = plan
            while len(self._waiting) > MAX_WAITING:
                del self._waiting[next(iter(self._waiting))]
            return self._noted(Stage.WAITING, plan, verdict, mode, now, None)
        return await self._carry_out(plan, verdict, mode, "icctwin", state, now)

    async def approve(
        self, key: str, who: str, verdict: Verdict, state: State, now: datetime, fits: Plan | None = None
    ) -> Outcome:
        """Carry out the plan that waits under ``key`` in the name of ``who``. ``verdict`` must be a new one: what was
        allowed when the plan was made may not be any more; ``fits``: what of the plan still is (all of it, where not given)."""
        plan = self._waiting.get(key)
        if plan is None:
            late = self.stage(key) is Stage.EXPIRED
            said = "Plan {key} expired before anybody said yes" if late else "No plan {key} waits for approval"
            if self.stage(key) is Stage.WAITING:  # before a restart; it is asked for anew where it is proposed again
                return self._said(Stage.REFUSED, key, Message(said, {"key": key}), who, now)
            return Outcome(Stage.REFUSED, Message(said, {"key": key}))
        if not who.strip():
            return Outcome(Stage.REFUSED, Message("An approval needs the name of who gives it"))
        if verdict.plan != key:
            raise ValueError(f"the verdict is on plan {verdict.plan}, not on {key}")
        del self._waiting[key]
        plan = fits or plan
        if not now < plan.expires:
            why = Message("The plan expired at {time}", {"time": plan.expires.isoformat()})
            return self._noted(Stage.REFUSED, plan, verdict, Mode.APPROVE, now, why, who)
        if not verdict.allowed:
            return self._noted(Stage.REFUSED, plan, verdict, Mode.APPROVE, now, verdict.refusals[0].why, who)
        self._noted(Stage.APPROVED, plan, verdict, Mode.APPROVE, now, None, who)
        return await self._carry_out(plan, verdict, Mode.APPROVE, who, state, now)

    def reject(self, key: str, who: str, now: datetime) -> Outcome:
        """Take the plan that waits under ``key`` from the desk in the name of ``who``, for good; also one that waited before a
        restart and is not proposed again yet, or that was not begun for another reason."""
        plan = self._waiting.pop(key, None)
        why = Message("{who} said no", {"who": who})
        if plan is not None:
            return self._noted(Stage.REJECTED, plan, Verdict(key, ()), Mode.APPROVE, now, why, who)
        if self.stage(key) in NOT_BEGUN:
            return self._said(Stage.REJECTED, key, why, who, now)
        return Outcome(Stage.REFUSED, Message("No plan {key} waits for approval", {"key": key}))

    def catch_up(self) -> None:
        """Write down what waits in the notebook. ``SourceError`` where the records refuse it."""
        self._missing &= self._memory.open.keys()
        self._notebook.catch_up(settled=not self._missing)

    def tidy(self, now: datetime) -> None:
        """Take from the desk what waited for a person past its time."""
        for key, plan in [one for one in self._waiting.items() if not now < one[1].expires]:
            del self._waiting[key]
            self._noted(Stage.EXPIRED, plan, Verdict(key, ()), Mode.APPROVE, now, Message("Nobody said yes in time"))

    def withdraw(self, plans: str, now: datetime, why: Message) -> None:
        """Take from the desk what waits for a person with a key that begins with ``plans``, because of ``why``."""
        for key, plan in [one for one in self._waiting.items() if one[0].startswith(plans)]:
            del self._waiting[key]
            self._noted(Stage.EXPIRED, plan, Verdict(key, ()), Mode.APPROVE, now, why)

    async def revert_due(
        self, state: State, now: datetime, all_now: bool = False, why: Message | None = None
    ) -> Sequence[Outcome]:
        """Undo what has reached its end (``all_now``: everything in force, for the reason ``why``); a setpoint by at most the
        metric's step a call.

        Call it every minute or so, also when all modes are back at advise: what was begun must end."""
        return [*await self.revert_setpoints(state, now, all_now, why), *await self.revert_orders(now, all_now, why=why)]

    async def revert_setpoints(
        self, state: State, now: datetime, all_now: bool = False, why: Message | None = None, but_stuck: bool = False
    ) -> Sequence[Outcome]:
        """The same, of setpoints; ``but_stuck``: but for those whose device did not follow before."""
        return await self._setpoints.revert_due(state, now, all_now, why, but_stuck)

    async def revert_orders(
        self, now: datetime, all_now: bool = False, but_begins: bool = False, why: Message | None = None
    ) -> Sequence[Outcome]:
        """The same, of orders to schedulers; ``but_begins``: begin times stay, which release themselves."""
        return await self._ordering.revert_due(now, all_now, but_begins, why)

    async def end(self, plan: str, state: State, now: datetime, why: Message) -> Sequence[Outcome]:
        """Undo, before its time, all that plans with keys that begin with ``plan`` brought in force."""
        await self._ordering.end(plan, now, why)
        self._setpoints.end(plan, why)
        return await self.revert_setpoints(state, now)

    def stage(self, key: str) -> Stage | None:
        """What became of a plan; None where it was never decided on."""
        return self._memory.stage.get(key)

    async def release_strays(self, queue: str, jobs: Jobs, now: datetime) -> None:
        """Let go of jobs that bear a note of ours and wait, and of which no record is left."""
        await self._ordering.release_strays(queue, jobs, now)

    async def follow(self, queue: str, jobs: Jobs, now: datetime) -> None:
        """Look at a queue's jobs as just read: what an owner took out is let go, what a person changed is left alone, and what
        a dying process may or may not have ordered becomes known."""
        await self._ordering.follow(queue, jobs, now)

    async def _carry_out(self, plan: Plan, verdict: Verdict, mode: Mode, who: str, state: State, now: datetime) -> Outcome:
        way = self._ordering.carry_out if plan.orders else self._setpoints.carry_out
        outcome = await way(plan, verdict, mode, who, state, now)
        if outcome.stage is Stage.REFUSED:
            return self._noted(Stage.REFUSED, plan, verdict, mode, now, outcome.why, who)
        return outcome

    def _noted(
        self, stage: Stage, plan: Plan, verdict: Verdict, mode: Mode, now: datetime, why: Message | None, who: str = ""
    ) -> Outcome:
        """A decision on a whole plan, recorded where it is news."""
        if self._memory.stage.get(plan.key) is not stage:
            self._notebook.keep([(now, decision(stage, plan, verdict, mode, why, who))])
            self._memory.remember(plan.key, stage)
        return Outcome(stage, why)

    def _said(self, stage: Stage, key: str, why: Message, who: str, now: datetime) -> Outcome:
        """A person's word on a plan of which the desk has no more than the key."""
        self._notebook.keep([(now, last_word(stage, key, why, who))])
        self._memory.remember(key, stage)
        return Outcome(stage, why)
