"""``/wall?pages=overview,hall,cooling&every=20``: pages in turn, or side by side (``&split=2``)."""

from html import escape

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse

from ui.faces.pages import PAGES
from ui.faces.pages.shell import language_of
from ui.faces.push import Pulse
from ui.faces.statics import static
from ui.words import words

EVERY_S, LEAST_S, MOST_S = 20.0, 5.0, 3600.0
MOST_SPLIT = 4
USUAL = "overview,hall,gpus,cooling,power,alerts"


def add_rotation(server: FastAPI, pulse: Pulse) -> None:
    """Serve it. Names that are no page, and numbers out of bounds, are one sentence (422)."""

    @server.get("/wall", response_class=HTMLResponse, include_in_schema=False)
    async def wall(request: Request, pages: str = USUAL, every: float = EVERY_S, split: int = 1) -> HTMLResponse:
        names = [name.strip() for name in pages.split(",") if name.strip()]
        known = {page.name: page for page in PAGES}
        wrong = [name for name in names if name not in known]
        if wrong or not names:
            raise HTTPException(422, f"There is no page {', '.join(wrong)[:100] or 'given'}; there are {', '.join(known)}.")
        if not (LEAST_S <= every <= MOST_S and 1 <= split <= MOST_SPLIT):
            raise HTTPException(422, f"every is {LEAST_S:g} to {MOST_S:g} seconds, split 1 to {MOST_SPLIT}.")
        said = words(language_of(request))
        return HTMLResponse(
            _document([(known[name].path, said(known[name].title)) for name in names], every, split, said.language)
        )


def _document(pages: list[tuple[str, str]], every_s: float, split: int, language: str) -> str:
    said = words(language)
    links = "".join(f'<li><a href="{path}">{escape(title)}</a></li>' for path, title in pages)
    return (
        f'<!DOCTYPE html><html lang="{"zh-CN" if language == "zh" else "en"}" data-theme="dark" data-language="{language}">'
        f'<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(said("Wall"))} · icctwin</title><link rel="icon" href="{static("icon.svg")}" type="image/svg+xml">'
        f'<script src="{static("theme.js")}"></script><link rel="stylesheet" href="{static("theme.css")}">'
        f'<link rel="stylesheet" href="{static("rotation.css")}"></head>'
        f'<body><main id="frames" data-every="{every_s:g}" data-split="{split}"><ul id="pages">{links}</ul></main>'
        f'<nav id="turn" aria-label="{escape(said("Pages"))}">'
        f'<button type="button" data-step="-1" aria-label="{escape(said("Back"))}">◀</button>'
        f'<button type="button" data-pause aria-pressed="false">{escape(said("Pause"))}</button>'
        f'<button type="button" data-step="1" aria-label="{escape(said("On"))}">▶</button>'
        f'<span id="at" role="status"></span></nav>'
        f'<script type="module" src="{static("rotation.js")}"></script></body></html>'
    )
