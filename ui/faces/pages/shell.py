"""The document around every page: bar (navigation, language, theme, time zone, who is signed in, connection), footer.

All that a page loads comes from this server and is script or style of a file: nothing inline but data.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape, unescape
from itertools import groupby

from fastapi import Request

from ui.access.role import Role
from ui.faces.pages import PAGES, Page
from ui.faces.pages.markup import labels_in, text
from ui.faces.statics import static
from ui.words import LANGUAGES, SYMBOLS, Words, words

THEMES = ("dark", "light", "contrast")
_THEME_NAMES = {"dark": "Dark", "light": "Light", "contrast": "High contrast"}
_LANGUAGE_NAMES = (("en", "EN", "English"), ("zh", "中文", "中文"))
_SKIP, _FOOT = "Skip to the page", "every number with its unit, age and origin"
# What the shell's script says by itself.
SCRIPT_LABELS = (
    "Connecting …",
    "Connection lost: numbers are {n} s old",
    "connected",
    "measured",
    "modelled",
    "forecast",
    "commanded",
    "stale",
    "no reading",
    "derived",
    "{age} old",
    "+{n} more",
    "Site time",
    "Browser time",
    "Time zone",
    "never",
    "s",
    "min",
    "h",
    "d",
    "silent",
    "Sign out",
    "viewer",
    "operator",
    "engineer",
    "admin",
)


def language_of(request: Request) -> str:
    """The language that a request asks for: by ``lang``, else by its headers."""
    asked = request.query_params.get("lang") or request.cookies.get("icctwin-language", "")
    if asked in LANGUAGES:
        return asked
    return "zh" if request.headers.get("accept-language", "").lower().startswith("zh") else "en"


def shell(
    page: Page,
    words: Words,
    *,
    body: str,
    scripts: Sequence[str] = (),
    styles: Sequence[str] = (),
    labels: Iterable[str] = (),
    end: str = "",
    head: str = "",
) -> str:
    """The whole document. ``body``: trusted markup; ``scripts``, ``styles``: names under ``static/``, scripts are modules;
    ``labels``: what the scripts say beside what the markup marks; ``end``, ``head``: trusted markup before ``</body>`` and
    ``</head>``."""
    said = {label: words(label) for label in sorted({*shell_labels(body), *labels})}
    kind = f"{'fixed' if page.fixed else 'flow'} {'live waiting' if page.live else 'plain'}"
    symbols = {unit: words(symbol) for unit, symbol in SYMBOLS.items()}
    sheets = "".join(f'<link rel="stylesheet" href="{static(name)}">' for name in ("theme.css", "shell.css", *styles))
    sheets += f'<link rel="stylesheet" media="print" href="{static("print.css")}">'
    modules = "".join(f'<script type="module" src="{static(name)}"></script>' for name in ("shell.js", "dig_who.js", *scripts))
    return (
        f'<!DOCTYPE html><html lang="{_tag(words)}" data-theme="dark" data-page="{page.name}" data-language="{words.language}">'
        f'<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="dark light"><title>{escape(words(page.title))} · icctwin</title>'
        f'<link rel="icon" href="{static("icon.svg")}" type="image/svg+xml"><script src="{static("theme.js")}"></script>'
        f'{sheets}{head}</head><body class="{kind} page-{page.name}">'
        f'<a class="skip" href="#page" data-t="{_SKIP}">{escape(words(_SKIP))}</a>{_bar(page, words)}'
        f'<main id="page" tabindex="-1">{_spoken(body, words)}</main>'
        f'<footer>icctwin · <span data-t="{_FOOT}">{escape(words(_FOOT))}</span></footer>'
        f"<noscript>{escape(words('The wall needs JavaScript; the same numbers are at /api/v1/view and /metrics.'))}</noscript>"
        f"{_data('words', said)}{_data('symbols', symbols)}{modules}{end}</body></html>"
    )


def shell_labels(body: str = "") -> set[str]:
    """Every text that the shell, and a page with this ``body``, translate by themselves."""
    pages = {page.title for page in PAGES} | {page.group for page in PAGES}
    bar = _bar(PAGES[0], words("en"))
    return {*labels_in(body), *labels_in(bar), *SCRIPT_LABELS, *pages, _SKIP, _FOOT}


def _tag(words: Words) -> str:
    return "zh-CN" if words.language == "zh" else words.language


def _data(name: str, table: Mapping[str, str]) -> str:
    told = json.dumps(table, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json" id="{name}">{told}</script>'


def _spoken(body: str, words: Words) -> str:
    """``body`` with its marked texts in the language of ``words``; the page itself changes them when the language changes."""

    def text(found: re.Match[str]) -> str:
        return f"{found[1]}{escape(words(unescape(found[2])))}<"

    def name(found: re.Match[str]) -> str:
        return f'aria-label="{escape(words(unescape(found[1])))}" data-a="{found[1]}"'

    body = re.sub(r'(data-t="([^"]+)"[^>]*>)\2<', text, body)
    return re.sub(r'aria-label="([^"]+)" data-a="\1"', name, body)


def _bar(page: Page, words: Words) -> str:
    languages = "".join(_language(code, name, full, words) for code, name, full in _LANGUAGE_NAMES)
    themes = "".join(
        f'<option value="{name}" data-t="{_THEME_NAMES[name]}">{words(_THEME_NAMES[name])}</option>' for name in THEMES
    )
    return (
        f'<header id="bar"><div class="line"><span class="site" data-x="site"></span><span class="product">icctwin</span>'
        f'{text("badge", "badge")}<span class="lost" role="status" data-lost></span>{text("notice", "notice")}'
        f'<div class="health" data-l="health"></div>'
        f'<span class="who" id="who"></span>'
        f'<div class="choices"><div class="languages" role="group" aria-label="Language / 语言">{languages}</div>'
        f'<select id="theme" aria-label="{words("Theme")}" data-a="Theme">{themes}</select>'
        f'<select id="zone" aria-label="{words("Time zone")}" data-a="Time zone"></select></div>'
        f'<div class="time"><span class="day" data-day></span><span class="clock" data-clock></span></div></div>'
        f'<nav aria-label="{words("Pages")}" data-a="Pages">{_navigation(page, words)}</nav></header>'
    )


def _language(code: str, name: str, full: str, words: Words) -> str:
    pressed = "true" if code == words.language else "false"
    return (
        f'<button type="button" lang="{code}" data-lang="{code}" aria-label="{full}" aria-pressed="{pressed}">{name}</button>'
    )


_CURRENT = ' aria-current="page"'


def _needs(page: Page) -> str:
    """For the script that takes links out which whoever looks may not follow."""
    return f' data-needs="{page.role.word}"' if page.role > Role.VIEWER else ""


def _navigation(here: Page, words: Words) -> str:
    parts = []
    for group, pages in groupby(PAGES, key=lambda page: page.group):
        links = "".join(
            f'<a href="{page.path}" data-t="{escape(page.title)}"{_CURRENT if page.name == here.name else ""}{_needs(page)}>'
            f"{escape(words(page.title))}</a>"
            for page in pages
        )
        parts.append(f'<span class="group" title="{escape(words(group))}">{links}</span>')
    return "".join(parts)
