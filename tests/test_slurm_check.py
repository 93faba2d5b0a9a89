"""The judge of a Slurm day sees each fault that is planted in a clean one."""

import numpy as np
import pytest

from ui.benches.slurm_check import LAG_S, judge
from ui.benches.slurm_day import Day, Setting
from ui.benches.slurm_jobs import SLOT_S, Wanted

BEGIN_S = 1_800_000_000.0
WANTED = [Wanted(0, 2, 1, "plain", 0), Wanted(0, 2, 1, "day", 12), Wanted(0, 2, 1, "out", 14), Wanted(1, 2, 1, "saves", 20)]


def record(stage, *targets, verb="begin", value=BEGIN_S + 20):
    n = len(targets)
    more = {"values": [value] * n, "before": [None] * n, "until": ["2027-01-15T08:00:40+00:00"] * n}
    done = {"results": ["done"] * n, "said": [""] * n}
    head = {"stage": stage, "plan": "p", "queue": "slurm", "verb": verb, "targets": list(targets), "time_s": BEGIN_S}
    return head | (more if stage == "begun" else done)


def lines(*said):
    return "\n".join(f"[time] _update_job: setting {what} for JobId={job}" for what, job in said)


CHANGED = (("begin to t1", "2"), ("begin to t0", "2"), ("comment to icctwin:off", "3"), ("begin to t0", "3"))


def day(audit=None, log="", lag_s=0.5, **changes):
    """Four jobs; ``changes``: of a job's record, by its number."""
    jobs = []
    for i in range(len(WANTED)):
        comment = "icctwin:off" if WANTED[i].kind == "out" else ""
        one = {"job_id": i + 1, "job_state": "COMPLETED", "end_time": BEGIN_S + 20, "comment": comment, "state_reason": "None"}
        jobs.append(one | changes.get(f"j{i + 1}", {}))
    good = [record("begun", "2", "3"), record("done", "2", "3"), record("reverting", "2", "3"), record("reverted", "2", "3")]
    setting = Setting("", 1, BEGIN_S, [], {})
    ids = [str(i + 1) for i in range(len(WANTED))]
    submitted_s = [BEGIN_S + one.at * SLOT_S + lag_s for one in WANTED]
    audit = good if audit is None else audit
    return Day(setting, WANTED, ids, jobs, audit, log or lines(*CHANGED), [np.nan] * 4, 0, 0, 0, 1.0, submitted_s)


def test_a_clean_day_is_clean():
    assert judge(day()).clean


LATE = {"end_time": BEGIN_S + 14 * SLOT_S + 1}


@pytest.mark.parametrize(
    ("fault", "planted"),
    [
        ("late", day(j2=LATE)),
        ("touched", day(log=lines(*CHANGED, ("comment to hello", "1")))),
        ("touched", day(audit=[record("begun", "1"), record("done", "1"), record("reverted", "1"), *day().audit])),
        ("touched", day(log=lines(*CHANGED, ("begin to t2", "3")))),
        ("touched", day(j3={"comment": "icctwin:deadline=+1h"})),  # its owner's word was written over
        ("unreleased", day(audit=[record("begun", "2"), record("done", "2")], log=" ", j2={"job_state": "PENDING"})),
        ("unreleased", day(j4={"state_reason": "JobHeldUser"})),
        ("unexplained", day(log=lines(*CHANGED, ("begin to t1", "4")))),
        ("broken", day(j1={"job_state": "FAILED"})),
    ],
)
def test_each_planted_fault_is_seen(fault, planted):
    assert getattr(judge(planted), fault) != []


def test_a_machine_that_had_no_time_for_the_day_is_told_apart():
    judged = judge(day(j2=LATE, lag_s=LAG_S + 1))
    assert (judged.late, judged.disturbed, judged.lag_s) == ([], ["2"], pytest.approx(LAG_S + 1))


def test_who_has_not_agreed_may_be_as_late_as_it_likes():
    assert judge(day(j1=LATE, j3=LATE | {"end_time": BEGIN_S + 1e4})).clean
