"""The pieces of a page's markup. They hold places for numbers, never numbers: ``static/shell.js`` fills them from the push.

``data-t`` marks a text to translate (its English is the key), ``data-a`` a name that is heard, ``data-n``, ``data-x`` and
``data-l`` a number, a text and a list of the push, ``data-m`` how many of a list's rows did not fit, ``data-p`` whose
readings a panel shows and how old they are.
"""

import re
from collections.abc import Iterable, Iterator
from html import escape, unescape

Heads = tuple[str, ...]


def say(text: str, name: str = "label", tag: str = "span") -> str:
    """A text that the page translates."""
    return f'<{tag} class="{name}" data-t="{escape(text)}">{escape(text)}</{tag}>'


def number(key: str, name: str = "") -> str:
    """A place for a number of the push, with its unit and, where it is stale, its age."""
    return f'<span class="{f"number {name}".strip()}" data-n="{key}">–</span>'


def text(key: str, name: str = "") -> str:
    """A place for a text of the push."""
    return f'<span class="{name}" data-x="{key}"></span>'


def rows(key: str, empty: str, heads: Heads = (), label: str = "") -> str:
    """A place for a list of the push under its column heads, and what stands there while it is empty ("": no list at all);
    neither until the first push, for nobody knows. ``label``: the table's name for those who hear it (default: its first
    head)."""
    named = label or next((head for head in heads if head), empty)
    parts = []
    if heads:
        cells = "".join(_head(head) for head in heads)
        parts.append(f'<div class="heads" role="row">{cells}</div>')
    parts.append(f'<div class="rows" role="rowgroup" data-l="{key}"></div>')
    table = f'<div class="table" role="table" aria-label="{escape(named)}" data-a="{escape(named)}">{"".join(parts)}</div>'
    return f'<div class="list list-{key} is-unheard">{table}{say(empty, "empty", "div") if empty else ""}</div>'


def _head(head: str) -> str:
    if not head:
        return '<span role="cell"></span>'
    right, text = head.startswith(">"), escape(head.removeprefix(">"))  # ">": over numbers
    return f'<span class="label{" right" if right else ""}" role="columnheader" data-t="{text}">{text}</span>'


def more(key: str) -> str:
    """A place for how many rows of a list did not fit."""
    return f'<span class="more" data-m="{key}"></span>'


def fine(label: str, key: str, name: str = "") -> str:
    """A small number under a large one, with its label."""
    return f'<span class="{f"fine {name}".strip()}">{say(label)}{number(key)}</span>'


def tile(name: str, label: str, aside: Iterable[str], big: Iterable[str], *under: str) -> str:
    """One of the large numbers, with a small one beside its title, some under it, and whose readings they are."""
    head = f'<div class="head">{say(label, tag="h2")}<div class="aside">{"".join(aside)}</div></div>'
    below = f'<div class="under">{"".join(under)}</div>{source(name)}'
    return f'<section class="tile tile-{name}">{head}<div class="big">{"".join(big)}</div>{below}</section>'


def panel(name: str, title: str, aside: Iterable[str], *inside: str, size: str = "") -> str:
    """A framed part of the page; beside its title whose readings it shows, and how old they are. ``size``: its classes on the
    page's grid, ``w8 h2`` for 8 columns and 2 rows."""
    side = f'<div class="aside">{"".join(aside)}{source(name)}</div>'
    head = f'<div class="head">{say(title, "", "h2")}{side}</div>'
    return f'<section class="{f"panel panel-{name} {size}".strip()}">{head}{"".join(inside)}</section>'


def source(name: str) -> str:
    """A place for the origin and age of what the part called ``name`` shows."""
    return f'<span class="from" data-p="{name}"></span>'


def drawing(key: str, label: str, name: str = "fill") -> str:
    """A place for a drawing that the page's script makes; ``label`` says what it is to those who do not see it."""
    return f'<div class="{name}" id="{key}" role="img" aria-label="{escape(label)}" data-a="{escape(label)}"></div>'


def labels_in(markup: str) -> Iterator[str]:
    """Every text in ``markup`` that the page translates."""
    return (unescape(found) for found in re.findall(r'data-[ta]="([^"]+)"', markup))


def page_of_panels(tiles: Iterable[str], *panels: str) -> str:
    """A page: large numbers above, panels on a grid of 24 columns below."""
    hero = "".join(tiles)
    above = f'<div class="hero">{hero}</div>' if hero else ""
    return f'<div class="page">{above}<div class="grid">{"".join(panels)}</div></div>'


def listed(key: str, empty: str, heads: Heads, cols: str, label: str = "") -> str:
    """``rows`` with the widths of its columns, as CSS grid tracks."""
    return rows(key, empty, heads, label).replace('<div class="list ', f'<div style="--cols:{cols}" class="list ', 1)
