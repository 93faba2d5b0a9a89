"""Setting a store up: databases, how long what is kept, and the rollups that a server makes by itself."""

import json
from collections.abc import Iterator
from urllib.parse import quote

from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.domain.bucket_retention_rules import BucketRetentionRules
from influxdb_client.domain.dbrp_create import DBRPCreate
from influxdb_client.rest import ApiException
from influxdb_client.service.dbr_ps_service import DBRPsService

from ingest.stores.influxdb import dialect_of
from ingest.stores.registry import StoreOptions, server_of
from ingest.stores.server import Server, said_no
from twin.errors import ConfigError, Problem

_FOLDS = ("mean", "min", "max", "last", "count")
_DAY_S = 86_400
_TIERS = (("minute", "1m"), ("hour", "1h"))


def provision(options: StoreOptions) -> Iterator[str]:
    """Make what ``options`` speak of, a sentence for each thing done. What is there already stays as it is."""
    if options.type == "embedded":
        options.path.mkdir(parents=True, exist_ok=True)
        yield f"{options.path} is there; the store makes its files, rollups and limits of age by itself"
        return
    server = server_of(options, options.url)
    try:
        if options.type == "victoriametrics":
            server.get("/health") if not options.read_url else None
            days = round(max(options.raw_days, options.hour_days))
            yield f"{options.url} answers; run it with -retentionPeriod={days}d -dedup.minScrapeInterval=1ms"
            return
        dialect = dialect_of(server) if options.dialect == "auto" else options.dialect
        yield from {"v1": _first, "v2": _second, "v3": _third}[dialect](options, server)
    finally:
        server.close()


def _first(options: StoreOptions, server: Server) -> Iterator[str]:
    """Version 1: a database, retention policies, and continuous queries of everything into them."""
    base = options.database
    _told(server, f'CREATE DATABASE "{base}" WITH DURATION {_hours(options.raw_days)} NAME "raw"')
    yield f"database {base}: raw values for {options.raw_days:g} days"
    for (tier, width), days in zip(_TIERS, (options.minute_days, options.hour_days), strict=True):
        _told(server, f'CREATE RETENTION POLICY "{tier}" ON "{base}" DURATION {_hours(days)} REPLICATION 1')
        folds = ", ".join(f"{fold}(*)" for fold in _FOLDS)
        again = "RESAMPLE FOR 10m " if tier == "minute" else "RESAMPLE FOR 3h "
        _told(
            server,
            f'CREATE CONTINUOUS QUERY "{tier}" ON "{base}" {again}BEGIN SELECT {folds} INTO "{base}"."{tier}".:MEASUREMENT '
            f'FROM "{base}"."raw"./.*/ GROUP BY time({width}), * END',
        )
        yield f"rollups of a {tier} for {days:g} days"


def _told(server: Server, statement: str) -> None:
    answer = json.loads(server.form("/query", {"q": statement}))
    error = answer.get("error") or next((one["error"] for one in answer.get("results", []) if "error" in one), None)
    if error and "already exists" not in error:
        raise said_no(server.url, 500, error)


def _hours(days: float) -> str:
    return f"{max(1, round(24 * days))}h"


def _second(options: StoreOptions, server: Server) -> Iterator[str]:
    """Version 2: a bucket for each tier, its mapping for InfluxQL, and tasks in Flux that make the rollups."""
    if not options.org:
        raise ConfigError([Problem("[store] org", "InfluxDB 2 keeps buckets by organisation; write org")])
    with InfluxDBClient(options.url, token=server.secret, org=options.org) as client:
        try:
            yield from _buckets(options, client)
        except ApiException as error:
            raise said_no(options.url, int(error.status or 0), str(error.body or error.reason)) from None


def _buckets(options: StoreOptions, client: InfluxDBClient) -> Iterator[str]:
    orgs = client.organizations_api().find_organizations(org=options.org)
    buckets, tasks = client.buckets_api(), client.tasks_api()
    days = {"": options.raw_days, "minute": options.minute_days, "hour": options.hour_days}
    for tier, kept in days.items():
        name = f"{options.database}_{tier}" if tier else options.database
        bucket = buckets.find_bucket_by_name(name)
        if bucket is None:
            rule = BucketRetentionRules(type="expire", every_seconds=round(kept * _DAY_S))
            bucket = buckets.create_bucket(bucket_name=name, retention_rules=rule, org=options.org)
        mapping = DBRPCreate(org_id=orgs[0].id, bucket_id=bucket.id, database=name, retention_policy="autogen", default=True)
        try:
            DBRPsService(client.api_client).post_dbrp(mapping)
        except ApiException as error:
            if "already" not in str(error.body):
                raise
        yield f"bucket {name}: {kept:g} days"
    known = {task.name for task in tasks.find_tasks(limit=500)}
    for tier, width in _TIERS:
        if f"icctwin {options.database} {tier}" not in known:
            tasks.create_task_every(f"icctwin {options.database} {tier}", _flux(options, tier, width), width, orgs[0])
        yield f"task that makes the rollups of a {tier}"


def _flux(options: StoreOptions, tier: str, width: str) -> str:
    return "\n".join(
        f'from(bucket: "{options.database}") |> range(start: -{3 if tier == "hour" else 10}{width[-1]})'
        f" |> aggregateWindow(every: {width}, fn: {fold}, createEmpty: false)"
        f' |> map(fn: (r) => ({{r with _field: "{fold}_" + r._field}}))'
        f' |> to(bucket: "{options.database}_{tier}", org: "{options.org}")'
        f' |> yield(name: "{fold}")'
        for fold in _FOLDS
    )


def _third(options: StoreOptions, server: Server) -> Iterator[str]:
    """Version 3: a database with its retention. It makes no rollups by itself."""
    body = json.dumps({"db": options.database, "retention_period": f"{round(options.raw_days)}d"}).encode()
    try:
        server.send_json("/api/v3/configure/database", body)
    except Exception as error:
        if "already exists" not in str(error):
            raise
    yield f"database {quote(options.database)}: {options.raw_days:g} days; InfluxDB 3 makes no rollups by itself"
