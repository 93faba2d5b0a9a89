"""Finding by a few letters: assets by id and by what people and telemetry call them, metrics, jobs, pages."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from twin.job import Jobs
from twin.kinds import KINDS
from twin.metrics import every_metric
from twin.site import Site

MAX_FOUND = 50
MAX_TEXT = 100
_NAMES = ("name", "hostname", "uuid", "address", "tags")
_KINDS = tuple(KINDS)


@dataclass(frozen=True, slots=True)
class Found:
    """``sort``: asset, metric, job or page; ``name``: its id; ``says``: what it is, in few words; ``path``: its page."""

    sort: str
    name: str
    says: str
    path: str
    score: int


class Index:
    """The words by which each asset of a site is known; made anew for another site."""

    def __init__(self) -> None:
        self._site: Site | None = None
        self._words: tuple[tuple[str, ...], ...] = ()

    def of(self, site: Site) -> tuple[tuple[str, ...], ...]:
        """For each asset its words in small letters, its id first."""
        if self._site is not site:
            self._words, self._site = _words(site), site
        return self._words


def _words(site: Site) -> tuple[tuple[str, ...], ...]:
    columns = [site.texts[name] for name in _NAMES if name in site.texts]
    return tuple((asset.lower(), *(column[i].lower() for column in columns if column[i])) for i, asset in enumerate(site.ids))


def score(words: Iterable[str], text: str) -> int:
    """How well ``text`` fits: 0 not at all; the whole word, its beginning, the beginning of a part, anywhere."""
    best = 0
    for place, word in enumerate(words):
        at = word.find(text)
        if at < 0:
            continue
        fits = 8 if word == text else 6 if at == 0 else 4 if not word[at - 1].isalnum() else 2
        best = max(best, fits - (1 if place else 0))
    return best


def search(
    index: Index, site: Site, jobs: Jobs, pages: Sequence[tuple[str, str, str]], text: str, limit: int = 20
) -> list[Found]:
    """The best ``limit`` for ``text``; ``pages``: (title in English, title as shown, path)."""
    text = text.strip().lower()[:MAX_TEXT]
    if not text:
        return []
    found: list[Found] = []
    for i, words in enumerate(index.of(site)):
        if fits := score(words, text):
            kind = _KINDS[int(site.kind_of[i])]
            found.append(Found("asset", site.ids[i], kind, f"/asset/{site.ids[i]}", fits))
    found += _metrics(site, text)
    found += _jobs(jobs, text)
    found += [Found("page", n, p, p, fits) for title, n, p in pages if (fits := score((title.lower(), n.lower()), text))]
    order = {"page": 0, "asset": 1, "job": 2, "metric": 3}
    found.sort(key=lambda one: (-one.score, order[one.sort], len(one.name), one.name))
    return found[: min(limit, MAX_FOUND)]


def _metrics(site: Site, text: str) -> Iterable[Found]:
    for m in every_metric():
        if site.count(m.kind) and (fits := score((m.name, m.doc.lower()), text)):
            yield Found("metric", f"{m.kind}.{m.name}", m.doc, f"/explore?kind={m.kind}&metric={m.name}", fits)


def _jobs(jobs: Jobs, text: str) -> Iterable[Found]:
    for i in range(len(jobs)):
        if fits := score((jobs.ids[i].lower(), jobs.names[i].lower(), jobs.users[i].lower()), text):
            yield Found("job", jobs.ids[i], f"{jobs.names[i]} · {jobs.users[i]}", f"/explore?job={jobs.ids[i]}", fits)
