"""Serves every page of the wall."""

from fastapi import FastAPI

from ui.faces.pages.account import add_account
from ui.faces.pages.alerts import add_alerts
from ui.faces.pages.asset import add_asset
from ui.faces.pages.audit import add_audit
from ui.faces.pages.compare import add_compare
from ui.faces.pages.cooling import add_cooling
from ui.faces.pages.dig import add_plotly
from ui.faces.pages.energy import add_energy
from ui.faces.pages.explore import add_explore
from ui.faces.pages.findings import add_findings_page
from ui.faces.pages.forecast import add_forecast_page
from ui.faces.pages.gpus import add_gpus
from ui.faces.pages.hall import add_hall
from ui.faces.pages.jobs import add_jobs
from ui.faces.pages.network import add_network
from ui.faces.pages.overview import add_overview
from ui.faces.pages.power import add_power
from ui.faces.pages.reports import add_reports_page
from ui.faces.pages.rotation import add_rotation
from ui.faces.pages.sign_in import add_sign_in
from ui.faces.pages.sources import add_sources
from ui.faces.pages.storage import add_storage
from ui.faces.push import Pulse

_ALL = (
    add_overview, add_hall, add_gpus, add_network, add_storage, add_cooling, add_power, add_energy, add_jobs, add_forecast_page,
    add_findings_page, add_alerts, add_sources, add_audit, add_rotation,
    add_plotly, add_account, add_asset, add_compare, add_explore, add_sign_in, add_reports_page,
)  # fmt: skip


def add_pages(server: FastAPI, pulse: Pulse) -> None:
    """Serve them on ``server``."""
    for add in _ALL:
        add(server, pulse)
