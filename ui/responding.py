"""What answers the grid: requests are taken in, followed each quarter of a minute while they last, and proven afterwards.

What stands is written down (topics ``requests`` and ``responses``), so that a restart goes on with the same baseline. The
levers ``demand_response`` and ``job_respond`` say what is to be set and ordered; guard, modes, desk and audit are those of all
plans. In approve mode a person says yes once to what is asked, and what follows the meter is within that yes; what more is
asked later needs another (``respond.agreed``).
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from energy.act import Desk, Stage
from energy.guard import Limits
from energy.levers import Call, Lever, Outlook, QueueNow, believed, no_outlook, site_power_w
from energy.notes import plain
from energy.plan import ANSWERS, Mode, Plan, Verdict
from energy.respond.agreed import Agreed
from energy.respond.inbox import WINDOW_S, note, request_of, standing, together, window
from energy.respond.live import STEP_S, aimed_w, answer, felt
from energy.respond.plan import SETTLE_S, targets
from energy.respond.proof import AFTER_S, before, prove
from energy.respond.track import Trim
from twin.curtail import Asker, Informed, PowerState, Request
from twin.errors import SourceError
from twin.frame import Floats, Frame
from twin.message import Message
from twin.ports import Action
from ui.view import Live

log = logging.getLogger(__name__)
LEVERS = ("demand_response", "job_respond")
FIRST = Message("While a request of the grid is answered, no other lever moves work")
HOLDS = f"{LEVERS[1]}:"  # how plans that hold work back begin
TOPIC = "responses"
LEAD_S = SETTLE_S + STEP_S  # before its begin that a request is answered
SPARE_S = 3600.0  # by which the window ends before the longest order would, for the ramp back up
KEPT = 2000
PROVEN_WITHIN_S = 2 * 86_400.0  # what could not be proven for so long is said to be unproven

YES = (Stage.APPROVED, Stage.BEGUN, Stage.DONE, Stage.FAILED)

RESTS = frozenset({"dwell", "order_dwell"})
SAYS = "mean of the hour before the first order"  # what the baseline is

Judge = Callable[[Plan, datetime], Awaitable[tuple[Plan, Verdict]]]  # the part of a plan that fits, and what is said of it


@dataclass
class _Going:
    """What is being answered: since when, from which baseline, what people agreed to, what the looks at the meter have taught,
    whether the last of them found that what is asked ``binds``, and whether anything was carried out for it (``acts``)."""

    key: str
    ordered: datetime
    baseline_w: float
    agreed: Agreed
    trim: Trim = field(default_factory=Trim)
    aimed_w: float = float("nan")
    due_s: float = 0.0
    binds: bool = False
    acts: bool = False
    charge_frac: dict[str, float] = field(default_factory=dict)
    answered: dict[str, float] = field(default_factory=dict)  # name of each request that was not taken back -> its end [s]


class Responding:
    """One for a desk. Each method is called by one task at a time, under the desk's lock."""

    def __init__(
        self,
        live: Live,
        desk: Desk,
        askers: Sequence[Asker],
        settable: frozenset[str],
        levers: Mapping[str, Lever],
        publish: Callable[[Sequence[Frame]], None],
        limits: Limits,
    ) -> None:
        """``settable``: assets that something can set; ``levers``: those of ``LEVERS`` among them are used."""
        self._live, self._desk, self._askers, self._limits = live, desk, askers, limits
        can = frozenset(asset for asset in settable if desk.takes.get(asset, frozenset()).intersection(ANSWERS))
        self._settable = can - limits.locked
        self._levers = {name: levers[name] for name in LEVERS if name in levers}
        self._publish = publish
        self._reference: Floats = np.full(live.site.count("gpu"), np.nan)
        self._going: _Going | None = None
        self._recall()
        self.plans: tuple[tuple[Plan, Verdict], ...] = ()

    @property
    def busy(self) -> bool:
        """Whether an answer is in force, or may come to be: nobody else moves work meanwhile."""
        if self._going is None or all(self._live.modes.get(name, Mode.ADVISE) is Mode.ADVISE for name in self._levers):
            return False
        return self._going.binds or any(one.plan.startswith(HOLDS) for one in self._desk.ordered)

    @property
    def resting(self) -> Message | None:
        """Why levers that move work make no plans; None where they may."""
        return FIRST if self.busy else None

    def hear(self, now: datetime) -> None:
        """Take in what came from outside."""
        for asker in self._askers:
            for asked in asker.asked():
                try:
                    if note(self._live.records, asked, now):
                        log.warning("%s asks for %d reductions of power", asked.who, len(asked.requests))
                except SourceError as error:
                    log.error("a request is refused: %s", error)

    async def look(self, queues: Sequence[QueueNow], judge: Judge, now: datetime) -> None:
        """Answer what is asked now; let go where nothing is any more."""
        live = self._live
        self._refer(now)
        self._inform(now)
        named = {_name(who, one): one for who, one in standing(live.records, now) if one.begin_s - LEAD_S <= now.timestamp()}
        asked = list(named.values())
        if not asked:
            await self._over(now)
            return
        if self._going is None:
            self._going = self._begin(asked, now)
        going = self._going
        if going is None:
            return
        self._answering(going, named, now)
        self._show(going, named, now)
        call = self._call(going, asked, now)
        if call is None:
            going.binds = False
            return  # between two parts of a long request
        self._learn(going, call, queues, now)
        call = replace(call, trim_w=going.trim.trim_w)
        outlook = replace(no_outlook(), queues=queues, call=call, bounds=self._limits.bounds)
        made = [await self._answer(name, lever, outlook, going, judge, now) for name, lever in self._levers.items()]
        said_no = [name for name in self._levers if self._desk.stage(f"{name}:{call.key}") is Stage.REJECTED]
        stay = tuple(one for one in self.plans if one[0].request == call.key and one[0].lever not in said_no)
        self.plans = tuple(one for one in made if one is not None) or stay

    def _show(self, going: _Going, named: Mapping[str, Request], now: datetime) -> None:
        """Hear who said yes to what was shown until now; what else is asked by now takes its place on the desk."""
        self._agree(going, now)
        was = going.agreed.plans
        if not going.agreed.show(named, now.timestamp()):
            return
        for name in self._levers:
            self._desk.withdraw(f"{name}:{was}", now, Message("The grid asks for something else by now"))
        self._agree(going, now)  # to the same, before a restart or before something else was asked

    def _agree(self, going: _Going, now: datetime) -> None:
        for name in self._levers:
            if self._desk.stage(f"{name}:{going.agreed.plans}") in YES and (said := going.agreed.yes(name)) is not None:
                self._note(plain({"stage": "agreed", **said}), now)

    def _answering(self, going: _Going, named: Mapping[str, Request], now: datetime) -> None:
        """Write down each request when it is first answered, to be proven by, and when it is taken back."""
        for name, one in named.items():
            if name not in going.answered:
                said = {"stage": "answered", "request": name, "key": going.key, "baseline_w": going.baseline_w}
                self._note({**said, "first_s": going.ordered.timestamp(), "asked": plain(asdict(one))}, now)
            going.answered[name] = one.end_s
        for name in [name for name, end_s in going.answered.items() if name not in named and end_s > now.timestamp()]:
            self._note({"stage": "withdrawn", "request": name, "key": going.key}, now)
            del going.answered[name]

    def _inform(self, now: datetime) -> None:
        """Let who asked know how it is answered."""
        hearing = [asker for asker in self._askers if isinstance(asker, Informed)]
        if not hearing:
            return
        found, going = tuple(standing(self._live.records, now)), self._going
        baseline_w = going.baseline_w if going is not None else float("nan")
        limits = [
            part.target_w(baseline_w)
            for _, one in found
            for part in one.intervals
            if part.begin_s <= now.timestamp() < part.end_s
        ]
        aimed_w = min((limit for limit in limits if np.isfinite(limit)), default=np.inf)
        state = PowerState(now, site_power_w(self._live.state, "facility_power_w", now), baseline_w, aimed_w, found)
        for asker in hearing:
            asker.inform(state)

    async def _answer(
        self, name: str, lever: Lever, outlook: Outlook, going: _Going, judge: Judge, now: datetime
    ) -> tuple[Plan, Verdict] | None:
        """The newest plan of one lever for a person to see. Where a yes is wanted and was given to a part of what is asked,
        that part is followed meanwhile. What icctwin does of itself has a turn in its key: without one, a person said yes."""
        mode, call = self._live.modes.get(name, Mode.ADVISE), outlook.call
        if call is None:
            return None
        first, made = self._desk.stage(f"{name}:{call.key}"), None
        part, whole = self._part(name, going, call)
        least_w, turn = call.least_w if whole else np.inf, f"/{now.timestamp():.0f}"
        follows = None if part is None else replace(call, request=part, turn=turn, least_w=least_w)
        if not whole and first is not Stage.REJECTED:
            made = await self._put(lever, outlook, going, mode, judge, now)
        if follows is not None and (whole or mode is Mode.APPROVE):
            followed = await self._put(lever, replace(outlook, call=follows), going, Mode.AUTO, judge, now)
            made = made or followed
        return made

    def _part(self, name: str, going: _Going, call: Call) -> tuple[Request | None, bool]:
        """What of a call is answered without a further word, and whether that is all of it."""
        mode = self._live.modes.get(name, Mode.ADVISE)
        if mode is Mode.APPROVE:
            return going.agreed.within(name, call.request, call.now_s)
        said_no = self._desk.stage(f"{name}:{call.key}") is Stage.REJECTED
        return (call.request, True) if mode is Mode.AUTO and not said_no else (None, False)

    async def _put(
        self, lever: Lever, outlook: Outlook, going: _Going, mode: Mode, judge: Judge, now: datetime
    ) -> tuple[Plan, Verdict] | None:
        """What a lever makes of it, judged and put on the desk."""
        live = self._live
        plan = lever.propose(live.site, live.state, live.jobs, outlook, now)
        if plan is None:
            return None
        plan, verdict = await judge(plan, now)
        if verdict.refusals and {refusal.rule for refusal in verdict.refusals} <= RESTS:
            return None  # all that is to change was changed just now
        outcome = await self._desk.decide(plan, verdict, mode, live.state, now)
        going.acts |= outcome.stage in YES
        self._publish(outcome.frames)
        return plan, verdict

    def _begin(self, asked: Sequence[Request], now: datetime) -> _Going | None:
        """The baseline is the mean of the hour before: from then on the meter shows what we do."""
        live = self._live
        series = live.store.series("site", ("facility_power_w",), now - timedelta(hours=1), now, STEP_S)
        power_w = series.values["facility_power_w"]
        known = power_w[:, 0] if power_w.shape[1] else np.full(len(series.time_s), np.nan)
        baseline_w = before(series.time_s, known, now.timestamp())
        if not np.isfinite(baseline_w):
            baseline_w = site_power_w(live.state, "facility_power_w", now)
        if not np.isfinite(baseline_w):
            log.error("request %s cannot be answered: the power of the centre is not known", asked[0].key)
            return None
        charge = believed(live.state, "battery", "charge_frac", now)
        charges = {asset: float(charge[i]) for i, asset in enumerate(live.site.ids_of("battery")) if np.isfinite(charge[i])}
        key = f"{asked[0].key}@{asked[0].begin_s:.0f}"
        going = _Going(key, now, baseline_w, Agreed(key, baseline_w), charge_frac=charges)
        drew = [round(one) if np.isfinite(one) else None for one in self._reference.tolist()]
        begun = {"stage": "begun", "key": going.key, "baseline_w": baseline_w, "charge_frac": charges, "reference_w": drew}
        self._note(begun, now)
        return going

    def _call(self, going: _Going, asked: Sequence[Request], now: datetime) -> Call | None:
        seen = window(asked, now.timestamp(), self._limits.longest_s - SPARE_S)
        if not seen:
            return None
        lasts = min(one.begin_s for one in seen) > now.timestamp() - WINDOW_S
        ahead = [part for one in asked for part in one.intervals if part.end_s > now.timestamp()]
        return Call(
            going.agreed.plans,
            together(seen, going.baseline_w),
            now,
            going.baseline_w,
            self._settable,
            self._reference,
            going.trim.trim_w,
            charge_frac=going.charge_frac if lasts else {},  # what was in it days ago says nothing of what is left
            until_s={one.action.asset: one.action.until.timestamp() for one in self._desk.in_force
                     if one.action.metric in ANSWERS},
            held=frozenset((one.queue, one.target) for one in self._desk.ordered if one.plan.startswith(HOLDS)),
            least_w=min((part.target_w(going.baseline_w) for part in ahead), default=np.inf),
        )  # fmt: skip

    def _learn(self, going: _Going, call: Call, queues: Sequence[QueueNow], now: datetime) -> None:
        """One look at the meter a minute moves the budget; and what is aimed at until the next."""
        # of a clock that leaps ahead and back nothing is due later than a step from now
        going.due_s = min(going.due_s, now.timestamp() + STEP_S)
        if now.timestamp() < going.due_s:
            return
        going.due_s = now.timestamp() + STEP_S
        found = answer(call, self._live.site, self._live.state, queues)
        meter_w = site_power_w(self._live.state, "facility_power_w", now)
        if np.isfinite(meter_w):  # a meter that is silent for a while frees nobody
            going.binds = found is not None and found.binds
        part = next((part for name in self._levers if (part := self._part(name, going, call)[0]) is not None), call.request)
        if part is not call.request:  # the meter is led by what is answered, and not by what is asked beyond it
            found = answer(replace(call, request=part), self._live.site, self._live.state, queues)
        inside = found is not None and np.isfinite(found.course.target_w[found.step]) and felt(found, meter_w)
        acts = going.acts or any(going.agreed.by.values())
        if inside and acts and np.isfinite(going.aimed_w):  # of what nobody carried out nothing is to be learnt
            going.trim = going.trim.step(meter_w, going.aimed_w)
        going.aimed_w = aimed_w(found) if found is not None and inside else float("nan")

    def _refer(self, now: datetime) -> None:
        """What GPUs draw while no cap of ours is on them."""
        live, ids = self._live, self._live.site.ids_of("gpu")
        now_w = believed(live.state, "gpu", "power_w", now)
        capped = {
            entry.action.asset
            for entry in self._desk.in_force
            if entry.action.metric == "power_cap_w" and not self._is_top(entry.action)
        }
        if capped:
            of, nodes = live.site.within("gpu", "node"), live.site.ids_of("node")
            ours = np.array([gpu in capped or (of[g] >= 0 and nodes[of[g]] in capped) for g, gpu in enumerate(ids)])
            # after a restart what they drew before is lost: then they draw at least what they draw now
            self._reference = np.where(ours & np.isfinite(self._reference), np.fmax(self._reference, now_w), now_w)
        else:
            self._reference = now_w

    def _is_top(self, cap: Action) -> bool:
        """Whether a cap of ours lets the device draw all that it is rated for: then it is none."""
        site = self._live.site
        return bool(cap.value >= site.number(site.kind(cap.asset), "rated_w")[site.row(cap.asset)])

    async def _over(self, now: datetime) -> None:
        """Nothing is asked (any more). What ran to its end comes back by itself; what was called off comes back now."""
        going, self._going = self._going, None
        if going is not None:
            taken_back = any(end_s > now.timestamp() for end_s in going.answered.values())
            self._answering(going, {}, now)
            if taken_back:
                why = Message("The request was taken back")
                for name in self._levers:
                    for outcome in await self._desk.end(f"{name}:{going.key}", self._live.state, now, why):
                        self._publish(outcome.frames)
            for name in self._levers:
                self._desk.withdraw(f"{name}:{going.key}", now, Message("The grid asks for nothing any more"))
            self._note({"stage": "over", "key": going.key}, now)
        if self.plans and now >= max(plan.expires for plan, _ in self.plans):
            self.plans = ()

    # proof

    def prove(self, now: datetime) -> None:
        """Judge each request that has been over for an hour, once."""
        live, now_s = self._live, now.timestamp()
        notes = [record for _, _, record in live.records.read(TOPIC, limit=KEPT, newest=True)]
        done = {record["request"] for record in notes if record["stage"] in ("proved", "unproven", "withdrawn")}
        stands = {_name(who, one): one for who, one in standing(live.records, now, PROVEN_WITHIN_S)}
        answered = {record["request"]: record for record in notes if record["stage"] == "answered"}
        # what was asked may since have made place for something else
        ended = {name: request_of(record["asked"]) for name, record in answered.items()} | stands
        for name, one in ended.items():
            if name in done or not one.end_s + AFTER_S <= now_s < one.end_s + PROVEN_WITHIN_S:
                continue
            if name in answered:
                self._prove(name, one, answered[name], now)
            elif one.end_s + PROVEN_WITHIN_S / 2 < now_s:
                self._note({"stage": "unproven", "request": name, "why": "nobody answered it"}, now)

    def _prove(self, name: str, one: Request, answered: Mapping[str, Any], now: datetime) -> None:
        ordered_s, first_s, baseline_w = (float(answered[what]) for what in ("time_s", "first_s", "baseline_w"))
        start = datetime.fromtimestamp(first_s - AFTER_S, UTC)
        end = datetime.fromtimestamp(one.end_s + AFTER_S, UTC)
        series = self._live.store.series("site", ("facility_power_w",), start, end, STEP_S)
        power_w = series.values["facility_power_w"]
        known = power_w[:, 0] if power_w.shape[1] else np.full(len(series.time_s), np.nan)
        aimed = targets(one, series.time_s, STEP_S, baseline_w)
        try:
            proof = prove(series.time_s, known, aimed, baseline_w, ordered_s, SAYS, first_s)
        except (ValueError, IndexError) as error:
            self._note({"stage": "unproven", "request": name, "why": str(error)}, now)
            return
        modes = {lever: str(self._live.modes.get(lever, Mode.ADVISE)) for lever in self._levers}
        record = {"stage": "proved", "request": name, "key": answered["key"], "baseline_w": baseline_w, "modes": modes}
        self._note({**record, **asdict(proof)}, now)

    def _note(self, record: Mapping[str, Any], now: datetime) -> None:
        self._live.records.append(TOPIC, now, plain({**record, "time_s": now.timestamp()}))

    def _recall(self) -> None:
        """What was being answered when a process before this one ended."""
        notes = [record for _, _, record in self._live.records.read(TOPIC, limit=KEPT, newest=True)]
        over = {record["key"] for record in notes if record["stage"] == "over"}
        going = next((one for one in reversed(notes) if one["stage"] == "begun" and one["key"] not in over), None)
        if going is not None:
            ordered = datetime.fromtimestamp(going["time_s"], UTC)
            agreed = Agreed(going["key"], going["baseline_w"])
            self._going = _Going(agreed.key, ordered, agreed.baseline_w, agreed, charge_frac=dict(going["charge_frac"]))
            ours = tuple(f"{name}:{agreed.key}" for name in self._levers)
            plans = [one.plan for one in self._desk.in_force] + [one.plan for one in self._desk.ordered]
            self._going.acts = any(plan.startswith(ours) for plan in plans)
            for record in notes:
                if record["stage"] == "answered" and record["key"] == going["key"]:
                    self._going.answered[record["request"]] = request_of(record["asked"]).end_s
                elif record["stage"] == "agreed" and record["key"] == going["key"]:
                    agreed.recall(record)
                elif record["stage"] == "withdrawn":
                    self._going.answered.pop(record["request"], None)
            drew = np.array([np.nan if one is None else float(one) for one in going["reference_w"]])
            self._reference = drew if len(drew) == len(self._reference) else self._reference


def _name(who: str, one: Request) -> str:
    """Of a request, as it is proven by."""
    return f"{who}/{one.key}@{one.begin_s:.0f}"
