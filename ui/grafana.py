"""A data source and dashboards for Grafana, for each store: the same panels, each in its store's own language."""

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ingest.stores.registry import StoreOptions
from twin.metrics import metric

UID = "icctwin"
SCHEMA = 39  # Grafana 10 and newer


class Panel(NamedTuple):
    """One chart: a metric of a kind, over all assets by ``fold`` (mean, max, sum) or, where ``each``, a line an asset."""

    title: str
    kind: str
    metric: str
    fold: str
    each: bool = False


DASHBOARDS: Mapping[str, tuple[str, tuple[Panel, ...]]] = {
    "centre": (
        "Centre",
        (
            Panel("IT power", "site", "it_power_w", "mean"),
            Panel("Facility power", "site", "facility_power_w", "mean"),
            Panel("PUE", "site", "pue_ratio", "mean"),
            Panel("Wet bulb outside", "weather", "wet_bulb_c", "mean"),
            Panel("Carbon intensity of the grid", "grid", "carbon_gco2_per_kwh", "mean"),
            Panel("Power of each rack", "rack", "power_w", "mean", each=True),
        ),
    ),
    "gpus": (
        "GPUs",
        (
            Panel("Power, all GPUs", "gpu", "power_w", "sum"),
            Panel("Utilisation, mean", "gpu", "util_frac", "mean"),
            Panel("Tensor cores active, mean", "gpu", "tensor_active_frac", "mean"),
            Panel("Temperature, hottest", "gpu", "temp_c", "max"),
            Panel("Memory temperature, hottest", "gpu", "mem_temp_c", "max"),
            Panel("Clock, mean", "gpu", "sm_clock_hz", "mean"),
        ),
    ),
    "icctwin": (
        "icctwin itself",
        (
            Panel("Sources that answer", "source", "up_flag", "mean"),
            Panel("Values that wait for the store", "process", "spool_waiting_count", "max"),
            Panel("Values lost", "process", "spool_dropped_count", "max"),
            Panel("Processor", "process", "cpu_frac", "max"),
            Panel("Memory", "process", "rss_bytes", "max"),
            Panel("Time of a poll, each source", "source", "poll_s", "max", each=True),
        ),
    ),
}
_UNITS = {
    "W": "watt", "°C": "celsius", "s": "s", "B": "bytes", "Hz": "hertz", "gCO2/kWh": "none", "J": "joule", "": "none"
}  # fmt: skip


def influxql(panel: Panel) -> dict[str, Any]:
    """What an InfluxDB data source asks. Sums and means over assets are taken of each asset's own mean."""
    column, kind = panel.metric, panel.kind
    where = f"FROM \"{kind}\" WHERE origin = 'measured' AND $timeFilter"
    inner = f'SELECT mean("{column}") AS "value" {where} GROUP BY time($__interval), "asset" fill(none)'
    if panel.each:
        query = f'SELECT {panel.fold}("{column}") {where} GROUP BY time($__interval), "asset" fill(null)'
    else:
        query = f'SELECT {panel.fold}("value") FROM ({inner}) WHERE $timeFilter GROUP BY time($__interval) fill(null)'
    return {
        "query": query,
        "rawQuery": True,
        "resultFormat": "time_series",
        "alias": "$tag_asset" if panel.each else panel.title,
    }


def promql(panel: Panel) -> dict[str, Any]:
    """What a Prometheus data source asks of VictoriaMetrics."""
    name = f'{panel.kind}_{panel.metric}{{origin="measured"}}'
    over = f"{'max' if panel.fold == 'max' else 'avg'}_over_time({name}[$__interval])"
    fold = {"mean": "avg", "max": "max", "sum": "sum"}[panel.fold]
    legend = "{{asset}}" if panel.each else panel.title
    return {"expr": over if panel.each else f"{fold}({over})", "legendFormat": legend, "range": True}


