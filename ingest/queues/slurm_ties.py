"""What else than room decides when a job of Slurm runs."""

from typing import Any

from twin.order import Tie


def ties_of(job: Any) -> int:
    """The sum of ``Tie`` that the record of one job of ``jobs`` tells of."""
    return int(Tie.RESERVED) if job.get("resv_name") else 0
