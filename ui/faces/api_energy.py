"""``/api/v1/energy``: accounts of intervals, for the wall's page on energy, reports and whoever bills."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import FastAPI, HTTPException, Query
from starlette.concurrency import run_in_threadpool

from energy.account.factors import FACTORS
from energy.account.tariff import SHIPPED, load_tariff
from twin.errors import ConfigError
from ui.accounting import MAX_ROWS_ASKED, MAX_SPAN, MAX_STEPS_GPUS, make_account, plain
from ui.faces.answers import When
from ui.faces.push import Pulse

Whose = Literal["job", "user", "project", "tenant", "partition"]
Step = Annotated[float, Query(ge=60, le=3600, description="step in seconds")]
Most = Annotated[int, Query(ge=1, le=MAX_ROWS_ASKED, description="at most so many rows; the rest is one row")]


def add_energy(server: FastAPI, pulse: Pulse) -> None:
    """Serve them on ``server``."""
    live = pulse.live

    def span_of(start: datetime | None, end: datetime | None) -> tuple[datetime, datetime]:
        end = end or live.clock.now()
        start = start or end - timedelta(days=1)
        if not timedelta(0) < end - start <= MAX_SPAN:
            raise HTTPException(422, f"{start} to {end} is not between nothing and {MAX_SPAN.days} days.")
        return start, end

    @server.get("/api/v1/energy")
    async def energy(
        start: When | None = None,
        end: When | None = None,
        by: Whose | None = None,
        step_s: Step = 300.0,
        limit: Most = 100,
    ) -> dict[str, Any]:
        """Energy, indicators, carbon and cost of ``[start, end)`` (default: the last day), as ``icctwin account --json`` gives
        it; with ``by`` also whose it was, the largest first, with idle and unseen apart."""
        began, over = span_of(start, end)
        if by and (over - began).total_seconds() / step_s * live.site.count("gpu") > MAX_STEPS_GPUS:
            raise HTTPException(422, f"That is over {MAX_STEPS_GPUS} values; ask for less time or a longer step.")
        try:
            given = live.given()
        except ConfigError as error:
            raise HTTPException(422, "; ".join(str(one) for one in error.problems)) from error
        made = await run_in_threadpool(make_account, live.site, live.store, live.records, began, over, given, by, step_s)
        return plain(made, limit)

    @server.get("/api/v1/energy/tables")
    def tables() -> dict[str, Any]:
        """Emission factors and tariffs that ship, each with its source and date."""
        factors = [
            {"region": one.region, "kg_per_kwh": one.kg_per_kwh, "year": one.year, "source": one.source}
            for one in FACTORS.values()
        ]
        tariffs = [load_tariff(path.stem).model_dump(mode="json") for path in sorted(SHIPPED.glob("*.toml"))]
        return {"factors": factors, "tariffs": tariffs}
