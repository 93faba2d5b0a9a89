"""What the detectors found and why: ``/api/v1/findings`` and ``/api/v1/causes``."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import FastAPI, Query
from pydantic import BaseModel

from analytics.finding import record_of
from ui.faces.push import Pulse

MAX_FINDINGS = 500
Most = Annotated[int, Query(ge=1, le=MAX_FINDINGS, description="at most so many")]


class Said(BaseModel):
    """A sentence: as English text, and as template with parameters for other languages."""

    text: str
    template: str
    params: dict[str, float | int | str]


class FindingOut(BaseModel):
    """A finding that holds now. ``score``: -log10 of how often an hour a healthy asset would score as high; ``confidence``:
    0-1, how often such findings were true; ``lead_s``: how long before harm it usually comes, null where not known."""

    key: str
    sort: str
    question: str
    kind: str
    asset: str
    metric: str
    score: float
    confidence: float
    since: datetime
    seen: datetime
    lead_s: float | None
    summary: Said
    evidence: list[Said]
    action: Said
    cost_wrong: Said


class CauseOut(BaseModel):
    """A likely cause of what is found and alerted now. ``paths``: key of what it explains -> ids from the cause to its asset;
    ``at_risk``: what depends on it and shows nothing yet; ``sensor``: its sensor may lie."""

    asset: str
    kind: str
    score: float
    since: datetime
    explains: list[str]
    paths: dict[str, list[str]]
    at_risk: list[str]
    at_risk_count: int
    sensor: bool
    rival_of: str
    summary: Said


def add_findings(server: FastAPI, pulse: Pulse) -> None:
    """Serve them on ``server``."""
    live = pulse.live

    @server.get("/api/v1/findings", response_model=list[FindingOut])
    def findings(asset: str = "", limit: Most = 100) -> list[dict[str, Any]]:
        """Findings that hold now, the strongest first; of one ``asset`` where given."""
        mine = [finding for finding in live.findings if asset in ("", finding.asset)]
        return [record_of(finding) for finding in mine[:limit]]

    @server.get("/api/v1/causes")
    def causes() -> list[CauseOut]:
        """The few likely causes behind the findings and the alerts that fire now, the likeliest first."""
        return [
            CauseOut(
                asset=cause.asset,
                kind=cause.kind,
                score=cause.score,
                since=cause.since,
                explains=list(cause.explains[:MAX_FINDINGS]),
                paths={key: list(path) for key, path in cause.paths.items()},
                at_risk=list(cause.at_risk),
                at_risk_count=cause.at_risk_count,
                sensor=cause.sensor,
                rival_of=cause.rival_of,
                summary=Said(text=str(cause.summary), template=cause.summary.text, params=dict(cause.summary.params)),
            )
            for cause in live.causes
        ]
