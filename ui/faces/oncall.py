"""The page of whoever is on call: what is open with its cause, who has taken it, what is quiet, how it went; in both languages.

A plain page over ``/api/v1/oncall``: it must open on a telephone over a thin line at night, so it loads nothing but itself.
"""

import json
from pathlib import Path

from fastapi import FastAPI, HTTPException, Response
from fastapi.responses import HTMLResponse, PlainTextResponse

from analytics import rules as ruling
from ui.words import LANGUAGES, words

FOLDER = Path(__file__).parent / "oncall_page"
RUNBOOKS = Path(ruling.__file__).with_name("runbooks")
# What the page says; its English is the key, as everywhere.
LABELS = (
    "On call", "open", "acknowledge", "acknowledged by", "explains", "further alerts", "pages", "told", "since", "quiet",
    "silence", "end silence", "who", "why", "hours", "what, as rack=r01", "on duty", "until", "nobody", "timeline", "report",
    "times fired", "never taken", "proposal", "time to acknowledge", "time to resolve", "nothing is open", "nothing is quiet",
    "what happened", "pages wait", "pages were given up", "token", "what to do",
)  # fmt: skip


def add_oncall(server: FastAPI) -> None:
    """Serve ``/oncall`` and ``/runbooks/…`` on ``server``."""

    @server.get("/oncall", response_class=HTMLResponse, include_in_schema=False)
    def page() -> Response:
        """The page itself."""
        return HTMLResponse((FOLDER / "page.html").read_text(encoding="utf-8"))

    @server.get("/oncall/{name}", include_in_schema=False)
    def part(name: str, lang: str = "en") -> Response:
        """Its script, its style and its words."""
        if name == "words.json":
            said = words(lang if lang in LANGUAGES else "en")
            return Response(_json({label: said(label) for label in LABELS}), media_type="application/json")
        kind = {"page.js": "text/javascript", "page.css": "text/css"}.get(name)
        if kind is None:
            raise HTTPException(404, "There is nothing of that name.")
        return Response((FOLDER / name).read_text(encoding="utf-8"), media_type=kind)

    @server.get("/runbooks/{area}", response_class=PlainTextResponse, include_in_schema=False)
    def runbook(area: str) -> Response:
        """What to do when a rule of this area fires, as Markdown."""
        known = {path.stem: path for path in RUNBOOKS.glob("*.md")}
        if area not in known:
            raise HTTPException(404, f"There is no runbook of that name; there are {', '.join(sorted(known))}.")
        return PlainTextResponse(known[area].read_text(encoding="utf-8"), media_type="text/markdown; charset=utf-8")


def _json(table: dict[str, str]) -> str:

    return json.dumps(table, ensure_ascii=False)
