"""One report from what a centre has: for the command, the weekly task and the API alike."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from energy.account.book import Given
from twin.ports import Records, Store
from twin.site import Site
from ui.report.compose import compose
from ui.report.document import Report
from ui.report.energy import Limits
from ui.report.gather import gather
from ui.report.scene import drawer
from ui.report.scope import Scope, refuse_unknown
from ui.report.span import Span
from ui.report.write import Written, files


@dataclass(frozen=True, slots=True)
class From:
    """What a report is made from. ``given``: what the operator knows; ``outside``: URL under which people reach
    icctwin, for the links behind the numbers ("": none on pages, relative ones in data); ``picture``: whether the hottest hour
    is drawn; ``now``: when it was asked for (None: the span is over)."""

    site: Site
    store: Store
    records: Records
    given: Callable[[], Given]
    limits: Limits
    outside: str = ""
    picture: bool = True
    now: datetime | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """``coverage_frac``: part of the span in which the power of what it is about was read, or that of its IT where no facility
    power ever was; of a hall whose power never was, that in which its GPUs gave a reading; 0: the report says that there is
    nothing."""

    report: Report
    coverage_frac: float
    currency: str
    span: Span

    def files(self, languages: Sequence[str], formats: Sequence[str]) -> Written:
        """Every file that can be made; the same report gives the same bytes. ``SourceError`` where none can."""
        return files(self.report, languages, formats, self.span.end, self.currency)


def make(about: From, span: Span, scope: Scope) -> Made:
    """``SourceError`` where the store does not answer, ``ConfigError`` where there is no such part."""
    given = about.given()
    refuse_unknown(scope, about.site, about.records, span, given)
    inputs = gather(about.site, about.store, about.records, span, given, scope, about.now)
    bill = inputs.account.bill
    drawn = list(drawer(about.site, about.store)(span)) if about.picture and scope.whole else []
    report = compose(inputs, about.limits, about.outside, drawn)
    coverage_frac = inputs.account.coverage_frac or inputs.account.it_read_frac
    if scope.kind == "hall" and not inputs.use.silent:
        coverage_frac = coverage_frac or float(inputs.use.length_h[inputs.use.read].sum() / inputs.use.length_h.sum())
    return Made(report, coverage_frac, bill.currency if bill else "", span)