def of_api(panel: Panel) -> dict[str, Any]:
    """What an Infinity data source asks of icctwin's own API, for the embedded store."""
    times = "start=${__from:date:iso}&end=${__to:date:iso}"
    how = "max" if panel.fold == "max" else "mean"
    fold = {"mean": "$average", "max": "$max", "sum": "$sum"}[panel.fold]
    column = f"$map(metrics.{panel.metric}, function($a) {{$a[$i]}})"
    rows = f'$map(time, function($t, $i) {{{{"time": $t, "value": {fold}({column})}}}})'
    cell = f'{{{{"time": $t, $n: metrics.{panel.metric}[$k][$i]}}}}'
    each = f"$map(assets, function($n, $k) {{$map(time, function($t, $i) {cell})}})"
    return {
        "root_selector": each if panel.each else rows,
        "type": "json",
        "parser": "backend",
        "source": "url",
        "format": "timeseries",
        "url": f"/api/v1/series?kind={panel.kind}&metric={panel.metric}&how={how}&{times}",
        "url_options": {"method": "GET"},
    }


def provisioning(store: StoreOptions, wall: str) -> Mapping[str, str]:
    """Files for Grafana's provisioning folder, by name. Secrets are left to Grafana's own environment."""
    source: dict[str, Any] = {"name": "icctwin", "uid": UID, "access": "proxy", "isDefault": True, "editable": True}
    ask: Callable[[Panel], dict[str, Any]]
    if store.type == "influxdb":
        ask = influxql
        source |= {"type": "influxdb", "url": store.url, "jsonData": {"dbName": store.database, "httpMode": "POST"}}
        if store.token_file:
            head = {"httpHeaderName1": "Authorization"}
            source["jsonData"] |= head
            source["secureJsonData"] = {"httpHeaderValue1": "Token $ICCTWIN_STORE_TOKEN"}
        elif store.password_file:
            source |= {"user": store.user, "secureJsonData": {"password": "$ICCTWIN_STORE_PASSWORD"}}
    elif store.type == "victoriametrics":
        ask = promql
        source |= {"type": "prometheus", "url": store.read_url or store.url, "jsonData": {"httpMethod": "POST"}}
    else:
        ask = of_api
        source |= {"type": "yesoreyeram-infinity-datasource", "url": wall}
    place = {"name": "icctwin", "folder": "icctwin", "type": "file", "options": {"path": "dashboards/icctwin"}}
    files: dict[str, Any] = {
        "datasources/icctwin.yaml": {"apiVersion": 1, "datasources": [source]},  # JSON is YAML
        "dashboards/icctwin.yaml": {"apiVersion": 1, "providers": [place]},
    }
    for name, (title, panels) in DASHBOARDS.items():
        files[f"dashboards/icctwin/{name}.json"] = _dashboard(name, title, panels, str(source["type"]), ask)
    return {name: json.dumps(body, indent=2, ensure_ascii=False) + "\n" for name, body in files.items()}


def _dashboard(
    name: str, title: str, panels: tuple[Panel, ...], source: str, ask: Callable[[Panel], dict[str, Any]]
) -> dict[str, Any]:
    where = {"type": source, "uid": UID}
    made = [
        {
            "id": i + 1,
            "type": "timeseries",
            "title": panel.title,
            "datasource": where,
            "gridPos": {"h": 8, "w": 12, "x": 12 * (i % 2), "y": 8 * (i // 2)},
            "fieldConfig": {"defaults": {"unit": _unit(panel)}, "overrides": []},
            "targets": [{"refId": "A", "datasource": where, **ask(panel)}],
        }
        for i, panel in enumerate(panels)
    ]
    return {
        "uid": f"icctwin-{name}", "title": f"icctwin: {title}", "schemaVersion": SCHEMA, "tags": ["icctwin"], "timezone": "utc",
        "time": {"from": "now-6h", "to": "now"}, "refresh": "30s", "panels": made,
    }  # fmt: skip


def _unit(panel: Panel) -> str:
    unit = metric(panel.kind, panel.metric).unit
    return "percentunit" if panel.metric.endswith("_frac") else _UNITS.get(unit, f"suffix:{unit}")
