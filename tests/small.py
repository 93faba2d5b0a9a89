"""A small site for tests: one hall, two racks, two nodes each, four GPUs each, and a source."""

from twin.load import Row, build_site
from twin.site import Site


def rows(*lines: str) -> list[Row]:
    """Rows from ``a=b c=d`` lines."""
    return [Row(f"test:{i}", dict(pair.split("=", 1) for pair in line.split())) for i, line in enumerate(lines, 1)]


def small_site(*more: str) -> Site:
    """The site, with ``more`` asset lines."""
    lines = ["id=h1 kind=hall"]
    for r in ("r1", "r2"):
        lines.append(f"id={r} kind=rack parent=h1 rated_w=40000")
        for n in ("n1", "n2"):
            lines.append(f"id={r}{n} kind=node parent={r}")
            lines += [f"id={r}{n}g{g} kind=gpu parent={r}{n} index={g}" for g in range(4)]
    lines += ["id=sky kind=weather", "id=net kind=grid", "id=s1 kind=source", "id=s2 kind=source", *more]
    return build_site("test", "UTC", rows(*lines))
