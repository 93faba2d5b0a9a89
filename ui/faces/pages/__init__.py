"""The pages of the wall, a row each: navigation, titles, rotation and tests all read ``PAGES``.

A page is a file (or a folder) here with ``add_<name>(server, pulse)``, which serves the document that ``shell`` makes and,
where the page is ``live``, gives the pulse what it pushes: ``pulse.add(name, Feed(table, labels))``.
"""

from dataclasses import dataclass

from ui.access.role import Role, Scope


@dataclass(frozen=True, slots=True)
class Page:
    """``title`` and ``group`` are English keys of translations. ``live``: filled by the push, its language changes in place;
    ``fixed``: as high as the screen, for the wall (else it scrolls). ``role`` and ``scope``: who may see it, of the document as
    of what is pushed to it."""

    name: str
    path: str
    title: str
    group: str
    live: bool = True
    fixed: bool = True
    role: Role = Role.VIEWER
    scope: Scope = Scope.LOOK


PAGES: tuple[Page, ...] = (
    Page("overview", "/", "Overview", "Now"),
    Page("hall", "/hall", "Hall", "Plant"),
    Page("scene", "/scene", "3D twin", "Plant"),
    Page("gpus", "/gpus", "GPUs", "Plant"),
    Page("network", "/network", "Network", "Plant"),
    Page("storage", "/storage", "Storage", "Plant"),
    Page("cooling", "/cooling", "Cooling", "Plant"),
    Page("power", "/power", "Power", "Plant"),
    Page("energy", "/energy", "Energy", "Work"),
    Page("jobs", "/jobs", "Jobs", "Work"),
    Page("reports", "/reports", "Reports", "Work", live=False, fixed=False),
    Page("forecast", "/forecast", "Forecast", "Ahead"),
    Page("twin", "/twin", "What if", "Ahead", live=False, fixed=False),
    Page("explore", "/explore", "Explore", "Dig", live=False, fixed=False),
    Page("compare", "/compare", "Compare", "Dig", live=False, fixed=False),
    Page("findings", "/findings", "Findings", "Trouble"),
    Page("alerts", "/alerts", "Alerts", "Trouble"),
    Page("oncall", "/oncall", "On call", "Trouble", live=False, fixed=False),
    Page("sources", "/sources", "Sources", "Ourselves"),
    Page("audit", "/audit", "Audit", "Ourselves", role=Role.OPERATOR, scope=Scope.ACCESS),
    Page("calibration", "/calibration", "Calibration", "Ourselves", live=False, fixed=False),
)


def page_of(name: str) -> Page:
    """The page called ``name``; ``KeyError`` where there is none."""
    return {page.name: page for page in PAGES}[name]


def may_see(name: str, role: Role, scopes: frozenset[Scope]) -> bool:
    """Whether what is pushed to the page of that name is for one who has ``role`` and ``scopes``. What is no page (the bar of
    plain pages) is for whoever may look."""
    found = [page for page in PAGES if page.name == name]
    return all(role >= page.role and page.scope in scopes for page in found)
