"""Jobs of Slurm that others wait for: a record tells whom it waits for, and nobody who waits for it."""

import re
from collections.abc import Sequence
from typing import Any

from ingest.queues.slurm_records import number
from ingest.queues.tables import JobRecord
from twin.job import JobState
from twin.order import Tie

_AWAITED = re.compile(r":(\d+)")  # afterok:12(unfulfilled),after:13_4+10(unfulfilled)?afterany:14_*(failed)
_NUMBERS = ("job_id", "array_job_id", "het_job_id")


def tie(jobs: Sequence[Any], records: Sequence[JobRecord]) -> None:
    """Say at each of ``records`` (those of ``jobs``) whether others wait for it: by its number, or its array's as a whole, or,
    where one is to be alone under its name (``singleton``), by name and user."""
    awaited, alone = set[float](), set[tuple[str, str]]()
    for job, record in zip(jobs, records, strict=True):
        said = str(job.get("dependency") or "")
        if said and record.state == JobState.PENDING:
            awaited |= {float(one) for one in _AWAITED.findall(said)}
            if "singleton" in said:
                alone.add((record.user, record.name))
    for job, record in zip(jobs, records, strict=True) if awaited or alone else ():
        if (record.user, record.name) in alone or not awaited.isdisjoint(number(job.get(name)) for name in _NUMBERS):
            record.tied |= Tie.OTHERS
