"""The page of whoever is on call: what is open with its cause, who has taken it, what is quiet, how it went; in both languages.

A plain page over ``/api/v1/oncall``: it must open on a telephone over a thin line at night, so it loads little beside itself.
"""

from html import escape
from pathlib import Path

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, PlainTextResponse

from analytics import rules as ruling
from ui.faces.pages import page_of
from ui.faces.pages.shell import language_of, shell
from ui.words import Words, words

RUNBOOKS = Path(ruling.__file__).with_name("runbooks")
# What the page says; its English is the key, as everywhere.
LABELS = (
    "On call", "open", "acknowledge", "acknowledged by", "explains", "further alerts", "pages", "told", "since", "quiet",
    "silence", "end silence", "who", "why", "hours", "what, as rack=r01", "on duty", "until", "nobody", "timeline", "report",
    "times fired", "never taken", "proposal", "time to acknowledge", "time to resolve", "nothing is open", "nothing is quiet",
    "what happened", "pages wait", "pages were given up", "token", "what to do",
)  # fmt: skip


_FIELDS = (
    ("match", "what, as rack=r01", "required"),
    ("author", "who", 'required autocomplete="name"'),
    ("reason", "why", "required"),
    ("hours", "hours", 'type="number" min="0.1" max="744" step="0.1" value="2" required'),
    ("token", "token", 'type="password" autocomplete="off"'),
)


def _body(said: Words) -> str:
    fields = "".join(
        f'<input name="{name}" aria-label="{escape(said(label))}" placeholder="{escape(said(label))}" {more}>'
        for name, label, more in _FIELDS
    )
    form = f'<form id="silence">{fields}<button data-t="silence">silence</button></form>'
    quiet = f'{form}<div id="silences"></div>'
    parts = {"open": '<div id="groups"></div>', "quiet": quiet}
    parts |= {"timeline": '<div id="timeline"></div>', "report": '<div id="report"></div>'}
    sections = "".join(f'<section><h2 data-t="{title}">{title}</h2>{inside}</section>' for title, inside in parts.items())
    head = '<div class="head"><h1 data-t="On call">On call</h1><div id="duty"></div><div id="delivery"></div></div>'
    return f'{head}<div id="problems"></div>{sections}<p id="said" role="status"></p>'


def add_oncall(server: FastAPI) -> None:
    """Serve ``/oncall`` and ``/runbooks/…`` on ``server``."""

    @server.get("/oncall", response_class=HTMLResponse, include_in_schema=False)
    def page(request: Request) -> Response:
        """The page itself."""
        said = words(language_of(request))
        made = shell(page_of("oncall"), said, body=_body(said), scripts=("oncall.js",), styles=("oncall.css",), labels=LABELS)
        return HTMLResponse(made)

    @server.get("/runbooks/{area}", response_class=PlainTextResponse, include_in_schema=False)
    def runbook(area: str) -> Response:
        """What to do when a rule of this area fires, as Markdown."""
        known = {path.stem: path for path in RUNBOOKS.glob("*.md")}
        if area not in known:
            raise HTTPException(404, f"There is no runbook of that name; there are {', '.join(sorted(known))}.")
        return PlainTextResponse(known[area].read_text(encoding="utf-8"), media_type="text/markdown; charset=utf-8")
