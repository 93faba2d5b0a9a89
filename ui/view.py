"""What every face shows, worked out once: the same number on the wall, in the API and in a report."""

from dataclasses import dataclass, field
from datetime import datetime

from analytics.alerts import Alert
from analytics.forecast import Forecast
from energy.plan import Mode, Plan, Verdict
from twin.job import Jobs, no_jobs
from twin.message import Message
from twin.ports import Clock, Records, Store
from twin.site import Site
from twin.state import State


@dataclass
class Live:
    """What faces may see of the running centre. Tasks replace its fields as wholes; faces only read."""

    site: Site
    state: State
    store: Store
    records: Records
    clock: Clock
    started: datetime
    demo: bool = False
    alerts: tuple[Alert, ...] = ()
    jobs: Jobs = field(default_factory=no_jobs)
    forecasts: tuple[Forecast, ...] = ()
    plans: tuple[tuple[Plan, Verdict], ...] = ()
    modes: dict[str, Mode] = field(default_factory=dict)  # lever -> mode
    notices: tuple[Message, ...] = ()  # what icctwin has to say of itself: reload refused, store full
