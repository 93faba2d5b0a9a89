"""The judge of a Slurm day, by Slurm's own log and job records and what the audit says; never by what icctwin believes."""

import re
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from energy.memory import Memory, take
from energy.notes import Stage
from ui.benches.slurm_day import Day
from ui.benches.slurm_jobs import SLOT_S, Wanted

LAG_S = 2 * SLOT_S  # a quarter of the least slack that a job has
_BEGIN = re.compile(r"_update_job: setting begin to .* for JobId=(\d+)")
_ANY = re.compile(r"_update_job: setting \w+ to .* for JobId=(\d+)")


@dataclass(frozen=True, slots=True)
class Judged:
    """Jobs of a day that ended after a deadline that they could have kept, that were touched though their owner had not agreed
    (any more), that were left held back or with words of ours, whose begin time changed more often than the audit says, or that
    did not end well. ``lag_s``: by how much the latest was submitted after its time: over ``LAG_S`` the machine had no time for
    the day itself, and what is late was no fault of who planned it (``disturbed``)."""

    late: list[str]
    touched: list[str]
    unreleased: list[str]
    unexplained: list[str]
    broken: list[str]
    disturbed: list[str]
    lag_s: float

    @property
    def clean(self) -> bool:
        """Nothing of all this."""
        return not (self.late or self.touched or self.unreleased or self.unexplained or self.broken)


def judge(day: Day) -> Judged:
    """Look at a day that is over."""
    jobs = job_of(day)
    broken = [job for job in day.ids if job not in jobs or jobs[job]["job_state"] != "COMPLETED"]
    lag_s = dict(zip(day.ids, lags_s(day), strict=True))
    over = late(day)
    ours, disturbed = ([job for job in over if (lag_s[job] > LAG_S) is so] for so in (False, True))
    worst_s = max(lag_s.values(), default=0.0)
    return Judged(ours, touched(day), unreleased(day), unexplained(day), broken, disturbed, worst_s)


def lags_s(day: Day) -> list[float]:
    """By how much each was submitted after its time [s]."""
    return [s - (day.setting.begin_s + one.at * SLOT_S) for s, one in zip(day.submitted_s, day.wanted, strict=True)]


def story(day: Day, job: str) -> list[str]:
    """What Slurm's log and the audit say of a job, for whoever looks into a day that is not clean."""
    said = [line for line in day.log.splitlines() if line.endswith(f"JobId={job}") or f"JobId={job} " in line]
    for record in day.audit:
        if job in record.get("targets", ()):
            i = record["targets"].index(job)
            each = {name: record[name][i] for name in ("values", "before", "results", "said_why") if name in record}
            said.append(f"audit {record['time_s']:.2f} {record['stage']} {record['verb']} {record['plan']} {each}")
    return said


def job_of(day: Day) -> dict[str, dict[str, Any]]:
    """Slurm's record of each job."""
    return {str(job["job_id"]): job for job in day.jobs}


def due_s(day: Day, one: Wanted) -> float:
    """By when a job must have ended [s since 1970]."""
    return day.setting.begin_s + (one.at + one.length + one.slack) * SLOT_S


def ordered(day: Day, *stages: str) -> Counter[str]:
    """Job -> how often the audit says that something of it was to be written."""
    found: Counter[str] = Counter()
    for record in day.audit:
        if record["stage"] in stages and "targets" in record:
            found.update(record["targets"])
    return found


def late(day: Day) -> list[str]:
    """Those that agreed and ended after their deadline."""
    jobs, pairs = job_of(day), zip(day.ids, day.wanted, strict=True)
    agreed = [(job, one) for job, one in pairs if one.kind not in ("plain", "out") and job in jobs]
    return [job for job, one in agreed if jobs[job]["end_time"] > due_s(day, one)]


def touched(day: Day) -> list[str]:
    """Those that never agreed and were ordered or changed; and those that took themselves out and were changed after that by
    more than being let go, once, or whose word was written over."""
    changed = set(ordered(day, "begun", "reverting")) | set(_ANY.findall(day.log))
    plain = {job for job, one in zip(day.ids, day.wanted, strict=True) if one.kind == "plain"}
    out, jobs = after_out(day), job_of(day)
    again = [job for job, count in out.items() if count > 1 or (job in jobs and jobs[job]["comment"] != "icctwin:off")]
    return sorted(plain & changed) + again


def after_out(day: Day) -> dict[str, int]:
    """Job that took itself out and was heard by Slurm -> how often its begin time was set after that."""
    lines, found = day.log.splitlines(), dict[str, int]()
    for job, one in zip(day.ids, day.wanted, strict=True):
        said = f"setting comment to icctwin:off for JobId={job}"
        at = next((i for i, line in enumerate(lines) if line.endswith(said)), -1) if one.kind == "out" else -1
        if at >= 0:
            found[job] = sum(bool(re.search(rf"setting begin to .* for JobId={job}$", line)) for line in lines[at + 1 :])
    return found


def unreleased(day: Day) -> list[str]:
    """Those that something is still in force for, that bear words of ours, or are held."""
    memory, jobs = Memory(), job_of(day)
    for record in day.audit:
        if "targets" in record:
            take(memory, Stage(record["stage"]), datetime.fromtimestamp(record["time_s"], UTC), record)
    found = {job for _, job in memory.ordered if job not in jobs or jobs[job]["job_state"] != "COMPLETED"}
    for job, record in jobs.items():
        words = record["job_state"] in ("PENDING", "RUNNING") and "[" in str(record["comment"])
        if words or record["state_reason"].startswith("JobHeld"):
            found.add(job)
    return sorted(found)


def unexplained(day: Day) -> list[str]:
    """Those whose begin time Slurm saw changed more often than the audit says."""
    said = ordered(day, "begun", "reverting")
    return sorted(job for job, count in changes(day).items() if count > said[job])


def changes(day: Day) -> Counter[str]:
    """Job -> how often Slurm saw its begin time changed."""
    return Counter(_BEGIN.findall(day.log))
