"""``/api/v1/search``: assets, metrics, jobs and pages by a few letters."""

from typing import Annotated

from fastapi import FastAPI, Query
from pydantic import BaseModel

from ui.dig.search import MAX_FOUND, MAX_TEXT, Index, search
from ui.faces.pages import PAGES
from ui.faces.push import Pulse
from ui.words import words


class FoundOut(BaseModel):
    """Something that fits. ``sort``: asset, metric, job or page; ``says``: its kind, or what it is; ``path``: where to look."""

    sort: str
    name: str
    says: str
    path: str


def add_search(server: FastAPI, pulse: Pulse) -> None:
    """Serve it on ``server``."""
    live, index = pulse.live, Index()

    @server.get("/api/v1/search")
    def find(
        q: Annotated[str, Query(min_length=1, max_length=MAX_TEXT, description="a few letters of what it is called")],
        limit: Annotated[int, Query(ge=1, le=MAX_FOUND, description="at most so many")] = 20,
        lang: str = "en",
    ) -> list[FoundOut]:
        """What fits best, best first: by id, name, hostname, address and tags of assets; by name and meaning of metrics; by id,
        name and user of jobs."""
        said = words(lang)
        pages = [(page.title, said(page.title), page.path) for page in PAGES]
        found = search(index, live.site, live.jobs, pages, q, limit)
        return [FoundOut(sort=one.sort, name=one.name, says=one.says, path=one.path) for one in found]
