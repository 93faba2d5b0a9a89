"""What calibration found: ``/api/v1/calibration`` for programs and ``/calibration``, a plain page, for people."""

from html import escape
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from twin.message import Message
from ui.calibrating import TOPIC
from ui.faces.pages import page_of
from ui.faces.pages.shell import language_of, shell
from ui.faces.push import Pulse
from ui.words import Words, words

MOST_RUNS = 50
Runs = Annotated[int, Query(ge=1, le=MOST_RUNS, description="at most so many runs")]


class ValueOut(BaseModel):
    """A fitted parameter with its 95 % interval, and what was in force ``before``; null where it could not be fitted."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    before: float | None


class ScoreOut(BaseModel):
    """ASHRAE Guideline 14 on ``rows`` readings, as shares of their mean. NMBE above 0: the model is too low."""

    rows: int
    cvrmse_frac: float | None
    nmbe_frac: float | None


class Why(BaseModel):
    """Why a fit was refused: a sentence (empty: it was not) and what it names."""

    text: str
    params: dict[str, float | int | str]


class FitOut(BaseModel):
    """A fit: scores on what it learnt from, on held-out readings, and on those of what is in force."""

    name: str
    asset: str
    values: list[ValueOut]
    train: ScoreOut
    held_out: ScoreOut
    present: ScoreOut
    sigma_frac: float | None
    sound: bool
    why: Why


class Run(BaseModel):
    """One run of calibration. ``summary`` has a row for each kind of fit; ``fits`` the refused ones first."""

    time: str
    start: str
    end: str
    step_s: float
    by: str
    adopted: bool
    left_out: int
    summary: list[dict[str, str | int | float | None]]
    fits: list[FitOut]


def add_calibration(server: FastAPI, pulse: Pulse) -> None:
    """Serve both on ``server``."""

    async def runs(limit: int) -> list[dict[str, Any]]:
        found = await run_in_threadpool(pulse.live.records.read, TOPIC, limit=limit, newest=True)
        return [{"time": time.isoformat(), **record} for _, time, record in reversed(found)]

    @server.get("/api/v1/calibration")
    async def calibration(
        limit: Annotated[int, Query(ge=1, le=MOST_RUNS, description="at most so many runs")] = 1,
    ) -> list[Run]:
        """What the newest runs of calibration found, newest first, and whether it was adopted."""
        return [_run(record) for record in await runs(limit)]

    @server.get("/calibration", response_class=HTMLResponse, include_in_schema=False)
    async def page(request: Request) -> HTMLResponse:
        found = await runs(1)
        return HTMLResponse(_page(found[0] if found else None, words(language_of(request))))


def _run(record: dict[str, Any]) -> Run:
    fits = [FitOut(held_out=one["validate"], **{k: v for k, v in one.items() if k != "validate"}) for one in record["fits"]]
    return Run(**{**record, "fits": fits})


def _page(record: dict[str, Any] | None, say: Words) -> str:
    title = escape(say("Calibration of the twin"))
    body = [f"<h1>{title}</h1>"]
    if record is None:
        body.append(f"<p>{escape(say('Nothing was calibrated yet; run icctwin calibrate'))}</p>")
    else:
        body += _body(record, say)
    return shell(page_of("calibration"), say, body="".join(body), styles=("calibration.css",))


def _body(record: dict[str, Any], say: Words) -> list[str]:
    state = say("In force since then") if record["adopted"] else say("Proposed; nothing was changed")
    span = f"{record['start'][:16]} – {record['end'][:16]} UTC"
    heads = ("Fit", "Sound", "CV(RMSE) in force", "CV(RMSE) fitted", "NMBE in force", "NMBE fitted")
    rows = [_row([row["name"], f"{row['sound']} / {row['fits']}", *_shares(row, say)]) for row in record["summary"]]
    refused = [one for one in record["fits"] if not one["sound"]]
    values = [one for one in record["fits"] if one["sound"]]
    return [
        f"<p>{escape(span)} · {escape(record['by'])} · <b>{escape(state)}</b></p>",
        f"<p>{escape(say('Scores are on the later part of the record, which no fit has seen (ASHRAE Guideline 14).'))}</p>",
        f"<table><tr>{''.join(f'<th>{escape(say(head))}</th>' for head in heads)}</tr>{''.join(rows)}</table>",
        f"<h2>{escape(say('Fitted values'))}</h2><table>",
        *(_values(one) for one in values),
        f"</table><h2>{escape(say('Refused'))}</h2><table>",
        *(_refusal(one, say) for one in refused),
        "</table>",
    ]


def _shares(row: dict[str, Any], say: Words) -> list[str]:
    names = ("cvrmse_before_frac", "cvrmse_frac", "nmbe_before_frac", "nmbe_frac")
    return [str(say.quantity(float("nan") if row[name] is None else float(row[name]), "frac")) for name in names]


def _row(cells: list[str]) -> str:
    return f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in cells)}</tr>"


def _values(one: dict[str, Any]) -> str:
    told = "; ".join(f"{v['name']} {v['value']:.4g} [{v['low']:.4g}, {v['high']:.4g}]" for v in one["values"])
    return f'<tr><td>{escape(one["name"])} {escape(one["asset"])}</td><td class="why yes">{escape(told)}</td></tr>'


def _refusal(one: dict[str, Any], say: Words) -> str:
    text, params = one["why"]["text"], one["why"]["params"]
    why = say.sentence(Message(text, params))
    return f'<tr><td>{escape(one["name"])} {escape(one["asset"])}</td><td class="why no">{escape(why)}</td></tr>'
