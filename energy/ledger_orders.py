"""What each job of the schedulers was told last, as the audit has it: read once, and then what is new."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from energy.memory import TIMED
from energy.notes import PAGE, Stage
from energy.notes import TOPIC as AUDIT
from twin.order import Result
from twin.ports import Records

Job = tuple[str, str]  # queue, job
KEPT = 50  # orders to one job


@dataclass(frozen=True, slots=True)
class Last:
    """The last order to a job that was read back: plan, begin time (NaN: none), the partition that it was moved from (empty: it
    was not), and the begin time that its owner had given it when we first told it something (NaN: none), all s since 1970;
    ``told``: when the order was read back."""

    plan: str = ""
    begin_s: float = math.nan
    home: str = ""
    own_s: float = math.nan
    told: datetime | None = None


NEVER = Last()


class LastOrders:
    """Begin times and moves of ours by queue and job, the newest ``KEPT`` of each."""

    def __init__(self, records: Records) -> None:
        self._records, self._after = records, 0
        self._wanted: dict[tuple[str, Job], Last] = {}
        self._told: dict[Job, tuple[Last, ...]] = {}
        self._newest: datetime | None = None  # of what was heard

    def hear(self, since: datetime) -> None:
        """Read what is new; at the first time, all since ``since``."""
        start, full = since if self._after == 0 else None, True
        while full:
            page = self._records.read(AUDIT, start, limit=PAGE, after=self._after)
            full = len(page) == PAGE
            for number, time, record in page:
                self._after, self._newest = number, time
                if record.get("verb") in TIMED and "targets" in record:
                    self._take(record, time)

    def of(self, queue: str, job: str, by: datetime | None = None) -> Last:
        """What a job was told last (``by`` then); ``NEVER`` where it was told nothing."""
        told = self._told.get((queue, job), ())
        return next((one for one in reversed(told) if by is None or one.told is None or one.told <= by), NEVER)

    def forget(self, queue: str, kept: set[str], now: datetime, long: timedelta) -> None:
        """Jobs of ``queue`` that are none of ``kept``, were told nothing for so ``long``, and were to begin before that too: by
        the newest of what was heard, for a clock that is ahead for a moment must not make all of it old."""
        if self._newest is None:
            return
        before = min(self._newest, now) - long

        def stays(job: Job, one: Last) -> bool:
            late = one.told is None or one.told >= before or one.begin_s >= before.timestamp()
            return job[0] != queue or job[1] in kept or late

        self._told = {job: told for job, told in self._told.items() if stays(job, told[-1])}
        self._wanted = {key: one for key, one in self._wanted.items() if stays(key[1], one)}

    def _take(self, record: Mapping[str, Any], time: datetime) -> None:
        plan, queue, stage = record["plan"], record["queue"], Stage(record["stage"])
        for i, target in enumerate(record["targets"]):
            job = (queue, target)
            first = self.of(*job)
            if stage is Stage.BEGUN:
                # where it was at home, and when its owner had it begin, is what the first of our orders says
                home = first.home or (record["where"][i][0] if "where" in record else "")
                before = record["before"][i] if "before" in record else None
                own_s = first.own_s if first is not NEVER else math.nan if before is None else before
                begin_s = record["values"][i] or _over(first, time)  # 0: as soon as it can
                self._wanted[plan, job] = Last(plan, begin_s, home, own_s, time)
            elif stage is Stage.DONE and record["results"][i] in (Result.DONE, Result.SAME):
                wanted = self._wanted.pop((plan, job), None)
                self._tell(job, wanted or Last(plan, told=time))
            elif stage in (Stage.REVERTED, Stage.LEFT) and first.begin_s > time.timestamp():
                self._tell(job, replace(first, begin_s=_over(first, time), told=time))

    def _tell(self, job: Job, last: Last) -> None:
        self._told[job] = (*self._told.get(job, ()), last)[-KEPT:]


def _over(last: Last, time: datetime) -> float:
    """Until when a job waited that is let go (s since 1970); NaN where it did not wait."""
    return min(last.begin_s, time.timestamp()) if last.begin_s == last.begin_s else math.nan
