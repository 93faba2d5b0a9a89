"""InfluxDB as the store: line protocol in, InfluxQL over ``/query`` out, for servers of version 1, 2 and 3.

All three answer InfluxQL; they differ in how they are written to (1: ``/write``; 2 and 3: ``/api/v2/write``, through
influxdb-client) and in how they know who asks. Flux, which version 3 no longer has, is not used.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import numpy as np
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.domain.write_precision import WritePrecision
from influxdb_client.rest import ApiException

from ingest.stores.errors import StoreError
from ingest.stores.line_protocol import BAD, GRADE
from ingest.stores.newest import Newest
from ingest.stores.points import Points, Times, believed, folded, numbers, with_bad
from ingest.stores.served import NAMED_ASSETS, Asked, Served
from ingest.stores.server import ANSWER_S, Server, said_no
from twin.frame import Floats, Frame, Quality
from twin.kinds import KINDS
from twin.metrics import METRICS
from twin.ports import How
from twin.site import Site
from twin.times import micros

Dialect = Literal["v1", "v2", "v3"]
_FOLD = {How.MEAN: "mean", How.MIN: "min", How.MAX: "max", How.LAST: "last"}


class InfluxStore(Served):
    """``twin.ports.Store`` on an InfluxDB. ``database`` is version 2's bucket. What is kept for how long is the server's
    matter (``icctwin store init`` sets it up). Its rollups are for dashboards: here steps are folded from raw values alone."""

    def __init__(
        self, server: Server, site: Site, database: str, dialect: Dialect | None, org: str = "", readonly: bool = False
    ) -> None:
        """``dialect`` None: found out when it is first needed."""
        super().__init__(server, site, readonly)
        self._server, self._database = server, database
        self._known, self._org = dialect, org
        self._client: tuple[str, InfluxDBClient] | None = None

    @property
    def _dialect(self) -> Dialect:
        if self._known is None:
            self._known = dialect_of(self._server)
        return self._known

    def _write(self, body: bytes) -> None:
        if self._dialect == "v1":
            self._server.send("/write", body, {"db": self._database, "precision": "u"})
            return
        try:
            api = self._api().write_api(write_options=SYNCHRONOUS)
            api.write(self._database, self._org, body, WritePrecision.US)  # type: ignore[arg-type]  # its constants are texts
        except ApiException as error:
            raise said_no(self._server.url, int(error.status or 0), str(error.body or error.reason)) from None
        except Exception as error:
            if type(error).__module__.startswith("urllib3"):
                raise StoreError(f"store {self._server.url}: no answer ({type(error).__name__}); is it running?") from None
            raise

    def _api(self) -> InfluxDBClient:
        """influxdb-client, made anew when the token changes."""
        token = self._server.secret
        if self._client is None or self._client[0] != token:
            if self._client is not None:
                self._client[1].close()
            client = InfluxDBClient(
                self._server.url, token=token, org=self._org, enable_gzip=True, timeout=int(ANSWER_S * 1000)
            )
            self._client = (token, client)
        return self._client[1]

    def _step(self, asked: Asked, starts: Times, step: int, how: How, tables: Mapping[str, Floats]) -> None:
        where, metrics = _Where(self._site, asked), list(tables)
        fold = ", ".join(f'{_FOLD[how]}("{name}") AS "{name}"' for name in metrics)
        ask = [f"SELECT {fold} {where} GROUP BY time({step}u), asset fill(none)"]
        ask += [f'SELECT "{name}{GRADE}" {where} AND "{name}{GRADE}" >= {int(Quality.BAD)} LIMIT 1' for name in metrics]
        folds, *bad = self._query(ask)
        for one in folds:
            at = where.place(one)
            if at is None:
                continue
            time = (np.array([row[0] for row in one["values"]], dtype=np.int64) - starts[0]) // step
            for i, name in enumerate(one["columns"][1:], 1):
                tables[name][time, at] = numbers([row[i] for row in one["values"]])
        for name, some in zip(metrics, bad, strict=True):
            if some:  # the server's own folding may have counted them: earlier versions wrote them in place
                tables[name][:] = folded(self._believed(asked, [name])[name], starts, step, len(asked.rows), how)

    def _believed(self, asked: Asked, metrics: Sequence[str]) -> dict[str, Points]:
        points = self._points(asked, metrics, ("", GRADE))
        return {name: believed(points[name], points[name + GRADE]) for name in metrics}

    def _marked(self, asked: Asked, metrics: Sequence[str]) -> dict[str, Points]:
        points = self._points(asked, metrics, ("", GRADE, BAD))
        for name in metrics:
            points[name] = with_bad(points[name], points.pop(name + BAD), points[name + GRADE])
        return points

    def _points(self, asked: Asked, metrics: Sequence[str], parts: Sequence[str]) -> dict[str, Points]:
        where = _Where(self._site, asked)
        names = [name + part for name in metrics for part in parts]
        (found,) = self._query([f"SELECT {', '.join(_quoted(name) for name in names)} {where} GROUP BY asset"])
        points = {name: Points() for name in names}
        for one in found:
            at = where.place(one)
            if at is None:
                continue
            times = np.array([row[0] for row in one["values"]], dtype=np.int64)
            for i, name in enumerate(one["columns"][1:], 1):
                values = numbers([row[i] for row in one["values"]])
                said = ~np.isnan(values)
                points[name].add(at, times[said], values[said])
        return points

    def latest(self, since: datetime) -> Sequence[Frame]:
        """See ``twin.ports.Store``; forecasts are left out, as the live state leaves them out."""
        newest = Newest(self._site)
        (fields,) = self._query(["SHOW FIELD KEYS"])
        for one in fields:
            known = {row[0] for row in one["values"]}
            if one["name"] in KINDS and self._site.count(one["name"]):
                self._latest_of(one["name"], known, micros(since), newest)
        return newest.frames()

    def _latest_of(self, kind: str, known: set[str], since: int, newest: Newest) -> None:
        metrics = sorted(name for name in known if name in METRICS[kind])
        base = f"FROM {_quoted(kind)} WHERE time >= {since}u AND origin != 'forecast'"
        by = "GROUP BY asset, origin, band"
        graded = [name for name in metrics if name + GRADE in known]
        ask = [f"SELECT last({_quoted(name)}) {base} {by}" for name in metrics]
        ask += [f"SELECT {_quoted(name + GRADE)} {base} AND {_quoted(name + GRADE)} > 0 {by}" for name in graded]
        found = self._query(ask)
        doubts: dict[tuple[str, str, str, str], dict[int, float]] = defaultdict(dict)
        for name, some in zip(graded, found[len(metrics) :], strict=True):
            for one in some:
                doubts[name, *_tags(one)].update({row[0]: row[1] for row in one["values"]})
        for name, some in zip(metrics, found, strict=False):
            for one in some:
                tags = _tags(one)
                time, value = one["values"][0]
                doubt = doubts.get((name, *tags), {})
                if doubt.get(time, 0) >= Quality.BAD:
                    for time, value in self._before(kind, name, tags, since):
                        if doubt.get(time, 0) < Quality.BAD:
                            newest.add(kind, name, *tags, time, value, int(doubt.get(time, 0)))
                            break
                else:
                    newest.add(kind, name, *tags, time, value, int(doubt.get(time, 0)))

    def _before(self, kind: str, name: str, tags: tuple[str, str, str], since: int) -> Iterator[tuple[int, float]]:
        """Values of one series, the newest first."""
        where = " AND ".join(f"{tag} = {_text(value)}" for tag, value in zip(("asset", "origin", "band"), tags, strict=True))
        ask = f"SELECT {_quoted(name)} FROM {_quoted(kind)} WHERE time >= {since}u AND {where} ORDER BY time DESC"
        for one in self._query([ask])[0]:
            yield from ((row[0], row[1]) for row in one["values"])

    def _query(self, statements: Sequence[str]) -> list[list[dict[str, Any]]]:
        """The series that each statement gives."""
        fields = {"db": self._database, "epoch": "u", "q": ";".join(statements)}
        answer = json.loads(self._server.form("/query", fields))
        results = answer.get("results", [])
        error = answer.get("error") or next((one["error"] for one in results if "error" in one), None)
        if error:
            raise said_no(self._server.url, 404 if "not found" in error else 500, error)
        return [one.get("series", []) for one in results]

    def size_bytes(self) -> int:
        """See ``twin.ports.Store``; 0 where the server does not say (only version 1 does, in its statistics)."""
        if self._dialect != "v1":
            return 0
        (shards,) = self._query(["SHOW STATS FOR 'shard'"])
        mine = (one for one in shards if one.get("tags", {}).get("database") == self._database)
        return int(sum(row[one["columns"].index("diskBytes")] for one in mine for row in one["values"]))

    def close(self) -> None:
        """Let go of the connections."""
        self._server.close()
        if self._client is not None:
            self._client[1].close()
            self._client = None


class _Where:
    """Which points are asked for: as the end of a statement, and where those of a series go."""

    def __init__(self, site: Site, asked: Asked) -> None:
        ids = site.ids_of(asked.kind)
        self._places = {ids[row]: i for i, row in enumerate(asked.rows.tolist())}
        some = ""
        if 0 < len(asked.rows) <= NAMED_ASSETS:
            some = f" AND ({' OR '.join(f'asset = {_text(one)}' for one in self._places)})"
        self._text = (
            f"FROM {_quoted(asked.kind)} WHERE time >= {asked.start}u AND time < {asked.end}u"
            f" AND origin = '{asked.origin.value}' AND band = {_text(asked.band)}{some}"
        )

    def __str__(self) -> str:
        return self._text

    def place(self, series: Mapping[str, Any]) -> int | None:
        """Which of the assets asked for it is about."""
        return self._places.get(series["tags"]["asset"])


def dialect_of(server: Server) -> Dialect:
    """Which version answers there; ``StoreError`` where none does."""
    version = server.version()
    for number in ("1", "2", "3"):
        if version.lstrip("v").startswith(f"{number}."):
            return f"v{number}"  # type: ignore[return-value]
    raise StoreError(f"store {server.url}: says it is version {version or 'unknown'}; set dialect to v1, v2 or v3")


def _tags(series: Mapping[str, Any]) -> tuple[str, str, str]:
    tags = series["tags"]
    return tags["asset"], tags["origin"], tags.get("band", "")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '\\"') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
