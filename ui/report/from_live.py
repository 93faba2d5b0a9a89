"""What reports of a running centre are made from: one way for the task that makes them and the API that is asked for one."""

from datetime import datetime

from ui.report.make import From
from ui.report.section import ReportSection
from ui.view import Live


def about_of(live: Live, section: ReportSection, now: datetime) -> From:
    """What reports of a live centre are made from."""
    outside = live.oncall.file.delivery.outside if live.oncall else ""
    return From(live.site, live.store, live.records, live.given, section.limits(), outside, section.picture, now)
