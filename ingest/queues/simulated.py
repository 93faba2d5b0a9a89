"""The simulated cluster's queue: the jobs of the plant that the simulated sources read."""

from datetime import datetime
from typing import Protocol

from twin.job import Jobs


class _Work(Protocol):
    def jobs(self) -> Jobs:
        """All jobs."""
        ...


class Advancing(Protocol):
    """What the queue needs of a plant."""

    @property
    def work(self) -> _Work:
        """Its jobs."""
        ...

    def advance(self, now: datetime) -> None:
        """Bring it to ``now``."""
        ...


class SimulatedQueue:
    """Answers for the queue asset ``name``."""

    def __init__(self, name: str, plant: Advancing) -> None:
        self._name, self._plant = name, plant

    @property
    def name(self) -> str:
        """Id of the queue's asset."""
        return self._name

    async def jobs(self, now: datetime) -> Jobs:
        """Waiting, running and lately ended jobs at ``now``. ``SourceError`` where ``now`` lies far behind the plant."""
        self._plant.advance(now)
        return self._plant.work.jobs()
